//! What waits for the writer thread: rows to be rendered and jobs to be run. Bounded; a sender never
//! waits, and wakes the writer only when it is parked. Knows no SQL.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::error::StoreError;
use super::requests::RowSource;

/// Records held while the disk does not take them; what comes beyond is counted as lost.
pub const RECORDS_MAX: usize = 100_000;
/// Operations (keys, settings, pruning) that may wait.
pub const JOBS_MAX: usize = 1024;

pub(super) enum Job {
    /// Runs on the writer's connection after every row submitted before it.
    Run(Box<dyn FnOnce(&mut Connection) + Send>),
    /// Answers once everything submitted before it is committed, or could not be.
    Flush(oneshot::Sender<Result<(), StoreError>>),
}

#[derive(Default)]
pub(super) struct Inbox {
    state: Mutex<State>,
    arrived: Condvar,
    lost: AtomicU64,
}

#[derive(Default)]
struct State {
    rows: Vec<Arc<dyn RowSource>>,
    jobs: VecDeque<Job>,
    /// Rows that the writer has taken and not committed yet.
    retained: usize,
    /// The writer sleeps and rows are to wake it.
    parked: bool,
    closing: bool,
}

/// What the writer finds when it looks.
pub(super) struct Taken {
    pub(super) jobs: VecDeque<Job>,
    pub(super) closing: bool,
}

impl Inbox {
    /// False: full or closed, and the row was not taken.
    pub(super) fn submit(&self, row: Arc<dyn RowSource>) -> bool {
        let mut state = self.lock();
        if state.closing || state.rows.len() + state.retained >= RECORDS_MAX {
            return false;
        }
        state.rows.push(row);
        if std::mem::take(&mut state.parked) {
            drop(state);
            self.arrived.notify_one();
        }
        true
    }

    pub(super) fn push_job(&self, job: Job) -> Result<(), StoreError> {
        let mut state = self.lock();
        if state.closing {
            return Err(StoreError::Closed);
        }
        if state.jobs.len() >= JOBS_MAX {
            return Err(StoreError::Busy);
        }
        state.jobs.push_back(job);
        drop(state);
        self.arrived.notify_one();
        Ok(())
    }

    pub(super) fn close(&self) {
        self.lock().closing = true;
        self.arrived.notify_one();
    }

    /// Sleeps until a job arrives, the store closes, `limit` has passed, or (where `woken_by_rows`) a
    /// row arrives. Moves the rows that are there into `rows`.
    pub(super) fn wait(
        &self,
        limit: Option<Duration>,
        woken_by_rows: bool,
        rows: &mut Vec<Arc<dyn RowSource>>,
    ) -> Taken {
        let mut state = self.lock();
        state.parked = woken_by_rows && state.rows.is_empty();
        let idle = |state: &mut State| {
            state.jobs.is_empty() && !state.closing && (!woken_by_rows || state.rows.is_empty())
        };
        state = match limit {
            None => self.arrived.wait_while(state, idle).unwrap_or_else(PoisonError::into_inner),
            Some(limit) => {
                let waited = self.arrived.wait_timeout_while(state, limit, idle);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        };
        state.parked = false;
        rows.append(&mut state.rows);
        state.retained = rows.len();
        Taken { jobs: std::mem::take(&mut state.jobs), closing: state.closing }
    }

    /// The rows taken so far are committed.
    pub(super) fn release(&self) {
        self.lock().retained = 0;
    }

    /// A record was lost for good.
    pub(super) fn count_lost(&self, records: u64) {
        self.lost.fetch_add(records, Ordering::Relaxed);
    }

    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
