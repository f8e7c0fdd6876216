//! How many tokens a text is to a model, by the tokenizer in its folder: read with the first question about the
//! folder, and dropped after a while without one.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokenizers::Tokenizer;

use super::chat_template::ChatTemplate;
use crate::system::files;
use crate::worker::Count;
use crate::worker::client::scaled;
use crate::worker::protocol::{Folder, Reply};

/// A tokenizer larger than this is not read; the largest seen have some 30 MB.
const FILE_MAX: u64 = 128 << 20;
/// Tokenizers in memory; the one that was used longest ago goes first.
const LOADED_MAX: usize = 4;
/// A tokenizer is dropped after this time without a question.
const KEEP_TIME: Duration = Duration::from_secs(5 * 60);
/// Bytes that are counted at once, so that a text that is too long is not counted to its end.
const PIECE: usize = 32 << 10;
/// Time after which the rest of a text is estimated; the gateway waits for twice as long.
const COUNT_TIME: Duration = Duration::from_millis(500);

/// Tokenizers of the models on this machine.
#[derive(Default)]
pub struct Tokenizers {
    loaded: HashMap<PathBuf, Loaded>,
}

struct Loaded {
    /// None: the folder has no tokenizer that can be read.
    model: Option<Model>,
    version: u64,
    used: Instant,
}

/// The part of a model's folder that concerns its prompts.
pub struct Model {
    tokenizer: Tokenizer,
    /// Of a model for chats.
    template: Option<ChatTemplate>,
    /// Why there is none; reported once.
    problem: Option<String>,
}

impl Tokenizers {
    /// Asks the model of a folder, whose files are read first if they are new. `say` announces that.
    pub fn of(
        &mut self,
        folder: &Folder,
        say: &mut dyn FnMut(&Reply),
        ask: impl FnOnce(&mut Model) -> Reply,
    ) -> Reply {
        self.drop_unused(KEEP_TIME);
        let is_known = self.loaded.get(&folder.path).is_some_and(|loaded| loaded.version == folder.version);
        if !is_known {
            self.make_room(&folder.path);
            say(&Reply::Loading);
            let read = guarded(|| Model::read(&folder.path));
            say(&Reply::Loaded);
            let (model, problem) = match read.and_then(|read| read) {
                Ok(model) => (model, None),
                Err(problem) => (None, Some(problem)),
            };
            let loaded = Loaded { model, version: folder.version, used: Instant::now() };
            self.loaded.insert(folder.path.clone(), loaded);
            if problem.is_some() {
                return Reply::Nothing { problem };
            }
        }
        let Some(loaded) = self.loaded.get_mut(&folder.path) else { return Reply::Nothing { problem: None } };
        loaded.used = Instant::now();
        match &mut loaded.model {
            None => Reply::Nothing { problem: None },
            Some(model) => {
                guarded(|| ask(model)).unwrap_or_else(|problem| Reply::Nothing { problem: Some(problem) })
            }
        }
    }

    /// Returns how many are in memory.
    pub fn loaded(&self) -> usize {
        self.loaded.len()
    }

    fn drop_unused(&mut self, time: Duration) {
        self.loaded.retain(|_, loaded| loaded.used.elapsed() < time);
    }

    fn make_room(&mut self, folder: &Path) {
        self.loaded.remove(folder);
        if self.loaded.len() >= LOADED_MAX {
            let oldest = self.loaded.iter().min_by_key(|(_, loaded)| loaded.used);
            let oldest = oldest.map(|(folder, _)| folder.clone());
            oldest.and_then(|oldest| self.loaded.remove(&oldest));
        }
    }
}

