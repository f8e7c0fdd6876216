//! A clock that moves when told, for the tests of this module.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::system::clock::Clock;

/// 2025-06-15T15:06:40Z.
pub(crate) const START_UNIX_MS: i64 = 1_750_000_000_000;

pub(crate) struct TestClock {
    start: Instant,
    passed_ms: AtomicU64,
    /// How far the wall clock was set ahead.
    ahead_ms: AtomicI64,
}

impl Default for TestClock {
    fn default() -> TestClock {
        TestClock { start: Instant::now(), passed_ms: AtomicU64::new(0), ahead_ms: AtomicI64::new(0) }
    }
}

impl TestClock {
    pub(crate) fn advance(&self, by: Duration) {
        self.passed_ms.fetch_add(by.as_millis() as u64, Ordering::Relaxed);
    }

    /// Somebody sets the wall clock; no time passes.
    pub(crate) fn set_ahead_ms(&self, ms: i64) {
        self.ahead_ms.store(ms, Ordering::Relaxed);
    }
}

impl Clock for TestClock {
    fn unix_ms(&self) -> i64 {
        START_UNIX_MS + self.ahead_ms.load(Ordering::Relaxed) + self.passed_ms.load(Ordering::Relaxed) as i64
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_millis(self.passed_ms.load(Ordering::Relaxed))
    }
}
