//! A bucket that refills evenly within a minute, and how it stands.

use std::time::Duration;

/// A minute, over which rates refill.
const MINUTE: Duration = Duration::from_secs(60);

/// Rate-limit status of a key: the values of `x-ratelimit-*`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    pub requests: Option<Rate>,
    pub tokens: Option<Rate>,
}

/// A limit per minute, in requests or tokens, and how much of it is left.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rate {
    pub limit: u64,
    pub remaining: u64,
    /// Until nothing of it is used any more.
    pub reset: Duration,
}

/// Holds what was taken, so that an empty default is a full bucket, and a limit that changes applies at once.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Bucket {
    taken: f64,
    at: Duration,
}

impl Bucket {
    /// How long until `wanted` fits; `None`: it fits now.
    pub fn wait(&self, most: u64, wanted: u64, at: Duration) -> Option<Duration> {
        let over = self.left_of(most, at) + wanted as f64 - most as f64;
        // A hair's breadth of rounding is no reason to refuse.
        (over > 1e-6).then(|| time_for(over, most))
    }

    /// What of `taken` has not come back by then.
    fn left_of(&self, most: u64, at: Duration) -> f64 {
        let back = at.saturating_sub(self.at).as_secs_f64() * most as f64 / MINUTE.as_secs_f64();
        (self.taken - back).max(0.0)
    }

    pub fn take(&mut self, most: Option<u64>, amount: f64, at: Duration) {
        let Some(most) = most else { return };
        self.taken = (self.left_of(most, at) + amount).max(0.0);
        self.at = self.at.max(at);
    }

    pub fn rate(&self, most: u64, at: Duration) -> Rate {
        let taken = self.left_of(most, at);
        let remaining = (most as f64 - taken).max(0.0) as u64;
        Rate { limit: most, remaining, reset: time_for(taken, most) }
    }
}

fn time_for(amount: f64, most: u64) -> Duration {
    Duration::from_secs_f64((amount * MINUTE.as_secs_f64() / most.max(1) as f64).clamp(0.0, 3600.0))
}
