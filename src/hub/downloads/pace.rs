//! How fast a download is, how long it still takes, and when a failed try is repeated. Pure: times are
//! handed in.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How far back speed looks.
const WINDOW: Duration = Duration::from_secs(5);
/// Samples kept of the window.
const SAMPLES: usize = 64;

/// When a failed try is repeated.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    pub first: Duration,
    pub most: Duration,
    /// Tries without a byte of progress, after which it is given up.
    pub tries: u32,
}

impl Default for Backoff {
    /// Over three minutes in all: a router that starts anew is waited for.
    fn default() -> Self {
        Backoff { first: Duration::from_millis(500), most: Duration::from_secs(30), tries: 12 }
    }
}

impl Backoff {
    /// The wait after `failures` tries in a row that brought nothing; `None`: no more.
    pub fn wait(&self, failures: u32, asked_for: Option<Duration>) -> Option<Duration> {
        if failures >= self.tries {
            return None;
        }
        let doubled = self.first.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(self.most);
        Some(doubled.max(asked_for.unwrap_or_default()))
    }
}

/// Bytes a second over the last few seconds.
#[derive(Debug, Default)]
pub struct Speed {
    samples: VecDeque<(Instant, u64)>,
}

impl Speed {
    pub fn note(&mut self, now: Instant, done: u64) {
        while self.samples.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) > WINDOW)
            || self.samples.len() >= SAMPLES
        {
            self.samples.pop_front();
        }
        // What was thrown away (a wrong hash) is no speed.
        if self.samples.back().is_some_and(|(_, before)| *before > done) {
            self.samples.clear();
        }
        self.samples.push_back((now, done));
    }

    pub fn bytes_per_s(&self) -> Option<f64> {
        let ((from, first), (to, last)) = (self.samples.front()?, self.samples.back()?);
        let seconds = to.saturating_duration_since(*from).as_secs_f64();
        (seconds > 0.0).then(|| (last - first) as f64 / seconds)
    }

    pub fn eta_s(&self, remaining: u64) -> Option<f64> {
        let speed = self.bytes_per_s()?;
        (speed > 0.0).then(|| remaining as f64 / speed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_end() {
        let backoff = Backoff { first: Duration::from_secs(1), most: Duration::from_secs(5), tries: 5 };
        let seconds: Vec<_> = (1..=5).map(|n| backoff.wait(n, None).map(|wait| wait.as_secs())).collect();
        assert_eq!(seconds, [Some(1), Some(2), Some(4), Some(5), None]);
        assert_eq!(backoff.wait(1, Some(Duration::from_secs(60))), Some(Duration::from_secs(60)));
    }

    #[test]
    fn speed_is_that_of_the_last_seconds() {
        let start = Instant::now();
        let mut speed = Speed::default();
        speed.note(start, 0);
        assert_eq!(speed.bytes_per_s(), None);
        for second in 1..=10_u64 {
            speed.note(start + Duration::from_secs(second), 1000 + second * 100);
        }
        assert_eq!(speed.bytes_per_s(), Some(100.0));
        assert_eq!(speed.eta_s(1000), Some(10.0));
        speed.note(start + Duration::from_secs(11), 5);
        assert_eq!(speed.bytes_per_s(), None, "what was thrown away is no speed");
    }
}
