//! When the writer commits, checkpoints and tries again: decided from instants alone, so that tests
//! need no clock. Knows no thread, no queue and no row.

use std::time::{Duration, Instant};

/// Rows are gathered for so long, counted from the first, and then share one transaction.
pub(super) const GATHER: Duration = Duration::from_millis(50);
/// How often the counters of running requests are written.
pub(super) const CHECKPOINT_EVERY: Duration = Duration::from_secs(1);
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// What the writer is to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing is pending: sleep until something arrives.
    Park,
    /// Something is pending at a later time. New rows may or may not cut the wait short.
    Wait {
        duration: Duration,
        woken_by_rows: bool,
    },
    Commit,
    Checkpoint,
}

#[derive(Debug, Default)]
pub(super) struct Schedule {
    commit_at: Option<Instant>,
    checkpoint_at: Option<Instant>,
    failures: u32,
}

impl Schedule {
    pub(super) fn step(&self, now: Instant) -> Step {
        if self.commit_at.is_some_and(|at| at <= now) {
            return Step::Commit;
        }
        // After a failure only the retry counts: more rows would meet the same disk.
        if self.failures == 0 && self.checkpoint_at.is_some_and(|at| at <= now) {
            return Step::Checkpoint;
        }
        match (self.commit_at, self.checkpoint_at) {
            (Some(at), _) => Step::Wait { duration: at - now, woken_by_rows: false },
            (None, Some(at)) => Step::Wait { duration: at - now, woken_by_rows: true },
            (None, None) => Step::Park,
        }
    }

    /// Rows have arrived; they wait for company.
    pub(super) fn gather(&mut self, now: Instant) {
        self.commit_at.get_or_insert(now + GATHER);
    }

    /// A commit went through; `running`: some of what was ever written still runs.
    pub(super) fn committed(&mut self, now: Instant, running: bool) {
        self.commit_at = None;
        self.failures = 0;
        self.checkpoint_at = match (running, self.checkpoint_at) {
            (false, _) => None,
            (true, Some(at)) if at > now => Some(at),
            (true, _) => Some(now + CHECKPOINT_EVERY),
        };
    }

    /// The disk refused. True when this is the first refusal in a row.
    pub(super) fn failed(&mut self, now: Instant) -> bool {
        let backoff = RETRY_FIRST.saturating_mul(1 << self.failures.min(10)).min(RETRY_MAX);
        self.commit_at = Some(now + backoff);
        self.failures = self.failures.saturating_add(1);
        self.failures == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn with_nothing_pending_the_writer_parks() {
        assert_eq!(Schedule::default().step(Instant::now()), Step::Park);
    }

    #[test]
    fn rows_wait_for_company_but_not_beyond_the_first_ones_window() {
        let start = Instant::now();
        let mut schedule = Schedule::default();
        schedule.gather(start);
        schedule.gather(start + ms(40));
        assert_eq!(schedule.step(start + ms(40)), Step::Wait { duration: ms(10), woken_by_rows: false });
        assert_eq!(schedule.step(start + GATHER), Step::Commit);
    }

    #[test]
    fn running_requests_are_checkpointed_once_a_second_whatever_else_is_committed() {
        let start = Instant::now();
        let mut schedule = Schedule::default();
        schedule.committed(start, true);
        assert_eq!(schedule.step(start), Step::Wait { duration: CHECKPOINT_EVERY, woken_by_rows: true });
        schedule.gather(start + ms(500));
        schedule.committed(start + ms(550), true);
        assert_eq!(schedule.step(start + CHECKPOINT_EVERY), Step::Checkpoint);
        schedule.committed(start + CHECKPOINT_EVERY, false);
        assert_eq!(schedule.step(start + ms(5000)), Step::Park);
    }

    #[test]
    fn a_refusing_disk_is_tried_again_ever_less_often_and_told_once() {
        let start = Instant::now();
        let mut schedule = Schedule::default();
        let mut now = start;
        let mut waits = Vec::new();
        for nth in 0..12 {
            assert_eq!(schedule.failed(now), nth == 0);
            let Step::Wait { duration, woken_by_rows: false } = schedule.step(now) else {
                panic!("no wait after a refusal")
            };
            waits.push(duration);
            now += duration;
            assert_eq!(schedule.step(now), Step::Commit);
        }
        assert_eq!(waits[..4], [ms(100), ms(200), ms(400), ms(800)]);
        assert_eq!(waits[11], RETRY_MAX);
        schedule.committed(now, false);
        assert!(schedule.failed(now), "after a success the next refusal is told again");
    }
}
