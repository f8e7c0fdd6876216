//! The counts of one key behind their lock, and the permit that one request holds until its end.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::limits::{Counts, Limits, Reserved, Standing};
use crate::system::clock::Clock;

/// Counts what a key uses. Outlives changes to the key.
pub struct KeyMeter {
    clock: Arc<dyn Clock>,
    /// Rates are counted from here.
    epoch: Instant,
    counted: Mutex<Counted>,
}

struct Counted {
    limits: Limits,
    counts: Counts,
}

/// Why a key has to wait, in words for its owner.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{words}")]
pub struct LimitError {
    words: String,
    pub retry_after: Duration,
    pub standing: Standing,
}

/// Leave to serve one request. Dropped unsettled, it gives back what it reserved.
#[derive(Debug, Default)]
pub struct Permit {
    taken: Option<(Arc<KeyMeter>, Reserved)>,
    standing: Standing,
}

impl KeyMeter {
    pub fn new(limits: Limits, counts: Counts, clock: Arc<dyn Clock>) -> KeyMeter {
        KeyMeter { epoch: clock.now(), clock, counted: Mutex::new(Counted { limits, counts }) }
    }

    pub fn set_limits(&self, limits: Limits) {
        self.counted().limits = limits;
    }

    /// Tokens used this day and this month.
    pub fn used(&self) -> (u64, u64) {
        let now_ms = self.clock.unix_ms();
        self.counted().counts.used(now_ms)
    }

    /// Tokens that the key's budgets leave to a request that begins now; `None`: it has none.
    pub fn left(&self) -> Option<u64> {
        let now_ms = self.clock.unix_ms();
        let mut counted = self.counted();
        let Counted { limits, counts } = &mut *counted;
        counts.left(limits, now_ms)
    }

    /// Takes a request of up to `tokens` into account.
    pub fn reserve(self: &Arc<Self>, tokens: u64) -> Result<Permit, LimitError> {
        let (now_ms, at) = self.time();
        let mut counted = self.counted();
        let Counted { limits, counts } = &mut *counted;
        let reserved = counts.reserve(limits, tokens, now_ms, at);
        let standing = counts.standing(limits, at);
        match reserved {
            Ok(reserved) => Ok(Permit { taken: Some((Arc::clone(self), reserved)), standing }),
            Err(refusal) => {
                let words = refusal.words(limits, tokens, counts.left(limits, now_ms));
                Err(LimitError { words, retry_after: refusal.retry_after, standing })
            }
        }
    }

    fn extend(&self, reserved: &mut Reserved, tokens: u64) -> Result<(), LimitError> {
        let (now_ms, at) = self.time();
        let mut counted = self.counted();
        let Counted { limits, counts } = &mut *counted;
        counts.extend(limits, reserved, tokens, now_ms).map_err(|refusal| {
            let words = refusal.words(limits, tokens, counts.left(limits, now_ms));
            LimitError { words, retry_after: refusal.retry_after, standing: counts.standing(limits, at) }
        })
    }

    fn settle(&self, reserved: Reserved, used: u64) {
        let (now_ms, at) = self.time();
        let mut counted = self.counted();
        let Counted { limits, counts } = &mut *counted;
        counts.settle(limits, reserved, used, now_ms, at);
    }

    fn time(&self) -> (i64, Duration) {
        (self.clock.unix_ms(), self.clock.now().saturating_duration_since(self.epoch))
    }

    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for KeyMeter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyMeter")
    }
}

impl Permit {
    /// For callers without limits.
    pub fn unlimited() -> Permit {
        Permit::default()
    }

    /// How the key stood when this was given.
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// Takes more of the key's budgets for a request that goes on.
    pub fn extend(&mut self, tokens: u64) -> Result<(), LimitError> {
        match &mut self.taken {
            Some((meter, reserved)) => meter.extend(reserved, tokens),
            None => Ok(()),
        }
    }

    /// The request has ended and used so many tokens.
    pub fn settle(mut self, used: u64) {
        if let Some((meter, reserved)) = self.taken.take() {
            meter.settle(reserved, used);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some((meter, reserved)) = self.taken.take() {
            meter.settle(reserved, 0);
        }
    }
}
