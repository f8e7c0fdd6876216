//! What supervision asks of the engines: a command line for a launch spec. Knows no engine.

use crate::profiles::LaunchSpec;
use futures_util::future::BoxFuture;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Prepares backends for their start.
pub trait Launcher: Send + Sync + 'static {
    /// Installs and fetches what is needed and says what to run. May be dropped at any moment and
    /// asked again; `report` is told its steps, in words for people.
    fn prepare<'a>(
        &'a self,
        spec: &'a LaunchSpec,
        port: u16,
        instance_dir: &'a Path,
        report: &'a (dyn Fn(String) + Send + Sync),
    ) -> BoxFuture<'a, Result<Command, LaunchError>>;

    /// Bytes of memory that it will need, as far as its model's files are here and tell.
    fn estimate<'a>(&'a self, _spec: &'a LaunchSpec) -> BoxFuture<'a, Option<u64>> {
        Box::pin(std::future::ready(None))
    }
}

/// Everything that is needed to spawn a backend's process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    pub program: PathBuf,
    pub args: Vec<OsString>,
    /// All of the process's environment, but for the run's mark and `TMPDIR`, which it may override.
    pub env: Vec<(OsString, OsString)>,
    pub working_dir: PathBuf,
    pub readiness: Readiness,
    /// What stands in the command lines of the children that do its work, where it has such: the end of
    /// one of them is its own.
    pub worker_mark: Option<&'static str>,
}

/// How it is known that a process can serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    /// Paths of which one has to be answered with 200.
    pub paths: Vec<String>,
    /// A chat request (JSON) that has to succeed besides, for engines that say that they are well
    /// before they have loaded, or though they could not load.
    pub first_token: Option<String>,
}

/// Why a backend could not be prepared, in words that say what to do.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{reason}")]
pub struct LaunchError {
    pub reason: String,
    /// Output of what failed, if there was any.
    pub log_tail: Vec<String>,
}
