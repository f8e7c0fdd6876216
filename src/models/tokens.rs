//! How many tokens a text is to a model, by the tokenizer in its folder: read when it is first asked, and
//! dropped when nobody has asked for a while. Reading and counting block.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokenizers::Tokenizer;

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
    tokenizer: Arc<OnceLock<Option<Tokenizer>>>,
    asked: Instant,
}

/// What was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    pub tokens: u64,
    /// Whether that is all, or there may be more.
    pub whole: bool,
}

impl Tokenizers {
    /// The tokens of `texts`, counted until there are more than `most`; none: the folder has no tokenizer that
    /// can be read.
    pub fn count(&self, folder: &Path, texts: &[String], most: u64) -> Option<Count> {
        let tokenizer = self.of(folder);
        let tokenizer = tokenizer.get_or_init(|| read(folder)).as_ref()?;
        let mut tokens = 0;
        for piece in texts.iter().flat_map(|text| pieces(text)) {
            if tokens > most {
                return Some(Count { tokens, whole: false });
            }
            tokens += tokenizer.encode_fast(piece, false).ok()?.len() as u64;
        }
        Some(Count { tokens, whole: true })
    }

    /// Drops what nobody has asked for so long.
    pub fn drop_idle(&self, idle: Duration) {
        self.all().retain(|_, loaded| loaded.asked.elapsed() < idle);
    }

    /// How many are in memory.
    pub fn loaded(&self) -> usize {
        self.all().len()
    }

    fn of(&self, folder: &Path) -> Arc<OnceLock<Option<Tokenizer>>> {
        let mut all = self.all();
        if !all.contains_key(folder) && all.len() >= LOADED_MAX {
            let oldest = all.iter().min_by_key(|(_, loaded)| loaded.asked).map(|(folder, _)| folder.clone());
            oldest.and_then(|oldest| all.remove(&oldest));
        }
        let fresh = || Loaded { tokenizer: Arc::default(), asked: Instant::now() };
        let loaded = all.entry(folder.to_owned()).or_insert_with(fresh);
        loaded.asked = Instant::now();
        Arc::clone(&loaded.tokenizer)
    }

    fn all(&self) -> MutexGuard<'_, HashMap<PathBuf, Loaded>> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(folder: &Path) -> Option<Tokenizer> {
    let path = folder.join("tokenizer.json");
    if std::fs::metadata(&path).ok()?.len() > FILE_MAX {
        tracing::warn!(path = %path.display(), "A tokenizer is too large to be read");
        return None;
    }
    match Tokenizer::from_file(&path) {
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
    fn what_cannot_be_read_counts_nothing_and_what_is_idle_goes() {
        let all = Tokenizers::default();
        let (broken, none) = (folder("{"), tempfile::tempdir().unwrap());
        assert_eq!(all.count(broken.path(), &["x".into()], 9), None);
        assert_eq!(all.count(none.path(), &["x".into()], 9), None);
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
