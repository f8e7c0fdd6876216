//! The counts of one key behind their lock, and the permit that one request holds until its end.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::limits::{Counts, Estimate, Limits, Refusal, Reserved, Standing};
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
#[error("{message}")]
pub struct LimitError {
    message: String,
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

    /// Whether it has a limit that counts tokens.
    pub fn has_tokens(&self) -> bool {
        self.counted().limits.has_tokens()
    }

    /// Admits a request before anything is known of it; `has_tokens`: it will use some.
    pub fn begin(self: &Arc<Self>, has_tokens: bool) -> Result<Permit, LimitError> {
        let (reserved, standing) =
            self.ask(|limits, counts, now_ms, at| counts.begin(limits, has_tokens, now_ms, at))?;
        Ok(Permit { taken: Some((Arc::clone(self), reserved)), standing })
    }

    /// Asks the counts, and returns how the key stands after that.
    fn ask<T>(
        &self,
        question: impl FnOnce(&Limits, &mut Counts, i64, Duration) -> Result<T, Refusal>,
    ) -> Result<(T, Standing), LimitError> {
        let (now_ms, at) = self.time();
        let mut counted = self.counted();
        let Counted { limits, counts } = &mut *counted;
        let answer = question(limits, counts, now_ms, at);
        let standing = counts.standing(limits, at);
        match answer {
            Ok(answer) => Ok((answer, standing)),
            Err(refusal) => {
                let message = refusal.message(limits);
                Err(LimitError {
                    message,
                    retry_after: refusal.retry_after,
                    standing: refusal.standing(standing),
                })
            }
        }
    }

    fn end_round(&self, reserved: &mut Reserved, used: u64) {
        let (now_ms, _) = self.time();
        self.counted().counts.end_round(reserved, used, now_ms);
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

    /// How the key stood when it was asked last.
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// Whether the request's tokens are limited in any way.
    pub fn has_tokens(&self) -> bool {
        self.taken.as_ref().is_some_and(|(meter, _)| meter.has_tokens())
    }

    /// Reserves the tokens of the request, or of its next round.
    pub fn reserve(&mut self, estimate: Estimate) -> Result<(), LimitError> {
        let Some((meter, reserved)) = &mut self.taken else { return Ok(()) };
        let ((), standing) =
            meter.ask(|limits, counts, now_ms, at| counts.reserve(limits, reserved, estimate, now_ms, at))?;
        self.standing = standing;
        Ok(())
    }

    /// A round of the request has ended and used so many tokens.
    pub fn end_round(&mut self, used: u64) {
        if let Some((meter, reserved)) = &mut self.taken {
            meter.end_round(reserved, used);
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
