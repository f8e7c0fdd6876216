//! The engines as supervision asks for them.

use std::path::Path;

use futures_util::future::BoxFuture;

use super::{Engines, Step, argv};
use crate::backends::launcher::{Command, LaunchError, Launcher, Readiness};
use crate::models::fit;
use crate::profiles::LaunchSpec;

/// Tokens that one conversation is taken to have where the profile does not say: models are made for
/// many more than most requests use, and what is seen corrects the estimate.
const ORDINARY_CONTEXT: u64 = 8_192;

impl Launcher for Engines {
    fn prepare<'a>(
        &'a self,
        spec: &'a LaunchSpec,
        port: u16,
        instance_dir: &'a Path,
        report: &'a (dyn Fn(String) + Send + Sync),
    ) -> BoxFuture<'a, Result<Command, LaunchError>> {
        Box::pin(async move {
            let told = |step: Step| report(step.to_string());
            if spec.auto_download {
                let fetched = self.inner.fetch_model(&spec.settings, &told).await;
                fetched.map_err(|error| LaunchError { reason: error.to_string(), log_tail: Vec::new() })?;
            }
            let prepared =
                Engines::prepare(self, &spec.settings, &spec.served_name, port, instance_dir, &told).await;
            let command =
                prepared.map_err(|error| LaunchError { reason: error.to_string(), log_tail: Vec::new() })?;
            Ok(Command {
                program: command.program,
                args: command.args,
                env: command.env,
                working_dir: command.working_dir,
                readiness: Readiness {
                    paths: command.readiness.paths.iter().map(ToString::to_string).collect(),
                    first_token: command.readiness.first_token.map(|request| request.to_string()),
                },
                worker_mark: command.worker_mark,
            })
        })
    }

    fn estimate<'a>(&'a self, spec: &'a LaunchSpec) -> BoxFuture<'a, Option<u64>> {
        Box::pin(async move {
            let facts = self.inner.facts(&spec.settings).await?;
            let native = facts.context_length.as_ref().map(|known| known.value);
            let context = match (spec.settings.context_length, native) {
                (Some(said), _) => u64::from(said),
                (None, native) => native.unwrap_or(ORDINARY_CONTEXT).min(ORDINARY_CONTEXT),
            };
            let packed = argv::kv_quantization(&spec.settings.extra_args);
            let estimate = fit::estimate_packed(&facts, context, 1, packed);
            (estimate.weights_bytes > 0).then(|| estimate.total_bytes())
        })
    }
}
