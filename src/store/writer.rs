//! The one thread that writes. It gathers rows into shared transactions, checkpoints the counters of
//! what still runs, and keeps its rows in memory while the disk does not take them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::error::StoreError;
use super::inbox::{Inbox, Job};
use super::requests::{self, RowSource};
use super::schedule::{Schedule, Step};

/// How often losses are logged while they go on.
const LOSS_LOG_EVERY: Duration = Duration::from_secs(1);

pub(super) struct Writer {
    conn: Connection,
    inbox: Arc<Inbox>,
    schedule: Schedule,
    /// Taken and not yet committed.
    pending: Vec<Arc<dyn RowSource>>,
    /// Committed as running: their counters are checkpointed.
    running: Vec<Arc<dyn RowSource>>,
    /// Why the last commit did not go through.
    refused: Option<StoreError>,
    lost_logged: u64,
    loss_log_at: Instant,
}

impl Writer {
    pub(super) fn new(conn: Connection, inbox: Arc<Inbox>) -> Writer {
        Writer {
            conn,
            inbox,
            schedule: Schedule::default(),
            pending: Vec::new(),
            running: Vec::new(),
            refused: None,
            lost_logged: 0,
            loss_log_at: Instant::now(),
        }
    }

    /// The thread's whole life.
    pub(super) fn run(mut self) {
        // However the thread ends, nobody may queue for it any more.
        let _closed = CloseOnDrop(Arc::clone(&self.inbox));
        loop {
            let step = self.schedule.step(Instant::now());
            let (limit, woken_by_rows) = match step {
                Step::Park => (None, true),
                Step::Wait { duration, woken_by_rows } => (Some(duration), woken_by_rows),
                Step::Commit | Step::Checkpoint => (Some(Duration::ZERO), false),
            };
            let taken = self.inbox.wait(limit, woken_by_rows, &mut self.pending);
            if !self.pending.is_empty() {
                self.schedule.gather(Instant::now());
            }
            match step {
                Step::Commit if taken.jobs.is_empty() => self.commit(),
                Step::Checkpoint => self.checkpoint(),
                _ => {}
            }
            self.run_jobs(taken.jobs);
            self.log_losses();
            if taken.closing {
                return self.end();
            }
        }
    }

    /// Writes what is pending in one transaction; on a refusal it stays pending.
    fn commit(&mut self) {
        match requests::upsert(&mut self.conn, &self.pending) {
            Ok(written) => {
                self.inbox.count_lost(written.unusable);
                self.running.extend(self.pending.drain(..).filter(|row| !row.ended()));
                self.inbox.release();
                self.schedule.committed(Instant::now(), !self.running.is_empty());
                if self.refused.take().is_some() {
                    tracing::info!(store.records = written.rows, "The store can write again.");
                }
            }
            Err(error) => {
                if self.schedule.failed(Instant::now()) {
                    tracing::error!(
                        store.pending = self.pending.len(),
                        error = %error,
                        "The store could not write; the records wait in memory."
                    );
                }
                self.refused = Some(error);
            }
        }
    }

    /// Writes again what has changed since it was written, and forgets what has ended.
    fn checkpoint(&mut self) {
        // Taken out first: `commit` puts back those that still run.
        let (changed, same): (Vec<_>, Vec<_>) = self.running.drain(..).partition(|row| row.changed());
        self.running = same;
        self.running.retain(|row| !row.ended());
        self.pending.extend(changed);
        self.commit();
    }

    fn run_jobs(&mut self, jobs: impl IntoIterator<Item = Job>) {
        for job in jobs {
            match job {
                Job::Run(job) => {
                    if self.refused.is_none() {
                        self.commit();
                    }
                    job(&mut self.conn);
                }
                Job::Flush(answer) => {
                    self.pending.append(&mut self.running);
                    self.commit();
                    // Nobody may be waiting any more; the flush has happened all the same.
                    drop(answer.send(self.refused.clone().map_or(Ok(()), Err)));
                }
            }
        }
    }

    fn log_losses(&mut self) {
        let lost = self.inbox.lost();
        let now = Instant::now();
        if lost > self.lost_logged && now >= self.loss_log_at {
            tracing::error!(
                store.lost = lost - self.lost_logged,
                store.lost_total = lost,
                "Usage records were lost because the store could not take them."
            );
            self.lost_logged = lost;
            self.loss_log_at = now + LOSS_LOG_EVERY;
        }
    }

    fn end(mut self) {
        self.pending.append(&mut self.running);
        self.commit();
        let ended = self.pending.iter().filter(|row| row.ended()).count() as u64;
        self.inbox.count_lost(ended);
        self.loss_log_at = Instant::now();
        self.log_losses();
    }
}

struct CloseOnDrop(Arc<Inbox>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close();
    }
}
