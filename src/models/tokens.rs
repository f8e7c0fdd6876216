//! How many tokens a text is to a model, by the tokenizer in its folder: read when it is first asked, and
//! dropped when nobody has asked for a while. Reading and counting block.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokenizers::Tokenizer;

use super::rendered::ChatTemplate;

/// A tokenizer larger than this is not read; the largest seen have some 30 MB.
const FILE_MAX: u64 = 128 << 20;
/// Tokenizers in memory; what was asked longest ago goes first.
const LOADED_MAX: usize = 4;
/// Bytes that are counted at once, so that a text that is too long is not counted to its end.
const PIECE: usize = 32 << 10;

/// Tokenizers of the models on this machine.
#[derive(Default)]
pub struct Tokenizers {
    loaded: Mutex<HashMap<PathBuf, Loaded>>,
}

struct Loaded {
    /// Filled by whoever comes first; none: there is none that can be read.
    read: Arc<OnceLock<Option<Read>>>,
    asked: Instant,
}

/// What of a folder concerns its prompts.
struct Read {
    tokenizer: Tokenizer,
    /// Of a model for chats.
    template: Option<ChatTemplate>,
}

/// What was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    pub tokens: u64,
    /// Whether that is all, or there may be more.
    pub whole: bool,
}

/// Why numbers cannot be told as a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotText {
    #[error("the model has no tokenizer.json here that could read them")]
    NoTokenizer,
    #[error("they are not what this model's own tokenizer makes of any text, so another model's made them")]
    Foreign,
}

impl Tokenizers {
    /// The tokens of `texts`, counted until there are more than `most`; none: the folder has no tokenizer that
    /// can be read.
    pub fn count(&self, folder: &Path, texts: &[String], most: u64) -> Option<Count> {
        let read = self.of(folder);
        let read = read.get_or_init(|| Read::of(folder)).as_ref()?;
        guarded(folder, || counted(&read.tokenizer, texts, most))
    }

    /// The tokens of a chat as the model's template puts it into a prompt, `chat` being a request of one; none:
    /// there is no tokenizer, or no template that can be run with it.
    pub fn count_chat(&self, folder: &Path, chat: &Value, most: u64) -> Option<Count> {
        let read = self.of(folder);
        let read = read.get_or_init(|| Read::of(folder)).as_ref()?;
        let prompt = read.template.as_ref()?.render(chat);
        let prompt = prompt
            .inspect_err(
                |error| tracing::debug!(path = %folder.display(), error, "A chat template could not be run"),
            )
            .ok()?;
        guarded(folder, || counted(&read.tokenizer, &[prompt], most))
    }

    /// The texts that lists of token numbers stand for. Only what the tokenizer would make of the text again is
    /// one: numbers of another model's mean other words, or none.
    pub fn texts(&self, folder: &Path, lists: &[Vec<u32>]) -> Result<Vec<String>, NotText> {
        let read = self.of(folder);
        let read = read.get_or_init(|| Read::of(folder)).as_ref().ok_or(NotText::NoTokenizer)?;
        let text = |numbers: &Vec<u32>| guarded(folder, || read.text(numbers)).ok_or(NotText::Foreign);
        lists.iter().map(text).collect()
    }

    /// Drops what nobody has asked for so long.
    pub fn drop_idle(&self, idle: Duration) {
        self.all().retain(|_, loaded| loaded.asked.elapsed() < idle);
    }

    /// How many are in memory.
    pub fn loaded(&self) -> usize {
        self.all().len()
    }

    fn of(&self, folder: &Path) -> Arc<OnceLock<Option<Read>>> {
        let mut all = self.all();
        if !all.contains_key(folder) && all.len() >= LOADED_MAX {
            let oldest = all.iter().min_by_key(|(_, loaded)| loaded.asked).map(|(folder, _)| folder.clone());
            oldest.and_then(|oldest| all.remove(&oldest));
        }
        let fresh = || Loaded { read: Arc::default(), asked: Instant::now() };
        let loaded = all.entry(folder.to_owned()).or_insert_with(fresh);
        loaded.asked = Instant::now();
        Arc::clone(&loaded.read)
    }

