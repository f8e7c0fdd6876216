//! Takes the data directory for one process: its mode and owner, its lock, and what an earlier process left half done in
//! it. Nothing in the directory is read before that.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::Duration;

use super::AppError;
use crate::backup::{self, BackupError, Places};
use crate::config::Config;
use crate::store::StoreError;
use crate::system::private;

const LOCK: &str = "gateway.lock";
/// Between two tries to take the lock.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// One second of them.
const TRIES: u32 = 50;
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

/// Folders whose files are read or run here.
const OWN_FOLDERS: [&str; 3] = ["logs", "plugin-cache", "run"];

/// Takes the directory; it is held as long as the file is. One process at a time. Blocks, for a second at most.
pub(super) fn take(data_dir: &Path) -> Result<File, AppError> {
    let failed = |source| AppError::DataDir { path: data_dir.to_owned(), source };
    private::create_dir(data_dir).map_err(failed)?;
    claim(data_dir)?;
    let folders = OWN_FOLDERS.iter().map(|name| data_dir.join(name)).filter(|path| path.is_dir());
    for path in folders {
        claim(&path)?;
    }
    OWN.iter().try_for_each(|name| private::check_owner(&data_dir.join(name)))?;
    let lock = private::append(&data_dir.join(LOCK)).map_err(failed)?;
    private::restrict(&lock).map_err(failed)?;
    match wait_for(|| lock.try_lock(), || std::thread::park_timeout(LOOK_AGAIN)) {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(AppError::InUse(data_dir.to_owned())),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

fn claim(path: &Path) -> Result<(), AppError> {
    if let Some(mode) = private::claim_dir(path)? {
        let mode = format!("{mode:04o}");
        tracing::warn!(path = %path.display(), mode, "Closed a folder of the gateway to other users");
    }
    Ok(())
}

/// Tries until the lock is taken, or often enough. A killed process keeps its lock until the system has taken its
/// memory back.
fn wait_for(
    mut take: impl FnMut() -> Result<(), TryLockError>,
    mut pause: impl FnMut(),
) -> Result<(), TryLockError> {
    for _ in 1..TRIES {
        match take() {
            Err(TryLockError::WouldBlock) => pause(),
            taken => return taken,
        }
    }
    take()
}

/// Refuses a store without a byte beside a session key. The gateway had a store, and an empty one would let everybody in.
pub(super) fn check_store(data_dir: &Path) -> Result<(), StoreError> {
    let path = data_dir.join(backup::DATABASE);
    let is_empty = std::fs::metadata(&path).is_ok_and(|found| found.len() == 0);
    if is_empty && data_dir.join(backup::SECRET).exists() {
        Err(StoreError::Damaged { path })
    } else {
        Ok(())
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

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_lock_that_a_killed_process_still_has_is_waited_for() {
        let (tries, pauses) = (Cell::new(0), Cell::new(0));
        let after = |free: u32| {
            tries.set(0);
            pauses.set(0);
            let take = || {
                tries.set(tries.get() + 1);
                if tries.get() > free { Ok(()) } else { Err(TryLockError::WouldBlock) }
            };
            wait_for(take, || pauses.set(pauses.get() + 1))
        };
        assert!(after(0).is_ok());
        assert_eq!((tries.get(), pauses.get()), (1, 0), "a free lock is taken at once");
        assert!(after(5).is_ok());
        assert_eq!((tries.get(), pauses.get()), (6, 5));
        assert!(matches!(after(u32::MAX), Err(TryLockError::WouldBlock)));
        assert_eq!(
            (tries.get(), pauses.get()),
            (TRIES, TRIES - 1),
            "a gateway that runs is not waited for long"
        );
        let broken = wait_for(|| Err(TryLockError::Error(std::io::Error::other("x"))), || pauses.set(0));
        assert!(matches!(broken, Err(TryLockError::Error(_))));
    }

    #[test]
    fn a_lock_is_taken_once_its_holder_has_gone() {
        let dir = tempfile::tempdir().unwrap();
        let held = take(dir.path()).unwrap();
        std::thread::scope(|scope| {
            let next = scope.spawn(|| take(dir.path()).is_ok());
            drop(held);
            assert!(next.join().unwrap());
        });
    }
}
