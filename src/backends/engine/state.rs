//! Owns the record of which installation is the current one of each set, and which was before it.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::system::{files, private};

/// Bytes of the record of installations.
const FILE_MAX: u64 = 1 << 20;

/// The file's content.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    #[serde(default)]
    pub sets: BTreeMap<String, Chosen>,
}

/// Installations by their folder names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chosen {
    pub current: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
}

impl State {
    /// What was recorded; nothing where there is no file. A file that cannot be read counts as
    /// none: the installations themselves are marked and are found again.
    pub fn load(path: &Path) -> State {
        match files::read(path, FILE_MAX) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                tracing::warn!(path = %path.display(), error = %error, "The record of installed engines is damaged and is made anew.");
                State::default()
            }),
            Err(_) => State::default(),
        }
    }

    /// Written beside and moved into place.
    pub fn save(&self, path: &Path) -> std::io::Result<()> {
        write_whole(path, &serde_json::to_vec_pretty(self)?)
    }

    pub fn of(&self, set: &str) -> Option<&Chosen> {
        self.sets.get(set)
    }

    /// Makes an installation the current one.
    pub fn switch(&mut self, set: &str, id: &str) {
        let chosen = self.sets.entry(set.to_owned()).or_default();
        if chosen.current == id {
            return;
        }
        let before = std::mem::replace(&mut chosen.current, id.to_owned());
        chosen.previous = Some(before).filter(|before| !before.is_empty());
    }

    /// Whether any set may still go to an installation.
    pub fn refers_to(&self, id: &str) -> bool {
        self.sets.values().any(|one| one.current == id || one.previous.as_deref() == Some(id))
    }
}

/// Replaces a file by one that is complete.
pub fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let dir = path.parent().unwrap_or_else(|| Path::new("."));
    private::create_dir(dir)?;
    private::replace(path, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_survives_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/state.json");
        assert_eq!(State::load(&path), State::default());
        let mut state = State::default();
        state.switch("text", "1-a");
        state.save(&path).unwrap();
        assert_eq!(State::load(&path), state);
    }

    #[test]
    fn switching_remembers_what_was_before_and_switching_back_works() {
        let mut state = State::default();
        state.switch("text", "1-a");
        assert_eq!(state.of("text").unwrap().previous, None);
        state.switch("text", "2-b");
        state.switch("text", "2-b");
        assert_eq!(state.of("text").unwrap().previous.as_deref(), Some("1-a"));
        state.switch("text", "1-a");
        assert_eq!(state.of("text").unwrap().previous.as_deref(), Some("2-b"));
        assert!(state.refers_to("1-a") && state.refers_to("2-b") && !state.refers_to("3-c"));
    }

    #[test]
    fn a_damaged_record_counts_as_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        std::fs::write(&path, "{").unwrap();
        assert_eq!(State::load(&path), State::default());
    }
}