impl Model {
    /// Reads a folder; none: it has no tokenizer.
    fn read(folder: &Path) -> Result<Option<Model>, String> {
        let path = folder.join("tokenizer.json");
        let bytes = match files::read(&path, FILE_MAX) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("tokenizer.json cannot be read: {error}")),
        };
        let mut tokenizer =
            Tokenizer::from_bytes(&bytes).map_err(|error| format!("tokenizer.json is not valid: {error}"))?;
        drop(bytes);
        tokenizer.with_padding(None);
        let cut = tokenizer.with_truncation(None);
        cut.map_err(|error| format!("tokenizer.json truncates: {error}"))?;
        let (template, problem) = match ChatTemplate::read(folder) {
            Ok(template) => (template, None),
            Err(problem) => (None, Some(problem)),
        };
        Ok(Some(Model { tokenizer, template, problem }))
    }

    /// Counts the tokens of texts until there are more than `limit`.
    pub fn count(&self, texts: &[String], limit: u64) -> Reply {
        let until = Instant::now() + COUNT_TIME;
        let bytes: usize = texts.iter().map(String::len).sum();
        let (mut tokens, mut counted) = (0, 0);
        for piece in texts.iter().flat_map(|text| pieces(text)) {
            if tokens > limit || Instant::now() > until {
                let estimate = scaled(tokens, bytes, counted);
                return Reply::Count(Count { tokens, whole: false, estimate });
            }
            match self.tokenizer.encode_fast(piece, false) {
                Ok(encoding) => tokens += encoding.len() as u64,
                Err(error) => {
                    return Reply::Nothing { problem: Some(format!("a text cannot be tokenized: {error}")) };
                }
            }
            counted += piece.len();
        }
        Reply::Count(Count { tokens, whole: true, estimate: tokens })
    }

    /// Counts the tokens of a chat, a request's JSON, as the model's template writes it.
    pub fn count_chat(&mut self, chat: &str, limit: u64) -> Reply {
        let Some(template) = &self.template else { return Reply::Nothing { problem: self.problem.take() } };
        let Ok(chat) = serde_json::from_str(chat) else { return Reply::Nothing { problem: None } };
        match template.render(&chat) {
            Ok(prompt) => self.count(&[prompt], limit),
            // Templates refuse chats that their model was not made for.
            Err(_) => Reply::Nothing { problem: None },
        }
    }

    /// Returns the texts of token numbers. Only numbers that the tokenizer would make of the text again have one:
    /// another model's numbers mean other words, or none.
    pub fn decode(&self, lists: &[Vec<u32>]) -> Reply {
        match lists.iter().map(|numbers| self.text(numbers)).collect() {
            Some(texts) => Reply::Texts(texts),
            None => Reply::Foreign,
        }
    }

    fn text(&self, numbers: &[u32]) -> Option<String> {
        let added = self.tokenizer.get_added_tokens_decoder();
        let is_special = |number: &u32| added.get(number).is_some_and(|token| token.special);
        let spoken: Vec<u32> = numbers.iter().filter(|number| !is_special(number)).copied().collect();
        let text = self.tokenizer.decode(&spoken, true).ok()?;
        let again = self.tokenizer.encode_fast(text.as_str(), false).ok()?;
        (!text.is_empty() && again.get_ids() == spoken).then_some(text)
    }
}

/// Runs code of the tokenizer's crate, which panics over some broken files.
fn guarded<T>(ask: impl FnOnce() -> T) -> Result<T, String> {
    std::panic::catch_unwind(AssertUnwindSafe(ask))
        .map_err(|_panic| "tokenizer.json is broken; download the model again".to_owned())
}

