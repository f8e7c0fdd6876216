//! Follows the configuration file: what changed in it takes effect while running, by difference. A
//! file that is not valid changes nothing, and says why in the log, in `/api/v1/system` and as event.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::config::{self, Config, Sources, Warning};
use crate::events::{Audience, Kind};
use crate::http::{ConfigStatus, Shared};
use crate::system::clock::{Clock, SystemClock};
use crate::system::{files, offload};

/// Editors write in several steps: this much silence ends a change.
const DEBOUNCE: Duration = Duration::from_millis(250);
/// A file that never rests is read after that many signs of change all the same.
const SIGNS_MAX: usize = 40;
/// Changes that wait to be looked at; more would tell nothing new.
const SIGNS: usize = 1;

/// How often a file is read that is written meanwhile.
const LOOKS_MAX: usize = 5;

/// A configuration with its warnings, or what is wrong with it.
type Loaded = Result<(Config, Vec<Warning>), String>;

/// Why an emptied file is not followed.
const EMPTIED: &str =
    "the configuration file is empty; to remove every profile and setting from it, leave a comment in it";

pub struct Reload {
    sources: Sources,
    /// What the process was started with: the sections that only a start reads.
    started: Config,
    /// The file as it was read last.
    seen: Option<Vec<u8>>,
    /// The file whose content is in force had any.
    is_filled: bool,
    gateway: Shared,
}

impl Reload {
    pub fn new(sources: Sources, started: Config, gateway: Shared) -> Reload {
        Reload { sources, started, seen: None, is_filled: false, gateway }
    }

    /// Reads the file again whenever it changes, until the gateway drains.
    pub async fn follow(mut self, file: PathBuf) {
        let (sign, mut signs) = mpsc::channel(SIGNS);
        // The folder, for editors put a new file in the place of the old one.
        let folder = file.parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf);
        let name = file.file_name().map(ToOwned::to_owned);
        let told = move |event: notify::Result<notify::Event>| {
            let about = |event: &notify::Event| {
                !event.kind.is_access() && event.paths.iter().any(|path| path.file_name() == name.as_deref())
            };
            // A sign that does not fit in says the same as the one that waits.
            if event.is_ok_and(|event| about(&event)) && sign.try_send(()).is_err() {
                tracing::trace!("A change of the configuration file is already known");
            }
        };
        let watching = notify::recommended_watcher(told)
            .and_then(|mut watcher| watcher.watch(&folder, RecursiveMode::NonRecursive).map(|()| watcher));
        let _watcher = match watching {
            Ok(watcher) => watcher,
            Err(error) => {
                tracing::warn!(%error, config.file = %file.display(), "The configuration file cannot be watched; a change needs a restart");
                return;
            }
        };
        self.is_filled = !self.started.profiles.is_empty();
        // It may have changed between the start's look at it and now.
        if let Some((now, loaded)) = self.look(&file).await {
            if loaded.as_ref().is_ok_and(|(config, _)| self.is_as_started(config)) {
                self.is_filled = !is_blank(&now);
                self.seen = Some(now);
            } else {
                self.take(now, loaded);
            }
        }
        loop {
            tokio::select! {
                () = self.gateway.ending() => return,
                sign = signs.recv() => if sign.is_none() { return },
            }
            settle(&mut signs).await;
            let Some((now, loaded)) = self.look(&file).await else { continue };
            if self.seen.as_ref() != Some(&now) {
                self.take(now, loaded);
            }
        }
    }

    fn is_as_started(&self, config: &Config) -> bool {
        format!("{config:?}") == format!("{:?}", self.started)
    }

    /// Reads the file and the configuration that it makes, which looks for the folders and files that it names. None:
    /// it cannot be read, which the next look at it says.
    async fn look(&self, file: &Path) -> Option<(Vec<u8>, Loaded)> {
        let (path, sources) = (file.to_owned(), self.sources.clone());
        let look = move || {
            let mut now = files::read(&path, config::FILE_MAX).ok()?;
            for _ in 0..LOOKS_MAX {
                let loaded = config::load(&sources).map_err(|error| error.to_string());
                // Nobody may have written in between.
                let after = files::read(&path, config::FILE_MAX).ok()?;
                if after == now {
                    return Some((now, loaded));
                }
                now = after;
            }
            None
        };
        offload::run(file, offload::PATIENT_TIME, look).await.ok()?
    }

    fn take(&mut self, now: Vec<u8>, loaded: Loaded) {
        let is_blank = is_blank(&now);
        self.seen = Some(now);
        if self.is_filled && is_blank {
            return self.refuse(EMPTIED.to_owned());
        }
        match loaded {
            Ok((config, warnings)) => {
                for warning in warnings {
                    tracing::warn!("{warning}");
                }
                self.is_filled = !is_blank;
                let needs_restart = sections_changed(&self.started, &config);
                self.gateway.profiles.set_file(config.profiles);
                tracing::info!(config.needs_restart = ?needs_restart, "The configuration file has changed and was read again");
                self.publish(ConfigStatus { needs_restart, ..ConfigStatus::loaded(SystemClock.unix_ms()) });
            }
            Err(error) => self.refuse(error),
        }
    }

    /// Keeps the configuration that is in force, and says why.
    fn refuse(&self, error: String) {
        tracing::error!(error, "Configuration file is not valid, the one read before stays in force");
        let before = self.gateway.about.config.load();
        self.publish(ConfigStatus { error: Some(error), ..ConfigStatus::clone(&before) });
    }

    fn publish(&self, status: ConfigStatus) {
        self.gateway.events.publish(Kind::ConfigChanged, Audience::Readers, &status);
        self.gateway.about.config.store(Arc::new(status));
    }
}

/// Whether a file has nothing in it, as one has that an editor has emptied and not written yet, or that a full disk did
/// not take.
fn is_blank(text: &[u8]) -> bool {
    text.trim_ascii().is_empty()
}

/// Waits until no more signs come.
async fn settle(signs: &mut mpsc::Receiver<()>) {
    for _ in 0..SIGNS_MAX {
        if timeout(DEBOUNCE, signs.recv()).await.is_err() {
            return;
        }
        sleep(DEBOUNCE / 10).await;
    }
}

/// The sections that differ and are read only at the start.
fn sections_changed(before: &Config, now: &Config) -> Vec<&'static str> {
    let same = |a: &dyn std::fmt::Debug, b: &dyn std::fmt::Debug| format!("{a:?}") == format!("{b:?}");
    let sections: [(&'static str, bool); 9] = [
        ("server", same(&before.server, &now.server)),
        ("auth", same(&before.auth, &now.auth)),
        ("memory", same(&before.memory, &now.memory)),
        ("usage", same(&before.usage, &now.usage)),
        ("responses", same(&before.responses, &now.responses)),
        ("media", same(&before.media, &now.media)),
        ("hub", same(&before.hub, &now.hub)),
        ("plugins", same(&before.plugins, &now.plugins)),
        ("engine", same(&before.engines, &now.engines)),
    ];
    sections.into_iter().filter(|(_, same)| !same).map(|(name, _)| name).collect()
}
