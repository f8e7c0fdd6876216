//! Notices when something in the plugin directory changes. The directory itself may be deleted and come again: a watch is on
//! the one that was there, so it is looked for, and watched anew.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

use super::Registry;
use crate::system::{offload, private};

/// Changes that come within this time of each other are one: copying a folder is many.
const QUIET: Duration = Duration::from_millis(200);
/// A stream of changes without end is looked at now and then all the same.
const QUIET_MAX: u32 = 10;
/// How often a directory that is away is looked for.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A watcher and the directory that it watches.
struct Watch {
    watcher: RecommendedWatcher,
    dir: PathBuf,
    /// Device and inode of the directory that is watched; none: it is away.
    watched: Option<(u64, u64)>,
}

impl Registry {
    /// Follows the directory until the program ends.
    pub async fn follow(&self) {
        let (tell, mut told) = mpsc::channel::<()>(1);
        let mut watch = match self.watch(tell).await {
            Ok(watch) => watch,
            Err(error) => {
                tracing::warn!(error, "The plugin directory cannot be watched; changes need a restart");
                return;
            }
        };
        // What was put there before the watch began.
        if self.0.loaded.initialized() || self.has_own().await {
            self.load().await;
            self.reload().await;
        }
        loop {
            let was_away = watch.watched.is_none();
            tokio::select! {
                sign = told.recv() => if sign.is_none() { return },
                () = tokio::time::sleep(LOOK_EVERY), if was_away => {}
            }
            for _ in 0..QUIET_MAX {
                match tokio::time::timeout(QUIET, told.recv()).await {
                    Ok(Some(())) => {}
                    _ => break,
                }
            }
            watch = match offload::run(self.dir(), offload::PATIENT_TIME, move || watch.renewed()).await {
                Ok(watch) => watch,
                Err(error) => {
                    tracing::warn!(%error, "The plugin directory is not watched any more; changes need a restart");
                    return;
                }
            };
            if !(was_away && watch.watched.is_none()) {
                self.load().await;
                self.reload().await;
            }
        }
    }

    async fn watch(&self, tell: mpsc::Sender<()>) -> Result<Watch, String> {
        let changed = move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| !event.kind.is_access()) {
                // A full channel means that a look is due anyway.
                tell.try_send(()).ok();
            }
        };
        let dir = self.dir().to_owned();
        let begin = move || {
            private::create_dir(&dir).map_err(|error| error.to_string())?;
            let mut watcher = notify::recommended_watcher(changed).map_err(|error| error.to_string())?;
            watcher.watch(&dir, RecursiveMode::Recursive).map_err(|error| error.to_string())?;
            let watched = identity(&dir);
            Ok(Watch { watcher, dir, watched })
        };
        let begun = offload::run(self.dir(), offload::PATIENT_TIME, begin).await;
        begun.unwrap_or_else(|error| Err(error.to_string()))
    }
}

impl Watch {
    /// The watch of the directory that is there now. Blocks.
    fn renewed(mut self) -> Watch {
        let there = identity(&self.dir);
        if there == self.watched {
            return self;
        }
        // Of a directory that is gone there may be nothing to end.
        self.watcher.unwatch(&self.dir).ok();
        self.watched = there.filter(|_| match self.watcher.watch(&self.dir, RecursiveMode::Recursive) {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(%error, "The plugin directory cannot be watched yet");
                false
            }
        });
        self
    }
}

fn identity(dir: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(dir).ok().filter(std::fs::Metadata::is_dir).map(|found| (found.dev(), found.ino()))
}
