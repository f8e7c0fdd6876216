//! Takes the data directory for one process: its mode and owner, its lock, and what an earlier process left half done in
//! it. Nothing in the directory is read before that.

use std::fs::{File, TryLockError};
use std::path::Path;

use super::AppError;
use crate::backup::{self, BackupError, Places};
use crate::config::Config;
use crate::system::private;

const LOCK: &str = "gateway.lock";
/// Files that another user could have put there while the directory was open, to be read or waited for here.
const OWN: [&str; 7] = [
    LOCK,
    backup::DATABASE,
    "gateway.db-wal",
    "gateway.db-shm",
    backup::SECRET,
    backup::RESTORING,
    "revocations",
];

/// Takes the directory; it is held as long as the file is. One process at a time.
pub(super) fn take(data_dir: &Path) -> Result<File, AppError> {
    let failed = |source| AppError::DataDir { path: data_dir.to_owned(), source };
    private::create_dir(data_dir).map_err(failed)?;
    if let Some(mode) = private::claim_dir(data_dir)? {
        let mode = format!("{mode:04o}");
        tracing::warn!(path = %data_dir.display(), mode, "Closed the data directory to other users");
    }
    OWN.iter().try_for_each(|name| private::check_owner(&data_dir.join(name)))?;
    let lock = private::append(&data_dir.join(LOCK)).map_err(failed)?;
    private::restrict(&lock).map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(AppError::InUse(data_dir.to_owned())),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// Ends what a process that died has left half done, before anything in the directory is used.
pub(super) fn tidy(places: &Places) -> Result<(), BackupError> {
    if backup::finish(places)? {
        tracing::warn!("Finished an interrupted restore");
    }
    if let Some(folder) = backup::sweep(&places.data_dir)? {
        tracing::warn!(folder = %folder.display(), "Removed the remains of an interrupted backup");
    }
    Ok(())
}

/// The files that a backup is made of and restored to.
pub(super) fn places(config: &Config) -> Places {
    Places {
        data_dir: config.server.data_dir.clone(),
        config: config.file.clone(),
        plugins: config.plugins.dir.clone(),
    }
}