    fn all(&self) -> MutexGuard<'_, HashMap<PathBuf, Loaded>> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Read {
    fn of(folder: &Path) -> Option<Read> {
        Some(Read { tokenizer: tokenizer(folder)?, template: ChatTemplate::read(folder) })
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

/// What comes of asking a tokenizer; nothing, where its crate panics over what a broken file says.
fn guarded<T>(folder: &Path, ask: impl FnOnce() -> Option<T>) -> Option<T> {
    std::panic::catch_unwind(AssertUnwindSafe(ask)).unwrap_or_else(|_panic| {
        tracing::warn!(path = %folder.display(), "A tokenizer is broken; download the model again");
        None
    })
}

fn counted(tokenizer: &Tokenizer, texts: &[String], most: u64) -> Option<Count> {
    let mut tokens = 0;
    for piece in texts.iter().flat_map(|text| pieces(text)) {
        if tokens > most {
            return Some(Count { tokens, whole: false });
        }
        tokens += tokenizer.encode_fast(piece, false).ok()?.len() as u64;
    }
    Some(Count { tokens, whole: true })
}

fn tokenizer(folder: &Path) -> Option<Tokenizer> {
    let path = folder.join("tokenizer.json");
    if std::fs::metadata(&path).ok()?.len() > FILE_MAX {
        tracing::warn!(path = %path.display(), "A tokenizer is too large to be read");
        return None;
    }
    match guarded(folder, || Some(Tokenizer::from_file(&path)))? {
        Ok(mut tokenizer) => {
            tokenizer.with_padding(None);
            if let Err(error) = tokenizer.with_truncation(None) {
                tracing::warn!(%error, path = %path.display(), "A tokenizer cuts what it reads");
                return None;
            }
            Some(tokenizer)
        }
        Err(error) => {
            tracing::warn!(%error, path = %path.display(), "A tokenizer cannot be read");
            None
        }
    }
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

    #[test]
    fn texts_are_counted_by_the_models_own_tokenizer_as_far_as_needed() {
        let (all, folder) = (Tokenizers::default(), folder(WORDS));
        let texts = |text: &str| vec![text.to_owned()];
        let count = all.count(folder.path(), &texts("one two three four five six"), 100).unwrap();
        assert_eq!(count, Count { tokens: 6, whole: true });
        let long = "word ".repeat(100_000);
        assert_eq!(all.count(folder.path(), &texts(&long), u64::MAX).unwrap().tokens, 100_000);
        let cut = all.count(folder.path(), &texts(&long), 10).unwrap();
        assert!(!cut.whole && (11..20_000).contains(&cut.tokens), "{cut:?}");
    }

    #[test]
    fn a_chat_is_counted_as_its_template_puts_it() {
        let (all, folder) = (Tokenizers::default(), folder(WORDS));
        let chat = serde_json::json!({"messages": [{"role": "user", "content": "one two"}]});
        assert_eq!(all.count_chat(folder.path(), &chat, 99), None, "without a template");
        let template = "{% for m in messages %}as {{ m.role }} : {{ m.content }} {% endfor %}now answer";
        std::fs::write(folder.path().join("chat_template.jinja"), template).unwrap();
        all.drop_idle(Duration::ZERO);
        assert_eq!(all.count_chat(folder.path(), &chat, 99), Some(Count { tokens: 7, whole: true }));
        std::fs::write(folder.path().join("chat_template.jinja"), "{{ raise_exception('no') }}").unwrap();
        all.drop_idle(Duration::ZERO);
        assert_eq!(all.count_chat(folder.path(), &chat, 99), None);
    }

    #[test]
    fn numbers_become_the_text_that_the_tokenizer_would_make_them_of() {
        let known = WORDS.replace(r#"{"[UNK]":0}"#, r#"{"[UNK]":0,"red":1,"heron":2}"#).replace(
            r#""added_tokens":[]"#,
            r#""added_tokens":[{"id":3,"content":"<s>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true}]"#,
        );
        let (all, folder) = (Tokenizers::default(), folder(&known));
        let texts = |lists: &[Vec<u32>]| all.texts(folder.path(), lists);
        assert_eq!(texts(&[vec![3, 1, 2], vec![2]]).unwrap(), ["red heron", "heron"]);
        for foreign in [vec![1, 99], vec![], vec![3]] {
            assert_eq!(texts(&[vec![1], foreign]), Err(NotText::Foreign));
        }
        let none = tempfile::tempdir().unwrap();
        assert_eq!(all.texts(none.path(), &[vec![1]]), Err(NotText::NoTokenizer));
    }

    #[test]
    fn what_cannot_be_read_counts_nothing_and_what_is_idle_goes() {
        let all = Tokenizers::default();
        let (broken, none) = (folder("{"), tempfile::tempdir().unwrap());
        let panics = folder(&WORDS.replace(r#""decoder":null"#, r#""decoder":nul"#));
        assert_eq!(all.count(panics.path(), &["x".into()], 9), None);
        assert_eq!(all.count(broken.path(), &["x".into()], 9), None);
        assert_eq!(all.count(none.path(), &["x".into()], 9), None);
        all.drop_idle(Duration::ZERO);
        let folders: Vec<_> = (0..LOADED_MAX + 1).map(|_| folder(WORDS)).collect();
        for folder in &folders {
            assert!(all.count(folder.path(), &["x".into()], 9).is_some());
        }
        assert_eq!(all.loaded(), LOADED_MAX);
        all.drop_idle(Duration::from_secs(600));
        assert_eq!(all.loaded(), LOADED_MAX);
        all.drop_idle(Duration::ZERO);
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
