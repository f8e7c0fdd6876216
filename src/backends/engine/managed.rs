//! Owns the installations under the data directory: which are there, which is current, and the
//! installing itself. One installer at a time, in whichever process; what was interrupted is begun
//! anew, out of the installer's cache. Must not know how servers are launched.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Step;
use super::capabilities::Capabilities;
use super::env::{self, Vars};
use super::error::{EngineError, io};
use super::exclusive;
use super::lock::{Lock, Locks};
use super::platform::Platform;
use super::python::Search;
use super::state::{State, write_whole};
use super::tool::{Tool, ToolError};
use super::uv;
use super::venv::{self, Installer, Venv};
use crate::config::ModelType;
use crate::system::{files, private};

type Report<'a> = &'a (dyn Fn(Step) + Send + Sync);

/// The first start after an installation compiles and caches, on a busy machine.
const QUERY_LIMIT: Duration = Duration::from_secs(180);

/// Bytes of the two files that describe an installation.
const MARK_MAX: u64 = 1 << 20;
const HELP_MAX: u64 = 1 << 20;

/// Finds, makes and switches installations.
pub struct Managed {
    /// `DATA_DIR/engines`.
    pub root: PathBuf,
    pub locks: Locks,
    pub host: Vars,
    pub platform: Platform,
    pub index_url: Option<String>,
}

/// An installation that is complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// Its folder name.
    pub id: String,
    pub version: String,
    pub dir: PathBuf,
    pub venv: Venv,
}

/// The right to change what is installed; given up when dropped.
pub struct Turn(std::fs::File);

/// Written last: an installation without it was interrupted.
#[derive(Debug, Serialize, Deserialize)]
struct Mark {
    version: String,
    /// SHA-256 of the lock.
    lock: String,
    installer: String,
    /// Where it was made, links resolved: its scripts name their interpreter by this path, so an
    /// installation that was moved or copied does not run.
    #[serde(default)]
    place: PathBuf,
}

impl Managed {
    /// The current installation for a model type; installed first when there is none.
    pub async fn ensure(&self, model_type: ModelType, report: Report<'_>) -> Result<Installed, EngineError> {
        let lock = self.locks.for_type(model_type)?;
        if let Some(installed) = self.current(lock.set) {
            return Ok(installed);
        }
        let turn = self.turn(report).await?;
        // Another process may have done it while this one waited.
        if let Some(installed) = self.current(lock.set) {
            return Ok(installed);
        }
        let installed = self.install(lock, &turn, report).await?;
        self.switch(lock.set, &installed.id, &turn)?;
        Ok(installed)
    }

    /// Waits for its turn. Whoever installs or switches holds the turn until it is done.
    pub async fn turn(&self, report: Report<'_>) -> Result<Turn, EngineError> {
        exclusive::acquire(&self.lock_path(), report).await.map(Turn)
    }

    /// Installs a lock beside the others, unless it is there; does not make it current.
    pub async fn install(
        &self,
        lock: &Lock,
        turn: &Turn,
        report: Report<'_>,
    ) -> Result<Installed, EngineError> {
        if let Some(installed) = self.installed(&lock.id()) {
            return Ok(installed);
        }
        let dir = self.dir(&lock.id());
        if dir.exists() {
            std::fs::remove_dir_all(&dir).map_err(io("remove what was left in", &dir))?;
        }
        private::create_dir(&dir).map_err(io("create", &dir))?;
        let dir = dir.canonicalize().map_err(io("resolve", &dir))?;
        let installer = self.installer(lock, report).await?;
        tracing::info!(
            engine.version = lock.version(), engine.installer = installer.name(), path = %dir.display(),
            "Installing an engine."
        );
        let env = env::installer(&self.host, self.index_url.as_deref());
        let venv = venv::build(&installer, lock, &dir.join("venv"), &env, &turn.0, report).await?;
        let help = self.prove_it_runs(&venv, &env).await?;
        write_whole(&dir.join("launch-help.txt"), help.as_bytes()).map_err(io("write into", &dir))?;
        let mark = Mark {
            version: lock.version().to_owned(),
            lock: lock.digest(),
            installer: installer.name().to_owned(),
            place: dir.clone(),
        };
        let mark = serde_json::to_vec_pretty(&mark).unwrap_or_default();
        write_whole(&dir.join("installed.json"), &mark).map_err(io("write into", &dir))?;
        tracing::info!(engine.version = lock.version(), "The engine is installed.");
        Ok(Installed { id: lock.id(), version: lock.version().to_owned(), dir, venv })
    }