/// A text in pieces that end behind a blank where there is one: few tokens reach over those.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let mut end = rest.len().min(PIECE);
        while !rest.is_char_boundary(end) {
            end -= 1;
        }
        if end < rest.len()
            && let Some(blank) = rest.as_bytes().get(..end)?.iter().rposition(u8::is_ascii_whitespace)
            && blank > 0
        {
            end = blank;
        }
        let (piece, left) = rest.split_at(end);
        rest = left;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One token a word.
    pub const WORDS: &str = r#"{"version":"1.0","truncation":{"direction":"Right","max_length":4,"strategy":"LongestFirst","stride":0},
        "padding":null,"added_tokens":[],"normalizer":null,"pre_tokenizer":{"type":"Whitespace"},
        "post_processor":null,"decoder":null,"model":{"type":"WordLevel","vocab":{"[UNK]":0},"unk_token":"[UNK]"}}"#;

    fn folder(tokenizer: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("tokenizer.json"), tokenizer).unwrap();
        folder
    }

    fn of(all: &mut Tokenizers, folder: &Path, ask: impl FnOnce(&mut Model) -> Reply) -> Reply {
        all.of(&Folder { path: folder.to_owned(), version: 0 }, &mut |_| {}, ask)
    }

    fn count(all: &mut Tokenizers, folder: &Path, text: &str, limit: u64) -> Option<Count> {
        match of(all, folder, |model| model.count(&[text.to_owned()], limit)) {
            Reply::Count(count) => Some(count),
            _ => None,
        }
    }

    #[test]
    fn texts_are_counted_by_the_models_own_tokenizer_as_far_as_needed() {
        let (mut all, folder) = (Tokenizers::default(), folder(WORDS));
        let whole = Count { tokens: 6, whole: true, estimate: 6 };
        assert_eq!(count(&mut all, folder.path(), "one two three four five six", 100), Some(whole));
        let cut = count(&mut all, folder.path(), &"word ".repeat(100_000), 10).unwrap();
        assert!(!cut.whole && (11..20_000).contains(&cut.tokens), "{cut:?}");
        assert!((99_000..101_000).contains(&cut.estimate), "{cut:?}");
    }

    #[test]
    fn a_chat_is_counted_as_its_template_writes_it() {
        let (mut all, folder) = (Tokenizers::default(), folder(WORDS));
        let chat = serde_json::json!({"messages": [{"role": "user", "content": "one two"}]}).to_string();
        let mut ask = |version| {
            let folder = Folder { path: folder.path().to_owned(), version };
            all.of(&folder, &mut |_| {}, |model| model.count_chat(&chat, 99))
        };
        assert_eq!(ask(0), Reply::Nothing { problem: None }, "without a template");
        let template = "{% for m in messages %}as {{ m.role }} : {{ m.content }} {% endfor %}now answer";
        std::fs::write(folder.path().join("chat_template.jinja"), template).unwrap();
        assert_eq!(ask(1), Reply::Count(Count { tokens: 7, whole: true, estimate: 7 }));
        std::fs::write(folder.path().join("chat_template.jinja"), "{{ raise_exception('no') }}").unwrap();
        assert_eq!(ask(2), Reply::Nothing { problem: None });
    }

    #[test]
    fn numbers_become_the_text_that_the_tokenizer_would_make_them_of() {
        let known = WORDS.replace(r#"{"[UNK]":0}"#, r#"{"[UNK]":0,"red":1,"heron":2}"#).replace(
            r#""added_tokens":[]"#,
            r#""added_tokens":[{"id":3,"content":"<s>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true}]"#,
        );
        let (mut all, folder) = (Tokenizers::default(), folder(&known));
        let mut texts = |lists: &[Vec<u32>]| of(&mut all, folder.path(), |model| model.decode(lists));
        let expected = Reply::Texts(vec!["red heron".into(), "heron".into()]);
        assert_eq!(texts(&[vec![3, 1, 2], vec![2]]), expected);
        for foreign in [vec![1, 99], vec![], vec![3]] {
            assert_eq!(texts(&[vec![1], foreign]), Reply::Foreign);
        }
    }

    #[test]
    fn a_tokenizer_that_cannot_be_read_is_reported_once_and_an_unused_one_is_dropped() {
        let mut all = Tokenizers::default();
        let (broken, none) = (folder("{"), tempfile::tempdir().unwrap());
        let ask = |all: &mut Tokenizers, folder: &Path| of(all, folder, |model| model.count(&[], 9));
        assert!(matches!(ask(&mut all, broken.path()), Reply::Nothing { problem: Some(_) }));
        assert_eq!(ask(&mut all, broken.path()), Reply::Nothing { problem: None });
        assert_eq!(ask(&mut all, none.path()), Reply::Nothing { problem: None });
        let fifo = tempfile::tempdir().unwrap();
        std::fs::create_dir(fifo.path().join("tokenizer.json")).unwrap();
        assert!(matches!(ask(&mut all, fifo.path()), Reply::Nothing { .. }));
        let folders: Vec<_> = (0..LOADED_MAX + 1).map(|_| folder(WORDS)).collect();
        for folder in &folders {
            assert!(count(&mut all, folder.path(), "x", 9).is_some());
        }
        assert_eq!(all.loaded(), LOADED_MAX);
        all.drop_unused(Duration::from_secs(600));
        assert_eq!(all.loaded(), LOADED_MAX);
        all.drop_unused(Duration::ZERO);
        assert_eq!(all.loaded(), 0);
    }

    #[test]
    fn pieces_add_up_and_never_cut_a_character() {
        for text in ["", "short", &"é".repeat(PIECE), &"word é ".repeat(PIECE / 2), &" ".repeat(PIECE * 2)]
        {
            let cut: Vec<&str> = pieces(text).collect();
            assert_eq!(cut.concat(), text);
            assert!(cut.iter().all(|piece| !piece.is_empty() && piece.len() <= PIECE));
        }
    }
}
