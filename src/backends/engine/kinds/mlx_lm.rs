//! `mlx_lm.server`.

use std::ffi::OsString;

use serde_json::json;

use crate::backends::engine::argv::{Args, ArgvError, Launch};
use crate::backends::engine::capabilities::Capabilities;
use crate::backends::engine::error::EngineError;
use crate::backends::engine::prepare::{Instance, Preparer};
use crate::backends::engine::programs::Program;
use crate::backends::engine::{Command, Report};
use crate::config::{LaunchSettings, ModelType};

impl Preparer {
    pub async fn mlx_lm(
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
        let args = arguments(&known, &launch)?;
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

    /// `mlx_lm.server`: in the same environment as the above.
    async fn mlx_lm_program(&self, report: Report<'_>) -> Result<Program, EngineError> {
        let server = self.server_program(ModelType::Lm, report).await?;
        let beside = server.path.with_file_name("mlx_lm.server");
        let path = if beside.is_file() { beside } else { self.find("mlx_lm.server")? };
        Ok(Program { path, first_args: Vec::new(), installed: server.installed })
    }
}

pub(super) fn arguments(known: &Capabilities, launch: &Launch<'_>) -> Result<Vec<OsString>, ArgvError> {
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
