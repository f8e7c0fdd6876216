//! Notices when something in the plugin directory changes.

use std::time::Duration;

use notify::{RecursiveMode, Watcher};
use tokio::sync::mpsc;

use super::Registry;

/// Changes that come within this time of each other are one: copying a folder is many.
const QUIET: Duration = Duration::from_millis(200);
/// A stream of changes without end is looked at now and then all the same.
const QUIET_MAX: u32 = 10;

impl Registry {
    /// Follows the directory until the program ends.
    pub async fn follow(&self) {
        let (tell, mut told) = mpsc::channel::<()>(1);
        let changed = move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| !event.kind.is_access()) {
                // A full channel means that a look is due anyway.
                tell.try_send(()).ok();
            }
        };
        let dir = self.0.deps.dir.clone();
        let watching = tokio::task::spawn_blocking(move || {
            crate::system::private::create_dir(&dir).map_err(notify::Error::io)?;
            let mut watcher = notify::recommended_watcher(changed)?;
            watcher.watch(&dir, RecursiveMode::Recursive)?;
            Ok::<_, notify::Error>(watcher)
        });
        let _watcher = match watching.await {
            Ok(Ok(watcher)) => watcher,
            Ok(Err(error)) => {
                tracing::warn!(%error, "The plugin directory cannot be watched; changes need a restart");
                return;
            }
            Err(error) => {
                tracing::error!(%error, "The plugin directory cannot be watched");
                return;
            }
        };
        // What was put there before the watch began.
        if self.0.loaded.initialized() || self.has_own() {
            self.load().await;
            self.reload().await;
        }
        while told.recv().await.is_some() {
            for _ in 0..QUIET_MAX {
                match tokio::time::timeout(QUIET, told.recv()).await {
                    Ok(Some(())) => {}
                    _ => break,
                }
            }
            self.load().await;
            self.reload().await;
        }
    }
}
