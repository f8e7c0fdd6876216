//! Owns what can go wrong before a model server is launched. Every message says what to do.

use std::path::PathBuf;

use super::argv::ArgvError;
use super::tool::ToolError;
use crate::config::ModelType;
use crate::models::FactsError;
use crate::system::offload::OffloadError;

/// Why an engine could not be installed or launched, in words for whoever asked for it.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error(
        "{engine} cannot be installed on {platform}: MLX has no build for it. Set `[engine.mlx-openai-server]` \
         to `managed = false` with a `command`, or use `engine = \"url\"`"
    )]
    Platform { engine: &'static str, platform: String },
    #[error(
        "models of type {} need macOS: on Linux only the types lm and embeddings are installed. Set `[engine.mlx-openai-server]` to \
         `managed = false` with the `command` of a full installation", .0.name()
    )]
    TypeNeedsMacos(ModelType),
    #[error(
        "installing {what} needs Python 3.11 or 3.12, or uv, and neither was found; uv could not be fetched \
         either: {reason}. Install one of them ({hint}), or make the package index reachable \
         (`[engine.mlx-openai-server]` `index_url`)"
    )]
    NoInstaller { what: String, reason: String, hint: &'static str },
    #[error("installing {what} with {installer} failed: {source}{hint}")]
    Install { what: String, installer: String, source: ToolError, hint: &'static str },
    #[error("{program} was installed but does not run: {source}. Run `mlx-gateway engine install` again")]
    Broken { program: PathBuf, source: ToolError },
    #[error(
        "could not ask {program} for its options: {source}. Check `command` under `[engine.mlx-openai-server]`"
    )]
    Inspect { program: PathBuf, source: ToolError },
    #[error("{0}")]
    Argv(#[from] ArgvError),
    #[error("{0}")]
    Model(#[from] FactsError),
    #[error("{0}")]
    Unanswered(#[from] OffloadError),
    #[error("a profile with engine = \"{0}\" needs a `model`")]
    NoModel(&'static str),
    #[error("`command` is empty; it is the program and its arguments")]
    NoCommand,
    #[error("no program {0}; give its whole path in `command`, or add its folder to PATH")]
    NoProgram(String),
    #[error("the engine did not tell its options within {0} s")]
    Silent(u64),
    #[error("{0}; the first start sees to it")]
    NotYet(&'static str),
    #[error("engine = \"url\" has nothing to launch")]
    NothingToLaunch,
    #[error("making the demo model failed: {0}. `mlx-gateway engine install` repairs the installation")]
    Demo(ToolError),
    #[error("downloading {model} failed: {reason}")]
    Download { model: String, reason: String },
    #[error(
        "the model {model} is not on this machine: fetch it with `mlx-gateway models pull {model}`, or let its \
         profile do so with `auto_download = true`"
    )]
    NotHere { model: String },
    #[error("the new version {version} did not prove itself, so nothing was changed: {reason}")]
    Unproven { version: String, reason: String },
    #[error("there is no earlier version to go back to")]
    NoPrevious,
    #[error("mlx-openai-server is not managed by the gateway (`managed = false`); upgrade it yourself")]
    NotManaged,
    #[error("could not {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: std::io::Error },
}

/// For `map_err`: names the path and what was being done.
pub(super) fn io(
    action: &'static str,
    path: impl Into<PathBuf>,
) -> impl FnOnce(std::io::Error) -> EngineError {
    let path = path.into();
    move |source| EngineError::Io { action, path, source }
}
