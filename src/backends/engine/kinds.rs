//! What launches each kind of engine: which program it is, its arguments, and what is peculiar to its start.

use std::ffi::{OsStr, OsString};

use serde_json::json;

use super::argv::{Args, ArgvError, Launch};
use super::capabilities::Capabilities;
use super::error::EngineError;
use super::model::Resolved;
use super::prepare::{Instance, Preparer};
use super::programs::Program;
use super::{Command, Report};
use crate::config::{EngineKind, LaunchSettings, ModelRef, ModelType};

#[cfg(test)]
mod tests;

/// Since 1.8 it leaves the model to a process that Python's multiprocessing spawns.
const WORKER_MARK: &str = "--multiprocessing-fork";
/// The gateway queues requests itself, fairly and with a bound; the engine's queue only must not
/// refuse what the gateway let through.
const ENGINE_QUEUE_SIZE: u32 = 1_000;
/// Also the limit for a single step of an answer, the prefill of a long prompt included; the
/// gateway has its own, configurable ones.
const ENGINE_TIMEOUT_SECONDS: u32 = 86_400;
/// What 1.6 could run at once; MLX's streams do not take more there.
const ENGINE_CONCURRENCY_1_6: u32 = 1;

impl Preparer {
    /// The model type whose packages have to be installed for it; `None`: it brings its own.
    pub(super) async fn installed_for(&self, settings: &LaunchSettings) -> Option<ModelType> {
        match settings.engine {
            EngineKind::MlxOpenaiServer => {
                Some(self.model_type(settings, self.facts(settings).await.as_ref()))
            }
            EngineKind::MlxLm => Some(ModelType::Lm),
            EngineKind::Command | EngineKind::Url => None,
        }
    }

    /// What launches it.
    pub(super) async fn built(
        &self,
        settings: &LaunchSettings,
        instance: &Instance<'_>,
        report: Report<'_>,
    ) -> Result<Command, EngineError> {
        match settings.engine {
            EngineKind::MlxOpenaiServer => self.openai_server(settings, instance, report).await,
            EngineKind::MlxLm => self.mlx_lm(settings, instance, report).await,
            EngineKind::Command => self.command(settings, instance, report).await,
            EngineKind::Url => Err(EngineError::NothingToLaunch),
        }
    }
}

/// `mlx-openai-server`, 1.6 to 1.8.
impl Preparer {
    async fn openai_server(
        &self,
        settings: &LaunchSettings,
        instance: &Instance<'_>,
        report: Report<'_>,
    ) -> Result<Command, EngineError> {
        let model = self.model(settings, report).await?;
        let model_type = self.model_type(settings, model.facts.as_ref());
        let program = self.server_program(model_type, report).await?;
        self.launch_server(settings, instance, program, model, model_type).await
    }

    pub(super) async fn launch_server(
        &self,
        settings: &LaunchSettings,
        instance: &Instance<'_>,
        program: Program,
        model: Resolved,
        model_type: ModelType,
    ) -> Result<Command, EngineError> {
        let known = match &program.installed {
            Some(installed) => self.managed.capabilities(installed)?,
            None => self.ask_server(&program).await?,
        };
        let prompt_cache_dir = self.prompt_cache_dir(instance);
        let launch = self.launch(settings, instance, &model, model_type, &prompt_cache_dir);
        let args = server_arguments(&known, &launch)?;
        let mut command = self.assemble(settings, instance, program, args, model.offline);
        command.version = known.version;
        command.worker_mark = Some(WORKER_MARK);
        command.request_model = Some(instance.served_name.to_owned());
        Ok(command)
    }
}

/// Those of `mlx-openai-server`, 1.6 to 1.8.
fn server_arguments(known: &Capabilities, launch: &Launch<'_>) -> Result<Vec<OsString>, ArgvError> {
    let program = "mlx-openai-server";
    for option in ["--model-path", "--model-type", "--host", "--port"] {
        if !known.knows(option) {
            return Err(ArgvError::Unsupported { program, option });
        }
    }
    let model_type = launch.model_type.name();
    if !known.accepts("--model-type", model_type) {
        let version = known.version.clone().unwrap_or_else(|| "(version unknown)".to_owned());
        return Err(ArgvError::ModelType { version, model_type });
    }
    let mut args = Args::new(known, &["launch"]);
    args.always("--model-path", launch.model);
    args.always("--model-type", model_type);
    args.value("--served-model-name", launch.served_name);
    args.always("--host", "127.0.0.1");
    args.always("--port", launch.port);
    args.flag("--no-log-file");
    args.value("--log-level", "INFO");
    args.value("--queue-size", ENGINE_QUEUE_SIZE.to_string());
    args.value("--queue-timeout", ENGINE_TIMEOUT_SECONDS.to_string());
    args.value("--max-concurrency", ENGINE_CONCURRENCY_1_6.to_string());
    if matches!(launch.model_type, ModelType::Lm | ModelType::Multimodal) {
        generation(&mut args, launch);
    }
    if launch.trust_remote_code {
        args.flag("--trust-remote-code");
    }
    Ok(args.finish(launch.extra_args))
}

