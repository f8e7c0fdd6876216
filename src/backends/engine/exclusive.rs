//! Owns the installers' mutual exclusion, between tasks and between processes: a lock on a file,
//! which the system takes back when its holders end.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::Duration;

use super::Step;
use super::error::{EngineError, io};
use crate::system::private;

/// How often a waiting installer looks again. The lock cannot be waited for without a thread that
/// could not be ended.
const LOOK_AGAIN: Duration = Duration::from_millis(300);

/// Waits for its turn; whoever waits says so once.
pub async fn acquire(path: &Path, report: &(dyn Fn(Step) + Send + Sync)) -> Result<File, EngineError> {
    let dir = path.parent().unwrap_or(path);
    private::create_dir(dir).map_err(io("create", dir))?;
    let file = private::append(path).map_err(io("open", path))?;
    let mut told = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(io("lock", path)(error)),
        }
        if !told {
            report(Step::WaitingForInstaller);
            told = true;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_second_installer_waits_for_the_first_and_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/installer.lock");
        let first = acquire(&path, &|_| {}).await.unwrap();
        let (tell, told) = mpsc::channel();
        let report = move |step: Step| tell.send(step).unwrap();
        let second = acquire(&path, &report);
        tokio::pin!(second);
        let is_pending =
            std::future::poll_fn(|cx| std::task::Poll::Ready(second.as_mut().poll(cx).is_pending()));
        assert!(is_pending.await);
        assert!(matches!(told.recv().unwrap(), Step::WaitingForInstaller));
        drop(first);
        second.await.unwrap();
    }
}
