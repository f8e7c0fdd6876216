//! Keeps the facts of folders that have not changed since they were read. Knows nothing of where the
//! folders are.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Facts;
use super::folder::{self, FactsError, Listed};
use super::sources::inspect;

/// Folders whose facts are kept; beyond that those go that were asked for longest ago.
pub const MOST_CACHED: usize = 4096;
/// Folders read at one time: they wait for the disk more than they work.
const READERS: usize = 4;

/// Facts by folder. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct FactsCache(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    by_folder: HashMap<PathBuf, Entry>,
    asked: u64,
}

#[derive(Debug)]
struct Entry {
    stamp: Vec<Listed>,
    facts: Arc<Facts>,
    asked: u64,
}

impl FactsCache {
    /// An empty cache.
    pub fn new() -> FactsCache {
        FactsCache::default()
    }

    /// The facts of the model in `folder`, read anew when a file's name, size or time has changed.
    /// Blocks on the disk.
    pub fn read(&self, folder: &Path) -> Result<Arc<Facts>, FactsError> {
        let stamp = folder::listing(folder)?;
        if let Some(facts) = self.kept().find(folder, &stamp) {
            return Ok(facts);
        }
        let files = stamp.iter().map(|(file, _)| file.clone()).collect();
        let facts = Arc::new(inspect(&folder::sources(folder, files)?));
        self.kept().keep(folder, stamp, Arc::clone(&facts));
        Ok(facts)
    }

    /// The same for many, several at a time, in their order. Blocks on the disk.
    pub fn read_all(&self, folders: &[PathBuf]) -> Vec<Result<Arc<Facts>, FactsError>> {
        let share = folders.len().div_ceil(READERS).max(1);
        std::thread::scope(|scope| {
            let parts: Vec<_> = folders
                .chunks(share)
                .map(|part| {
                    let read = || part.iter().map(|folder| self.read(folder)).collect::<Vec<_>>();
                    (part, scope.spawn(read))
                })
                .collect();
            let joined = parts.into_iter().map(|(part, reading)| {
                // A thread that could not end gave nothing: what it had to read is read here.
                reading.join().unwrap_or_else(|_| part.iter().map(|folder| self.read(folder)).collect())
            });
            joined.flatten().collect()
        })
    }

    /// How many are kept.
    pub fn len(&self) -> usize {
        self.kept().by_folder.len()
    }

    /// Whether no model has been looked at.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn find(&mut self, folder: &Path, stamp: &[Listed]) -> Option<Arc<Facts>> {
        self.asked += 1;
        let asked = self.asked;
        let entry = self.by_folder.get_mut(folder).filter(|entry| entry.stamp == stamp)?;
        entry.asked = asked;
        Some(Arc::clone(&entry.facts))
    }

    fn keep(&mut self, folder: &Path, stamp: Vec<Listed>, facts: Arc<Facts>) {
        if self.by_folder.len() >= MOST_CACHED && !self.by_folder.contains_key(folder) {
            let oldest = self.by_folder.iter().min_by_key(|(_, entry)| entry.asked);
            if let Some(oldest) = oldest.map(|(folder, _)| folder.clone()) {
                self.by_folder.remove(&oldest);
            }
        }
        self.by_folder.insert(folder.to_owned(), Entry { stamp, facts, asked: self.asked });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(config: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("config.json"), config).unwrap();
        dir
    }

    #[test]
    fn a_folder_that_has_not_changed_is_not_read_again() {
        let cache = FactsCache::new();
        let dir = model(r#"{"model_type":"qwen3"}"#);
        let first = cache.read(dir.path()).unwrap();
        assert!(Arc::ptr_eq(&first, &cache.read(dir.path()).unwrap()));
        std::fs::write(dir.path().join("config.json"), r#"{"model_type":"llama"}"#).unwrap();
        assert_eq!(cache.read(dir.path()).unwrap().model_type, "llama");
        std::fs::write(dir.path().join("modules.json"), "[]").unwrap();
        assert_eq!(cache.read(dir.path()).unwrap().kind, crate::models::Kind::Embeddings);
        assert_eq!(cache.len(), 1);
    }

    #[test]
    fn many_are_read_in_their_order_and_the_broken_ones_among_them_say_why() {
        let dirs: Vec<_> = (0..9).map(|n| model(&format!(r#"{{"model_type":"m{n}"}}"#))).collect();
        let mut folders: Vec<PathBuf> = dirs.iter().map(|dir| dir.path().to_owned()).collect();
        folders.insert(4, dirs[0].path().join("none"));
        let read = FactsCache::new().read_all(&folders);
        let names: Vec<String> = read
            .iter()
            .map(|one| one.as_ref().map_or("?".into(), |facts| facts.model_type.clone()))
            .collect();
        assert_eq!(names, ["m0", "m1", "m2", "m3", "?", "m4", "m5", "m6", "m7", "m8"]);
    }

    #[test]
    fn the_longest_unasked_goes_when_there_are_too_many() {
        let mut kept = Kept::default();
        let facts = Arc::new(Facts::default());
        for n in 0..=MOST_CACHED {
            kept.asked += 1;
            kept.keep(Path::new(&n.to_string()), Vec::new(), Arc::clone(&facts));
        }
        assert_eq!(kept.by_folder.len(), MOST_CACHED);
        assert!(kept.find(Path::new("0"), &[]).is_none());
        assert!(kept.find(Path::new("1"), &[]).is_some());
    }
}
