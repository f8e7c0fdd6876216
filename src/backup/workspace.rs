//! Where a backup is put together: a folder of its own beside the store, gone with its value. What a process
//! that died has left there, secrets among it, is cleared away at the next start.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::BackupError;
use crate::system::private;

/// In the data directory; holds nothing but such folders.
const FOLDER: &str = "backup-work";

/// A folder for one backup. Blocks.
pub fn workspace(data_dir: &Path) -> Result<TempDir, BackupError> {
    let folder = data_dir.join(FOLDER);
    let created = private::create_dir(&folder);
    created.and_then(|()| private::temp_dir_in(&folder, "")).map_err(|error| BackupError::io(&folder, error))
}

/// Clears away what an earlier process left; gives the folder, when there was something in it. The caller holds
/// the data directory's lock. Blocks.
pub fn sweep(data_dir: &Path) -> Result<Option<PathBuf>, BackupError> {
    let folder = data_dir.join(FOLDER);
    let found = fs::read_dir(&folder).is_ok_and(|mut entries| entries.next().is_some());
    match fs::remove_dir_all(&folder) {
        Ok(()) => Ok(found.then_some(folder)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(BackupError::io(&folder, error)),
    }
}
