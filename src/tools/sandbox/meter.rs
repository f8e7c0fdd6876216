//! Processor time of one call, however many threads it runs on, and the turn at which a call that
//! takes long leaves the thread it began on.
//!
//! Time is taken from tick to tick. A guest that runs is interrupted at each tick, so whatever lies
//! between two interruptions beyond that was some other process's turn, and does not count.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::ticker::TICK;

/// What one stretch may count for.
const STRETCH_MAX: Duration = TICK.saturating_mul(2);

/// Shared by the call's future and the guest's interruptions.
#[derive(Debug)]
pub struct Meter {
    epoch: Instant,
    /// Nanoseconds of all stretches that have ended.
    used: AtomicU64,
    /// When the present stretch began, in nanoseconds since `epoch`.
    began: AtomicU64,
    interrupted: AtomicBool,
}

impl Default for Meter {
    fn default() -> Self {
        Meter {
            epoch: Instant::now(),
            used: AtomicU64::new(0),
            began: AtomicU64::new(0),
            interrupted: AtomicBool::new(false),
        }
    }
}

impl Meter {
    /// Ends a stretch at a tick, begins the next, and tells what was used so far.
    pub fn interrupt(&self) -> Duration {
        self.interrupted.store(true, Ordering::Relaxed);
        self.end();
        self.begin();
        Duration::from_nanos(self.used.load(Ordering::Relaxed))
    }

    /// Whether the guest has run for a whole tick.
    pub fn is_long(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    fn begin(&self) {
        self.began.store(nanos(self.epoch.elapsed()), Ordering::Relaxed);
    }

    fn end(&self) {
        let stretch = nanos(self.epoch.elapsed()).saturating_sub(self.began.load(Ordering::Relaxed));
        self.used.fetch_add(stretch.min(nanos(STRETCH_MAX)), Ordering::Relaxed);
    }
}

/// A future whose polls are metered.
pub struct Metered<F> {
    pub inner: Pin<Box<F>>,
    pub meter: Arc<Meter>,
}

impl<F: Future> Future for Metered<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.meter.begin();
        let polled = self.inner.as_mut().poll(cx);
        self.meter.end();
        polled
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_add_up_and_the_time_of_others_does_not_count() {
        let meter = Meter::default();
        meter.begin();
        assert!(!meter.is_long());
        let first = meter.interrupt();
        assert!(meter.is_long());
        // As if this thread had not had its turn for a minute.
        meter.began.store(0, Ordering::Relaxed);
        let away = Meter { epoch: Instant::now().checked_sub(Duration::from_secs(60)).unwrap(), ..meter };
        assert!(away.interrupt() <= first + STRETCH_MAX);
    }
}
