//! `engine = "command"`: any program that serves OpenAI's protocol.

use std::ffi::{OsStr, OsString};

use crate::backends::engine::error::EngineError;
use crate::backends::engine::prepare::{Instance, Preparer};
use crate::backends::engine::programs::Program;
use crate::backends::engine::{Command, Report};
use crate::config::{LaunchSettings, ModelRef};

impl Preparer {
    pub async fn command(
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
        let mut args = arguments(template, argument.as_deref(), instance.port);
        args.extend(settings.extra_args.iter().map(OsString::from));
        let program = Program { path: self.find(name)?, first_args: Vec::new(), installed: None };
        let mut command = self.assemble(settings, instance, program, args, false);
        command.readiness.paths.push("/v1/models");
        Ok(command)
    }
}

/// Its arguments, the placeholders filled in. No shell is involved, so a
/// path with a space stays one argument.
pub(super) fn arguments(template: &[String], model: Option<&OsStr>, port: &str) -> Vec<OsString> {
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
