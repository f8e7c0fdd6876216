//! `mlx-openai-server`, 1.6 to 1.8.

use std::ffi::OsString;

use crate::backends::engine::argv::{Args, ArgvError, Launch};
use crate::backends::engine::capabilities::Capabilities;
use crate::backends::engine::error::EngineError;
use crate::backends::engine::model::Resolved;
use crate::backends::engine::prepare::{Instance, Preparer};
use crate::backends::engine::programs::Program;
use crate::backends::engine::{Command, Report};
use crate::config::{LaunchSettings, ModelType};

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
    pub async fn openai_server(
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

    pub async fn launch_server(
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
        let args = arguments(&known, &launch)?;
        let mut command = self.assemble(settings, instance, program, args, model.offline);
        command.version = known.version;
        command.worker_mark = Some(WORKER_MARK);
        command.request_model = Some(instance.served_name.to_owned());
        Ok(command)
    }
}

pub(super) fn arguments(known: &Capabilities, launch: &Launch<'_>) -> Result<Vec<OsString>, ArgvError> {
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