    /// The installation that new servers of a set are launched from.
    pub fn current(&self, set: &str) -> Option<Installed> {
        let state = self.state();
        self.installed(&state.of(set)?.current)
    }

    /// An installation by its folder name, if it is complete, where it was made, and its interpreter
    /// still there.
    pub fn installed(&self, id: &str) -> Option<Installed> {
        let dir = self.dir(id).canonicalize().ok()?;
        let bytes = files::read(&dir.join("installed.json"), MARK_MAX).ok()?;
        let mark: Mark = serde_json::from_slice(&bytes).ok()?;
        let venv = Venv { root: dir.join("venv") };
        (mark.place == dir && venv.has_interpreter()).then(|| Installed {
            id: id.to_owned(),
            version: mark.version,
            venv,
            dir,
        })
    }

    pub fn state(&self) -> State {
        State::load(&self.state_path())
    }

    /// Makes an installation current.
    pub fn switch(&self, set: &str, id: &str, _turn: &Turn) -> Result<(), EngineError> {
        let path = self.state_path();
        let mut state = self.state();
        state.switch(set, id);
        state.save(&path).map_err(io("write", path))
    }

    /// Removes installations that no set refers to any more. No server runs from them: a second
    /// upgrade needs a second lock, which comes with another gateway.
    pub fn remove_forgotten(&self, _turn: &Turn) {
        let state = self.state();
        let Ok(entries) = std::fs::read_dir(self.engine_dir()) else { return };
        for entry in entries.flatten() {
            let (name, path) = (entry.file_name(), entry.path());
            let is_installation = path.join("venv").exists();
            if !is_installation || state.refers_to(&name.to_string_lossy()) {
                continue;
            }
            if let Err(error) = std::fs::remove_dir_all(&path) {
                tracing::warn!(path = %path.display(), error = %error, "Could not remove an old engine.");
            }
        }
    }

    /// What the installed server can do; asked when it was installed.
    pub fn capabilities(&self, installed: &Installed) -> Result<Capabilities, EngineError> {
        let path = installed.dir.join("launch-help.txt");
        let help = files::read_to_string(&path, HELP_MAX).map_err(io("read", path))?;
        Ok(Capabilities::parse(&installed.version, &help))
    }

    /// uv where it is, else a fitting Python, else the pinned uv, which can bring a Python.
    async fn installer(&self, lock: &Lock, report: Report<'_>) -> Result<Installer, EngineError> {
        let search = Search::new(&self.host, self.platform.is_macos());
        let python = search.python().await;
        if let Some(program) = search.uv().await {
            return Ok(Installer::Uv { program, python, pythons_dir: None });
        }
        if let Some(python) = python {
            return Ok(Installer::Pip { python });
        }
        report(Step::FetchingUv);
        let dir = self.root.join("uv");
        let fetched = match uv::wheel(self.platform) {
            Ok(wheel) => uv::ensure(wheel, self.index_url.as_deref(), &dir).await,
            Err(error) => Err(error),
        };
        let program = fetched.map_err(|error| EngineError::NoInstaller {
            what: format!("mlx-openai-server {}", lock.version()),
            reason: error.to_string(),
            hint: self.platform.install_hint(),
        })?;
        let pythons_dir = Some(self.root.join("python"));
        Ok(Installer::Uv { program, python: None, pythons_dir })
    }

    /// Importing everything also shows what a lock left out.
    async fn prove_it_runs(&self, venv: &Venv, env: &Vars) -> Result<String, EngineError> {
        let program = venv.program("mlx-openai-server");
        launch_help(&program, env).await.map_err(|source| EngineError::Broken { program, source })
    }

    fn engine_dir(&self) -> PathBuf {
        self.root.join("mlx-openai-server")
    }

    fn dir(&self, id: &str) -> PathBuf {
        self.engine_dir().join(id)
    }

    fn state_path(&self) -> PathBuf {
        self.engine_dir().join("state.json")
    }

    fn lock_path(&self) -> PathBuf {
        self.root.join("installer.lock")
    }
}

/// The `launch --help` text of a server.
pub async fn launch_help(program: &Path, env: &Vars) -> Result<String, ToolError> {
    let mut env = env.clone();
    env.insert("HF_HUB_OFFLINE".into(), "1".into());
    Tool::new(program, &env, QUERY_LIMIT).args(["launch", "--help"]).run(&|_| {}).await
}

#[cfg(test)]
mod tests;