/// What only models that write text take.
fn generation(args: &mut Args<'_>, launch: &Launch<'_>) {
    if let Some(length) = launch.context_length {
        args.value("--context-length", length.to_string());
    }
    if let Some(parser) = launch.parsers.tool
        && args.value("--tool-call-parser", parser)
    {
        args.flag("--enable-auto-tool-choice");
    }
    if let Some(parser) = launch.parsers.reasoning {
        args.value("--reasoning-parser", parser);
    }
    if launch.structured {
        args.flag("--disable-batching");
    }
    if launch.model_type == ModelType::Lm {
        args.value("--max-bytes", launch.prompt_cache_bytes.to_string());
        args.value("--prompt-cache-dir", launch.prompt_cache_dir);
    }
}

/// `mlx_lm.server`.
impl Preparer {
    async fn mlx_lm(
        &self,
        settings: &LaunchSettings,
        instance: &Instance<'_>,
        report: Report<'_>,
    ) -> Result<Command, EngineError> {
        let model = self.model(settings, report).await?;
        let program = self.mlx_lm_program(report).await?;
        let known = self.ask(&program.path, &[], &["--help"]).await?;
        let prompt_cache_dir = self.prompt_cache_dir(instance);
        let launch = self.launch(settings, instance, &model, ModelType::Lm, &prompt_cache_dir);
        let args = mlx_lm_arguments(&known, &launch)?;
        let mut command = self.assemble(settings, instance, program, args, model.offline);
        // Any other name would be taken for a path and loaded.
        command.request_model = Some("default_model".to_owned());
        command.readiness.first_token = Some(json!({
            "model": "default_model",
            "max_tokens": 1,
            "messages": [{"role": "user", "content": "hi"}],
        }));
        Ok(command)
    }

    /// In the environment of `mlx-openai-server`.
    async fn mlx_lm_program(&self, report: Report<'_>) -> Result<Program, EngineError> {
        let server = self.server_program(ModelType::Lm, report).await?;
        let beside = server.path.with_file_name("mlx_lm.server");
        let path = if beside.is_file() { beside } else { self.find("mlx_lm.server")? };
        Ok(Program { path, first_args: Vec::new(), installed: server.installed })
    }
}

/// Those of `mlx_lm.server`.
fn mlx_lm_arguments(known: &Capabilities, launch: &Launch<'_>) -> Result<Vec<OsString>, ArgvError> {
    for option in ["--model", "--host", "--port"] {
        if !known.knows(option) {
            return Err(ArgvError::Unsupported { program: "mlx_lm.server", option });
        }
    }
    let mut args = Args::new(known, &[]);
    args.always("--model", launch.model);
    args.always("--host", "127.0.0.1");
    args.always("--port", launch.port);
    // Its default lets every web page in the browser talk to it.
    args.value("--allowed-origins", "http://127.0.0.1");
    args.value("--log-level", "INFO");
    args.value("--prompt-cache-bytes", launch.prompt_cache_bytes.to_string());
    if launch.trust_remote_code {
        args.flag("--trust-remote-code");
    }
    Ok(args.finish(launch.extra_args))
}

/// `engine = "command"`: any program that serves OpenAI's protocol.
impl Preparer {
    async fn command(
        &self,
        settings: &LaunchSettings,
        instance: &Instance<'_>,
        report: Report<'_>,
    ) -> Result<Command, EngineError> {
        let (name, template) = settings.command.split_first().ok_or(EngineError::NoCommand)?;
        let argument = match &settings.model {
            None => None,
            // What it does with a Hub id is its own business.
            Some(ModelRef::Hub(id)) => Some(OsString::from(id)),
            Some(_) => Some(self.model(settings, report).await?.argument),
        };
        let mut args = command_arguments(template, argument.as_deref(), instance.port);
        args.extend(settings.extra_args.iter().map(OsString::from));
        let program = Program { path: self.find(name)?, first_args: Vec::new(), installed: None };
        let mut command = self.assemble(settings, instance, program, args, false);
        command.readiness.paths.push("/v1/models");
        Ok(command)
    }
}

/// Those of any program that serves OpenAI's protocol, the placeholders filled in. No shell is involved, so a
/// path with a space stays one argument.
fn command_arguments(template: &[String], model: Option<&OsStr>, port: &str) -> Vec<OsString> {
    template.iter().map(|word| fill(word, model.unwrap_or_default(), port)).collect()
}

fn fill(word: &str, model: &OsStr, port: &str) -> OsString {
    let mut filled = OsString::new();
    for (index, part) in word.split("{model}").enumerate() {
        if index > 0 {
            filled.push(model);
        }
        filled.push(part.replace("{port}", port));
    }
    filled
}
