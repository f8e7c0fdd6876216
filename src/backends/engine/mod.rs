//! How to install and launch each kind of server: a profile's launch settings in, a [`Command`]
//! out. Knows nothing of requests and does not supervise what was launched.

mod argv;
mod capabilities;
mod demo;
mod digest;
mod env;
mod error;
mod exclusive;
mod fetch;
mod kinds;
mod launch;
mod lock;
mod managed;
mod model;
mod models;
mod platform;
mod prepare;
mod programs;
mod python;
mod state;
mod step;
mod tool;
mod upgrade;
mod uv;
mod venv;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use capabilities::Capabilities;
pub use error::EngineError;
pub use models::{Arrival, ModelFetcher};
pub use step::Step;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use self::env::Vars;
use self::lock::{Lock, Locks};
use self::managed::{Installed, Managed};
use self::platform::Platform;
use self::prepare::Preparer;
use crate::config::{self, LaunchSettings, ModelRef};
use crate::system::offload;

/// How long a program may take to tell its options for a preview.
const PREVIEW_TIME: Duration = Duration::from_secs(10);

/// Everything needed to spawn a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    pub program: PathBuf,
    pub args: Vec<OsString>,
    /// Complete: nothing else may be inherited.
    pub env: Vec<(OsString, OsString)>,
    /// The instance's own folder.
    pub working_dir: PathBuf,
    pub readiness: Readiness,
    /// What stands in the command lines of the children that do its work, where it has such.
    pub worker_mark: Option<&'static str>,
    /// The engine's version where it is known, such as `1.8.1`.
    pub version: Option<String>,
    /// What requests have to name as `model`; `None`: whatever they like.
    pub request_model: Option<String>,
}

/// When a server counts as ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    /// One of them answers GET with 200.
    pub paths: Vec<&'static str>,
    /// A request for one token that has to succeed besides: this engine says that it is well before
    /// it has loaded, and when it could not load.
    pub first_token: Option<serde_json::Value>,
}

/// What the engines need to know.
pub struct EnginesDeps {
    pub data_dir: PathBuf,
    pub config: config::Engines,
    pub hub: config::Hub,
    pub models: Arc<dyn ModelFetcher>,
    /// Memory that backends may use in all.
    pub budget_bytes: u64,
    /// The gateway's own environment, of which children get a part.
    pub environment: BTreeMap<OsString, OsString>,
}

/// One set of packages and its installations, as `engine ls` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EngineStatus {
    pub engine: &'static str,
    /// Which model types: `lm` on Linux, `full` and `multimodal` on macOS; `-` when not managed.
    pub set: &'static str,
    pub managed: bool,
    /// The installation that new servers are launched from, such as `1.8.1-0a1b2c3d`.
    pub current: Option<String>,
    pub version: Option<String>,
    /// Where `rollback` goes.
    pub previous: Option<String>,
    /// What `install` and `upgrade` install.
    pub available: Option<String>,
    pub path: Option<PathBuf>,
    /// The program that runs when it is not managed.
    pub command: Option<Vec<String>>,
}

impl EngineStatus {
    /// Whether `upgrade` would change anything.
    pub fn is_upgradable(&self) -> bool {
        self.current.is_some() && self.available.is_some() && self.current != self.available
    }
}

/// Prepares launches and keeps installations; cheap to clone.
#[derive(Clone)]
pub struct Engines {
    inner: Arc<Preparer>,
}

type Report<'a> = &'a (dyn Fn(Step) + Send + Sync);

impl Engines {
    /// Engines below the data directory; nothing is installed before it is needed.
    pub fn new(deps: EnginesDeps) -> Engines {
        let platform = Platform::current();
        Engines::with(deps, platform, Locks::shipped(platform))
    }

    fn with(deps: EnginesDeps, platform: Platform, locks: Locks) -> Engines {
        let host: Vars = deps.environment;
        let managed = Managed {
            root: deps.data_dir.join("engines"),
            locks,
            host: host.clone(),
            platform,
            index_url: deps.config.mlx_openai_server.index_url.clone(),
        };
        Engines {
            inner: Arc::new(Preparer {
                managed,
                server: deps.config.mlx_openai_server,
                hub: deps.hub,
                models: deps.models,
                host,
                platform,
                models_dir: deps.data_dir.join("models"),
                budget_bytes: deps.budget_bytes,
                asked: tokio::sync::Mutex::default(),
            }),
        }
    }

    /// Installs what is missing, finds or makes the model and builds the command line; what takes
    /// time is told to `report`. `instance_dir` is the server's own, for temporary files.
    pub async fn prepare(
        &self,
        settings: &LaunchSettings,
        served_name: &str,
        port: u16,
        instance_dir: &Path,
        report: Report<'_>,
    ) -> Result<Command, EngineError> {
        self.inner.prepare(settings, served_name, port, instance_dir, report).await
    }

