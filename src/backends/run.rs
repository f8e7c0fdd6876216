//! What the actor and a run of its backend say to each other. A run goes from nothing to nothing:
//! when its future resolves, no process and no file of it is left. Knows no state and no waiter.

use super::logs::LogBuffer;
use super::state::Failure;
use super::target::Target;
use crate::profiles::LaunchSpec;
use futures_util::future::BoxFuture;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Reports of one run that may be on their way to the actor.
pub const MAX_REPORTS: usize = 64;

/// Runs backends.
pub trait Runner: Send + Sync + 'static {
    /// Runs a backend until it ends or `job.stop` is cancelled, and says why it ended.
    fn run(self: Arc<Self>, job: Job) -> BoxFuture<'static, Failure>;
}

/// One run to be done.
pub struct Job {
    pub spec: Arc<LaunchSpec>,
    pub logs: Arc<LogBuffer>,
    pub stop: CancellationToken,
    pub reports: mpsc::Sender<Report>,
    /// Owns what the run spawns.
    pub tracker: TaskTracker,
}

/// What a run tells on its way.
#[derive(Debug)]
pub enum Report {
    /// A step of the preparation, in words for people.
    Step(String),
    Spawned(ProcessFacts),
    /// It answers there.
    Answered(Box<Target>),
    /// Sent once, at the end.
    Ended(Failure),
}

/// What is shown of a run's process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessFacts {
    pub pid: u32,
    pub port: u16,
    pub argv: Vec<String>,
}

impl Failure {
    /// A failure without a log.
    pub fn because(reason: impl Into<String>) -> Failure {
        Failure { reason: reason.into(), log_tail: Vec::new(), timed_out_after: None }
    }
}
