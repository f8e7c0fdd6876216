//! Model folders that cost a worker its life. Pure but for the clock that is handed in; a folder whose files have
//! changed since is another folder.

use std::collections::HashMap;
use std::time::Instant;

use super::BLOCK_TIME;
use super::protocol::Folder;

/// Folders that are remembered; beyond that the one that was blocked first goes.
const FOLDERS_MAX: usize = 256;

/// Folders that are not to be read, with the time at which they were blocked.
#[derive(Debug, Default)]
pub struct Blocked(HashMap<Folder, Instant>);

impl Blocked {
    /// Blocks a folder for [`BLOCK_TIME`].
    pub fn insert(&mut self, folder: Folder, now: Instant) {
        self.0.retain(|_, since| now.duration_since(*since) < BLOCK_TIME);
        if self.0.len() >= FOLDERS_MAX {
            let first = self.0.iter().min_by_key(|(_, since)| **since).map(|(folder, _)| folder.clone());
            first.and_then(|first| self.0.remove(&first));
        }
        self.0.insert(folder, now);
    }

    /// Returns whether a folder is blocked at that time.
    pub fn contains(&self, folder: &Folder, now: Instant) -> bool {
        self.0.get(folder).is_some_and(|since| now.duration_since(*since) < BLOCK_TIME)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn folder(path: &str, version: u64) -> Folder {
        Folder { path: path.into(), version }
    }

    #[test]
    fn folders_are_blocked_for_a_time_or_until_they_change() {
        let (mut blocked, now) = (Blocked::default(), Instant::now());
        blocked.insert(folder("/a", 1), now);
        assert!(blocked.contains(&folder("/a", 1), now));
        assert!(blocked.contains(&folder("/a", 1), now + BLOCK_TIME - Duration::from_secs(1)));
        assert!(!blocked.contains(&folder("/a", 1), now + BLOCK_TIME));
        assert!(!blocked.contains(&folder("/a", 2), now) && !blocked.contains(&folder("/b", 1), now));
    }

    #[test]
    fn blocked_folders_are_bounded_and_the_oldest_goes_first() {
        let (mut blocked, now) = (Blocked::default(), Instant::now());
        for n in 0..=FOLDERS_MAX as u64 {
            blocked.insert(folder("/a", n), now + Duration::from_millis(n));
        }
        let later = now + Duration::from_secs(1);
        assert_eq!(blocked.0.len(), FOLDERS_MAX);
        assert!(!blocked.contains(&folder("/a", 0), later) && blocked.contains(&folder("/a", 1), later));
    }
}