    /// The command line as a start would build it now, `{port}` and `{folder}` for what only the start
    /// chooses; or why there is none yet. Installs and fetches nothing.
    pub async fn preview(
        &self,
        settings: &LaunchSettings,
        served_name: &str,
    ) -> Result<Vec<String>, EngineError> {
        let (inner, settings, name) = (Arc::clone(&self.inner), settings.clone(), served_name.to_owned());
        // What hangs, if anything does, is this profile's program.
        let place = self.inner.managed.root.join(served_name);
        let preview = async move {
            let preview = tokio::time::timeout(PREVIEW_TIME, inner.preview(&settings, &name));
            preview.await.unwrap_or(Err(EngineError::Silent(PREVIEW_TIME.as_secs())))
        };
        let command = offload::run_future(&place, PREVIEW_TIME * 2, preview).await??;
        let words = std::iter::once(command.program.into_os_string()).chain(command.args);
        Ok(words.map(|word| word.to_string_lossy().into_owned()).collect())
    }

    /// The folder of a model that is whole and on this machine.
    pub async fn local_model(&self, model: &ModelRef) -> Option<PathBuf> {
        match model {
            ModelRef::Folder(folder) => {
                let path = folder.clone();
                let is_dir = offload::run(folder, offload::PATIENT_TIME, move || path.is_dir()).await;
                is_dir.unwrap_or(false).then(|| folder.clone())
            }
            ModelRef::Hub(id) => self.inner.find_model(id).await.ok()?,
            ModelRef::Demo => None,
        }
    }

    /// What is installed, and what could be.
    pub async fn list(&self) -> Result<Vec<EngineStatus>, EngineError> {
        let engines = self.clone();
        let root = &self.inner.managed.root;
        Ok(offload::run(root, offload::PATIENT_TIME, move || engines.list_blocking()).await?)
    }

    fn list_blocking(&self) -> Vec<EngineStatus> {
        let server = &self.inner.server;
        if !server.managed {
            return vec![EngineStatus {
                engine: "mlx-openai-server",
                set: "-",
                managed: false,
                current: None,
                version: None,
                previous: None,
                available: None,
                path: None,
                command: server.command.clone(),
            }];
        }
        self.inner.managed.locks.all().into_iter().map(|lock| self.status(lock)).collect()
    }

    /// Installs the ordinary set where it is missing; a set that is there stays as it is.
    pub async fn install(&self, report: Report<'_>) -> Result<EngineStatus, EngineError> {
        self.check_managed()?;
        self.inner.managed.ensure(config::ModelType::Lm, report).await?;
        let lock = self.inner.managed.locks.for_type(config::ModelType::Lm)?;
        Ok(self.status(lock))
    }

    /// Brings every installed set to this program's lock: built beside, proved with one token of
    /// the demo model, then switched to. Running servers go on with what they were launched from.
    /// Gives back the sets that changed.
    pub async fn upgrade(&self, report: Report<'_>) -> Result<Vec<EngineStatus>, EngineError> {
        self.check_managed()?;
        let managed = &self.inner.managed;
        let turn = managed.turn(report).await?;
        let mut changed = Vec::new();
        for lock in managed.locks.all() {
            match managed.current(lock.set) {
                Some(current) if current.id != lock.id() => {
                    let new = managed.install(lock, &turn, report).await?;
                    self.inner.prove(&new, report).await?;
                    managed.switch(lock.set, &new.id, &turn)?;
                    changed.push(self.status(lock));
                }
                _ => {}
            }
        }
        managed.remove_forgotten(&turn);
        Ok(changed)
    }

    /// Switches every set that has one back to its previous installation; again, and it is undone.
    pub async fn rollback(&self) -> Result<Vec<EngineStatus>, EngineError> {
        self.check_managed()?;
        let managed = &self.inner.managed;
        let turn = managed.turn(&|_| {}).await?;
        let state = managed.state();
        let mut changed = Vec::new();
        for lock in managed.locks.all() {
            let previous = state.of(lock.set).and_then(|chosen| chosen.previous.as_deref());
            if let Some(installed) = previous.and_then(|id| managed.installed(id)) {
                managed.switch(lock.set, &installed.id, &turn)?;
                changed.push(self.status(lock));
            }
        }
        if changed.is_empty() { Err(EngineError::NoPrevious) } else { Ok(changed) }
    }

    fn check_managed(&self) -> Result<(), EngineError> {
        if self.inner.server.managed { Ok(()) } else { Err(EngineError::NotManaged) }
    }

    fn status(&self, lock: &Lock) -> EngineStatus {
        let managed = &self.inner.managed;
        let current: Option<Installed> = managed.current(lock.set);
        let state = managed.state();
        let previous = state.of(lock.set).and_then(|chosen| chosen.previous.clone());
        EngineStatus {
            engine: "mlx-openai-server",
            set: lock.set,
            managed: true,
            current: current.as_ref().map(|installed| installed.id.clone()),
            version: current.as_ref().map(|installed| installed.version.clone()),
            previous: previous.filter(|id| managed.installed(id).is_some()),
            available: Some(lock.id()),
            path: current.map(|installed| installed.dir),
            command: None,
        }
    }
}
