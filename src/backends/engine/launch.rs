//! The engines as supervision asks for them.

use std::path::Path;

use futures_util::future::BoxFuture;

use super::{Engines, Step};
use crate::backends::launcher::{Command, LaunchError, Launcher, Readiness};
use crate::profiles::LaunchSpec;

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
            })
        })
    }
}
