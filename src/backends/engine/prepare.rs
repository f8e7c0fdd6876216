//! Owns the way from launch settings to a [`Command`]: which program, which model, which
//! arguments and environment. The order is told in [`Preparer::prepare`]; what differs from engine to engine is in
//! `kinds`, the pure parts in `argv`, `env`, `model` and `parsers`.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::argv::{self, Launch};
use super::capabilities::Capabilities;
use super::env::{self, ServerEnv, Vars};
use super::error::{EngineError, io};
use super::managed::{Installed, Managed};
use super::model::{self, Resolved};
use super::platform::Platform;
use super::programs::Program;
use super::{Arrival, Command, ModelFetcher, Readiness, Report, Step, demo, upgrade};
use crate::config::{self, EngineKind, LaunchSettings, ModelRef, ModelType};
use crate::models::Facts;
use crate::models::hub_cache::{cached_snapshot, repo_name};
use crate::models::parsers;
use crate::system::offload::{self, OffloadError};
use crate::system::private;

/// What stands for the port and for the folder of its own that each start chooses.
pub const PREVIEW_PORT: &str = "{port}";
pub const PREVIEW_DIR: &str = "{folder}";

/// The parts that preparing needs.
pub struct Preparer {
    pub managed: Managed,
    pub server: config::ManagedEngine,
    pub hub: config::Hub,
    pub models: Arc<dyn ModelFetcher>,
    pub host: Vars,
    pub platform: Platform,
    pub models_dir: PathBuf,
    pub budget_bytes: u64,
    /// What programs said of themselves, by path, question and time of change.
    pub asked: tokio::sync::Mutex<HashMap<Asked, Capabilities>>,
}

/// Path, arguments, time of change.
pub type Asked = (PathBuf, String, Option<SystemTime>);

/// What the caller of `prepare` gave, beside the settings.
pub struct Instance<'a> {
    pub served_name: &'a str,
    pub port: &'a str,
    pub dir: &'a Path,
}

impl Preparer {
    pub async fn prepare(
        &self,
        settings: &LaunchSettings,
        served_name: &str,
        port: u16,
        instance_dir: &Path,
        report: Report<'_>,
    ) -> Result<Command, EngineError> {
        let port = port.to_string();
        let instance = Instance { served_name, port: &port, dir: instance_dir };
        for dir in [self.temporary_dir(&instance), self.prompt_cache_dir(&instance)] {
            private::create_dir(&dir).map_err(io("create", dir))?;
        }
        self.built(settings, &instance, report).await
    }

    /// The command as a start would build it now, with [`PREVIEW_PORT`] and [`PREVIEW_DIR`] for what only a
    /// start chooses. Nothing is installed, made or fetched for it.
    pub async fn preview(
        &self,
        settings: &LaunchSettings,
        served_name: &str,
    ) -> Result<Command, EngineError> {
        if let Some(missing) = self.missing(settings).await {
            return Err(EngineError::NotYet(missing));
        }
        let instance = Instance { served_name, port: PREVIEW_PORT, dir: Path::new(PREVIEW_DIR) };
        self.built(settings, &instance, &|_| {}).await
    }

