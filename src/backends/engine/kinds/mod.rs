//! One file for each kind of engine: which program it is, its arguments, and what is peculiar to its start. Here is
//! only chosen among them.

mod command;
mod mlx_lm;
mod mlx_openai_server;

#[cfg(test)]
mod tests;

use super::error::EngineError;
use super::prepare::{Instance, Preparer};
use super::{Command, Report};
use crate::config::{EngineKind, LaunchSettings, ModelType};

impl Preparer {
    /// The model type whose packages have to be installed for it; `None`: it brings its own.
    pub(super) fn installed_for(&self, settings: &LaunchSettings) -> Option<ModelType> {
        match settings.engine {
            EngineKind::MlxOpenaiServer => Some(self.model_type(settings, self.facts(settings).as_ref())),
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
