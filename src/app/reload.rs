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
        self.seen = read(&file).await;
        self.is_filled = self.seen.as_deref().is_some_and(|text| !is_blank(text));
        // It may have changed between the start's look at it and now.
        if !self.is_as_started().await {
            self.read_again().await;
        }
        loop {
            tokio::select! {
                () = self.gateway.ending() => return,
                sign = signs.recv() => if sign.is_none() { return },
            }
            settle(&mut signs).await;
            let Some(now) = read(&file).await else { continue };
            if self.seen.as_ref() == Some(&now) {
                continue;
            }
            let is_emptied = self.is_filled && is_blank(&now);
            self.seen = Some(now);
            if is_emptied { self.refuse(EMPTIED.to_owned()) } else { self.read_again().await }
        }
    }

    async fn is_as_started(&self) -> bool {
        let same = |config: &Config| format!("{config:?}") == format!("{:?}", self.started);
        self.load().await.is_ok_and(|(config, _)| same(&config))
    }

    /// Reads the configuration, which looks for the folders and files that it names.
    async fn load(&self) -> Result<(Config, Vec<Warning>), String> {
        let sources = self.sources.clone();
        let load = move || config::load(&sources).map_err(|error| error.to_string());
        let loaded = offload::run(Path::new("config.toml"), offload::PATIENT_TIME, load).await;
        loaded.unwrap_or_else(|error| Err(error.to_string()))
    }

    async fn read_again(&mut self) {
        match self.load().await {
            Ok((config, warnings)) => {
                for warning in warnings {
                    tracing::warn!("{warning}");
                }
                self.is_filled = self.seen.as_deref().is_some_and(|text| !is_blank(text));
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

/// The content of a file; none: it cannot be read, which the next look at it says.
async fn read(file: &Path) -> Option<Vec<u8>> {
    let path = file.to_owned();
    let read = move || files::read(&path, config::FILE_MAX).ok();
    offload::run(file, offload::PATIENT_TIME, read).await.ok()?
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