    /// What the first start would have to make first.
    async fn missing(&self, settings: &LaunchSettings) -> Option<&'static str> {
        let model_type = self.installed_for(settings).await?;
        // What cannot be installed at all is told as that.
        let lock = self.managed.locks.for_type(model_type).ok().filter(|_| self.server.managed);
        if lock.is_some_and(|lock| self.managed.current(lock.set).is_none()) {
            return Some("the engine is not installed yet");
        }
        let unmade = settings.model == Some(ModelRef::Demo) && self.facts(settings).await.is_none();
        unmade.then_some("the demo model is not made yet")
    }

    pub(super) async fn facts(&self, settings: &LaunchSettings) -> Option<Facts> {
        model::facts(&self.present(settings).await?).await.ok()
    }

    pub(super) fn model_type(&self, settings: &LaunchSettings, facts: Option<&Facts>) -> ModelType {
        let text_only = self.server.managed && !self.platform.is_macos();
        model::model_type(settings.model_type, facts, text_only)
    }

    /// Has the model fetched that these settings want and that is not here.
    pub async fn fetch_model(
        &self,
        settings: &LaunchSettings,
        report: Report<'_>,
    ) -> Result<(), EngineError> {
        let Some(ModelRef::Hub(id)) = &settings.model else { return Ok(()) };
        if !settings.engine.runs_mlx()
            || !matches!(self.hub_model(settings, id).await, Err(EngineError::NotHere { .. }))
        {
            return Ok(());
        }
        let told = |Arrival { done_bytes, total_bytes }| {
            report(Step::Downloading { model: id.clone(), done_bytes, total_bytes });
        };
        let fetched = self.models.fetch(id, &told).await;
        fetched.map(drop).map_err(|reason| EngineError::Download { model: id.clone(), reason })
    }

    /// Launches an installation once with the demo model.
    pub async fn prove(&self, new: &Installed, report: Report<'_>) -> Result<(), EngineError> {
        let root = &self.managed.root;
        let dir = private::temp_dir_in(root, ".proof-").map_err(io("create a folder in", root))?;
        let unproven = |reason| EngineError::Unproven { version: new.version.clone(), reason };
        let port = upgrade::free_port().await.map_err(|error| unproven(error.to_string()))?;
        let program = Program {
            path: new.venv.program("mlx-openai-server"),
            first_args: Vec::new(),
            installed: Some(new.clone()),
        };
        let env = env::installer(&self.host, None);
        let folder = demo::ensure(&new.venv.python(), &self.models_dir, &env, report).await?;
        let model = Resolved::folder(&folder).await?;
        let settings = demo_settings();
        let words = port.to_string();
        let instance = Instance { served_name: "proof", port: &words, dir: dir.path() };
        for dir in [self.temporary_dir(&instance), self.prompt_cache_dir(&instance)] {
            private::create_dir(&dir).map_err(io("create", dir))?;
        }
        let command = self.launch_server(&settings, &instance, program, model, ModelType::Lm).await?;
        upgrade::prove(&command, port, report).await.map_err(unproven)
    }

    /// The model's folder, if it is here already.
    async fn present(&self, settings: &LaunchSettings) -> Option<PathBuf> {
        match settings.model.as_ref()? {
            ModelRef::Folder(folder) => Some(folder.clone()),
            ModelRef::Demo => Some(demo::folder(&self.models_dir)),
            ModelRef::Hub(id) => self.find_model(id).await.ok()?,
        }
    }

    /// The model as a folder wherever that can be had.
    pub(super) async fn model(
        &self,
        settings: &LaunchSettings,
        report: Report<'_>,
    ) -> Result<Resolved, EngineError> {
        let wanted = settings.model.as_ref();
        match wanted.ok_or(EngineError::NoModel(settings.engine.name()))? {
            ModelRef::Folder(folder) => Resolved::folder(folder).await,
            ModelRef::Demo => {
                let python = self.python(settings, report).await?;
                let env = env::installer(&self.host, None);
                let folder = demo::ensure(&python, &self.models_dir, &env, report).await?;
                Resolved::folder(&folder).await
            }
            ModelRef::Hub(id) => self.hub_model(settings, id).await,
        }
    }

    /// A profile may have a cache of its own; else it is the gateway's.
    async fn hub_model(&self, settings: &LaunchSettings, id: &str) -> Result<Resolved, EngineError> {
        let own = match env::hub_cache(&self.host, &settings.env) {
            Some(cache) => {
                let (place, id) = (cache.join(repo_name(id)), id.to_owned());
                let look = move || cached_snapshot(&cache, &id);
                offload::run(&place, offload::PATIENT_TIME, look).await?
            }
            None => None,
        };
        let snapshot = match own {
            Some(snapshot) => Some(snapshot),
            None => self.find_model(id).await?,
        };
        let snapshot = snapshot.ok_or_else(|| EngineError::NotHere { model: id.to_owned() })?;
        Resolved::folder(&snapshot).await
    }

    /// The folder of a Hub model in the gateway's cache, if all of it is here.
    pub(super) async fn find_model(&self, id: &str) -> Result<Option<PathBuf>, OffloadError> {
        let (models, wanted) = (Arc::clone(&self.models), id.to_owned());
        offload::run(Path::new(id), offload::PATIENT_TIME, move || models.find(&wanted)).await
    }

    pub(super) fn launch<'a>(
        &self,
        settings: &'a LaunchSettings,
        instance: &Instance<'a>,
        model: &'a Resolved,
        model_type: ModelType,
        prompt_cache_dir: &'a Path,
    ) -> Launch<'a> {
        Launch {
            model: &model.argument,
            model_type,
            served_name: instance.served_name,
            port: instance.port,
            context_length: settings.context_length,
            parsers: model.facts.as_ref().map(parsers::choose).unwrap_or_default(),
            prompt_cache_bytes: argv::prompt_cache_bytes(self.budget_bytes),
            prompt_cache_dir,
            structured: settings.structured,
            trust_remote_code: settings.trust_remote_code,
            extra_args: &settings.extra_args,
        }
    }

    pub(super) fn assemble(
        &self,
        settings: &LaunchSettings,
        instance: &Instance<'_>,
        program: Program,
        args: Vec<OsString>,
        offline: bool,
    ) -> Command {
        let temporary_dir = self.temporary_dir(instance);
        let bin_dir = program.installed.as_ref().map(|installed| installed.venv.bin());
        let vars = env::server(
            &self.host,
            &ServerEnv {
                bin_dir: bin_dir.as_deref(),
                temporary_dir: &temporary_dir,
                offline,
                hub_endpoint: Some(&self.hub.endpoint),
                is_linux: self.platform.is_linux(),
                profile: &settings.env,
            },
        );
        let first = program.first_args.into_iter().map(OsString::from);
        Command {
            program: program.path,
            args: first.chain(args).collect(),
            env: vars.into_iter().collect(),
            working_dir: instance.dir.to_owned(),
            readiness: Readiness { paths: vec!["/health"], first_token: None },
            worker_mark: None,
            version: None,
            request_model: None,
        }
    }

    pub(super) fn temporary_dir(&self, instance: &Instance<'_>) -> PathBuf {
        instance.dir.join("tmp")
    }

    pub(super) fn prompt_cache_dir(&self, instance: &Instance<'_>) -> PathBuf {
        instance.dir.join("prompt-cache")
    }
}

/// What a new installation is proved with.
fn demo_settings() -> LaunchSettings {
    LaunchSettings {
        engine: EngineKind::MlxOpenaiServer,
        model: Some(ModelRef::Demo),
        command: Vec::new(),
        upstream: None,
        model_type: Some(ModelType::Lm),
        context_length: None,
        structured: false,
        extra_args: Vec::new(),
        env: BTreeMap::new(),
        trust_remote_code: false,
        memory: None,
    }
}

#[cfg(test)]
mod tests;
