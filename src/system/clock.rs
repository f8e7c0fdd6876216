//! Wall and monotonic time behind one trait, so that decisions about time can be tested without
//! waiting for it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Where time comes from.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since 1970, UTC.
    fn unix_ms(&self) -> i64;
    /// For durations.
    fn now(&self) -> Instant;
}

/// The machine's own clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn unix_ms(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }

    fn now(&self) -> Instant {
        Instant::now()
    }
}

/// A wall clock that goes this much further than time has passed was set, or is wrong.
const JUMP_MS: i64 = 24 * 60 * 60 * 1000;
/// Since something was last known to happen; a machine may well have been off for as long.
const ABSENCE_MS: i64 = 30 * 24 * 60 * 60 * 1000;
/// How long a clock that has jumped has to keep to it until it is believed.
const PROBATION: Duration = Duration::from_secs(24 * 60 * 60);

/// Whether what the wall clock says is reason enough to delete what is old by it: a clock that was wrong for a
/// moment must not empty the store. Pure: it is told both times.
#[derive(Debug, Default)]
pub struct ClockTrust {
    last: Option<(i64, Instant)>,
    jumped: Option<Instant>,
}

impl ClockTrust {
    /// Looks at the clock once more; `newest` is when something last happened, for the first look.
    pub fn look(&mut self, unix_ms: i64, now: Instant, newest: Option<i64>) -> bool {
        let jump = match self.last {
            Some((before, at)) => {
                let passed = now.saturating_duration_since(at).as_millis();
                unix_ms - before - i64::try_from(passed).unwrap_or(i64::MAX)
            }
            None => newest.map_or(0, |newest| unix_ms - newest - ABSENCE_MS + JUMP_MS),
        };
        self.last = Some((unix_ms, now));
        if jump > JUMP_MS {
            self.jumped = Some(now);
        } else if jump < -JUMP_MS {
            // Set right again, or set back: nothing is older by it than it was.
            self.jumped = None;
        }
        if self.jumped.is_some_and(|at| now.saturating_duration_since(at) >= PROBATION) {
            self.jumped = None;
        }
        self.jumped.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: i64 = 3_600_000;
    const NOON: i64 = 1_795_348_800_000;

    #[test]
    fn a_clock_is_believed_while_it_goes_with_time_and_a_day_after_it_has_jumped() {
        let mut trust = ClockTrust::default();
        let start = Instant::now();
        let mut hour = 0;
        let mut next = |ahead_ms: i64| {
            hour += 1;
            let now = start + Duration::from_millis((hour * HOUR_MS).unsigned_abs());
            trust.look(NOON + hour * HOUR_MS + ahead_ms, now, None)
        };
        assert!(next(0) && next(0));
        assert!(next(8 * HOUR_MS), "a night's sleep");
        let years = 5 * 365 * 24 * HOUR_MS;
        assert!(!next(years));
        let believed = (0..30).position(|_| next(years));
        assert_eq!(believed, Some(23), "for a day it is on probation");
        assert!(next(0), "set back, and nothing is older by it");
        assert!(!next(years));
        assert!(next(0), "set right again");
    }

    #[test]
    fn at_the_start_a_clock_is_compared_with_what_happened_last() {
        let now = Instant::now();
        let first = |newest| ClockTrust::default().look(NOON, now, newest);
        assert!(first(None) && first(Some(NOON - 24 * HOUR_MS)) && first(Some(NOON + HOUR_MS)));
        assert!(!first(Some(NOON - 31 * 24 * HOUR_MS)));
    }
}
