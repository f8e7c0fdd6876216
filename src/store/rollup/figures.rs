//! The figures of a number of requests, added up. Linear: what was added can be taken away again, and
//! sums of sums are the sums of all. Pure.

use super::histogram::Histogram;
use super::varint;
use crate::store::requests::{Status, UsageRow};

/// No request counts for more tokens: a backend's nonsense must not overflow the sums.
const TOKENS_MAX: u64 = 1 << 40;
/// A year, in microseconds.
const DURATION_MAX: f64 = 3.2e13;

/// Sums over requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures {
    /// By [`Status`], in its order.
    pub by_status: [i64; 6],
    pub prompt: Known,
    pub completion: Known,
    pub cached: Known,
    pub reasoning: Known,
    /// Requests whose tokens are known one way or the other.
    pub counted: i64,
    /// Those of them whose tokens are estimated.
    pub estimated: i64,
    pub duration_us: i64,
    /// Requests in `duration_us`.
    pub timed: i64,
    pub ttft_ms: Histogram,
    pub decode_tps: Histogram,
}

/// A sum of tokens, and of how many requests it is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Known {
    pub tokens: i64,
    pub requests: i64,
}

impl Figures {
    /// How many requests, whatever became of them.
    pub fn requests(&self) -> i64 {
        self.by_status.iter().sum()
    }

    /// Counts a request so many times: 1, or -1 to take it out again.
    pub fn add(&mut self, row: &UsageRow<'_>, times: i32) {
        let tokens = row.tokens;
        let once = i64::from(times);
        let status = Status::from_name(row.status).unwrap_or(Status::Failed);
        self.by_status[status as usize] += once;
        self.prompt.add(tokens.prompt, once);
        self.completion.add(tokens.completion, once);
        self.cached.add(tokens.cached, once);
        self.reasoning.add(tokens.reasoning, once);
        if tokens.prompt.or(tokens.completion).is_some() {
            self.counted += once;
            self.estimated += i64::from(tokens.estimated) * once;
        }
        if let Some(ttft_ms) = row.ttft_ms {
            self.ttft_ms.add(ttft_ms, times);
        }
        if let Some(decode_tps) = row.decode_tps {
            self.decode_tps.add(decode_tps, times);
        }
        // A refusal takes no time, and would only hide how long the others took.
        if let Some(duration_ms) = row.duration_ms.filter(|_| status != Status::Refused) {
            self.duration_us += (duration_ms * 1000.0).round().clamp(0.0, DURATION_MAX) as i64 * once;
            self.timed += once;
        }
    }

    /// Adds what `other` holds.
    pub fn merge(&mut self, other: &Figures) {
        for (sum, more) in self.sums_mut().into_iter().zip(other.clone().sums_mut()) {
            *sum = sum.saturating_add(*more);
        }
        self.ttft_ms.merge(&other.ttft_ms);
        self.decode_tps.merge(&other.decode_tps);
    }

    pub(super) fn encode(&mut self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(64);
        for sum in self.sums_mut() {
            varint::put(&mut bytes, *sum);
        }
        self.ttft_ms.encode(&mut bytes);
        self.decode_tps.encode(&mut bytes);
        bytes
    }

    /// Adds what was encoded; `None`: that is not what it is.
    pub(super) fn merge_encoded(&mut self, mut bytes: &[u8]) -> Option<()> {
        for sum in self.sums_mut() {
            *sum = sum.saturating_add(varint::take(&mut bytes)?);
        }
        self.ttft_ms.merge_encoded(&mut bytes)?;
        self.decode_tps.merge_encoded(&mut bytes)
    }

    /// Everything that is a plain sum, in the order in which it is written.
    fn sums_mut(&mut self) -> [&mut i64; 18] {
        let [running, completed, failed, refused, cancelled, interrupted] = &mut self.by_status;
        [
            running,
            completed,
            failed,
            refused,
            cancelled,
            interrupted,
            &mut self.prompt.tokens,
            &mut self.prompt.requests,
            &mut self.completion.tokens,
            &mut self.completion.requests,
            &mut self.cached.tokens,
            &mut self.cached.requests,
            &mut self.reasoning.tokens,
            &mut self.reasoning.requests,
            &mut self.counted,
            &mut self.estimated,
            &mut self.duration_us,
            &mut self.timed,
        ]
    }
}

impl Known {
    /// The sum, where anything is known.
    pub fn sum(self) -> Option<u64> {
        (self.requests > 0).then(|| self.tokens.max(0).unsigned_abs())
    }

    fn add(&mut self, tokens: Option<u64>, once: i64) {
        if let Some(tokens) = tokens {
            self.tokens = self.tokens.saturating_add(tokens.min(TOKENS_MAX).cast_signed() * once);
            self.requests += once;
        }
    }
}
