//! What the actor and a run of its backend say to each other. A run goes from nothing to nothing:
//! when its future resolves, no process and no file of it is left. Knows no state and no waiter.

use super::admission::{Admission, Hold, Permit, Shortage};
use super::logs::LogBuffer;
use super::state::Failure;
use super::target::Target;
use super::waiters::Slot;
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
    /// Whose run it is.
    pub slot: Arc<Slot>,
    /// Cancelled after `stop`, when there is no time for a process to end by itself.
    pub kill: CancellationToken,
    pub admission: Arc<Admission>,
}

/// What a run tells on its way.
#[derive(Debug)]
pub enum Report {
    /// A step of the preparation, in words for people.
    Step(String),
    Spawned(ProcessFacts),
    /// It waits for memory, or does not any more.
    Held(bool),
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

impl Job {
    /// Waits until there is memory for it. None: it was told to stop meanwhile.
    pub async fn admitted(&self, need: u64) -> Option<Result<Permit, Failure>> {
        let held = |hold: Hold| {
            for report in [Report::Step(hold.words().to_owned()), Report::Held(true)] {
                if self.reports.try_send(report).is_err() {
                    tracing::trace!("What a start waits for is not shown: too many reports at once");
                }
            }
        };
        let admitted = tokio::select! {
            () = self.stop.cancelled() => return None,
            admitted = self.admission.admit(&self.slot, &self.stop, need, held) => admitted,
        };
        if self.reports.send(Report::Held(false)).await.is_err() {
            tracing::debug!(backend.id = %self.spec.id, "A run goes on without its actor");
        }
        Some(admitted.map_err(Failure::short_of))
    }
}

impl Failure {
    /// It can never be given the memory that it needs.
    pub fn short_of(shortage: Shortage) -> Failure {
        let reason = format!("it does not fit into memory: {shortage}");
        Failure { shortage: Some(shortage), ..Failure::because(reason) }
    }

    /// A failure without a log.
    pub fn because(reason: impl Into<String>) -> Failure {
        Failure { reason: reason.into(), log_tail: Vec::new(), timed_out_after: None, shortage: None }
    }
}
