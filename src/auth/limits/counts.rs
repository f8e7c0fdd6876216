//! What is counted of one key: requests let in, tokens reserved for them, and tokens used.
//!
//! The number of tokens that a request will use is rarely known before its end. A request is admitted by an
//! [`Estimate`] that is seldom too low, and reserves a bound that is never too low. So of all requests under way only
//! the one admitted last can use more than the budgets had left, and no more than its own estimate was wrong by.

use std::time::Duration;

use super::bucket::{Bucket, Rate, Standing};
use super::period::{Period, Share};
use super::{Budget, Limited, Limits, Refusal};

/// After how long a refusal for requests under way is worth another try.
const SOON: Duration = Duration::from_secs(1);

/// Tokens that a request may use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Estimate {
    /// Tokens of the prompt, as they will be in all likelihood at most.
    pub prompt: u64,
    /// Tokens that the prompt cannot exceed; equal to `prompt` if they were counted.
    pub prompt_max: u64,
    /// Tokens that the answer cannot exceed.
    pub answer: u64,
}

/// What is counted of one key.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    requests: Bucket,
    tokens: Bucket,
    running: u32,
    day: Period,
    month: Period,
}

/// What one request has taken until it is settled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reserved {
    rate: u64,
    day: Share,
    month: Share,
    /// The newest round's part of both.
    round: u64,
}

impl Estimate {
    /// Of a prompt whose tokens were counted.
    pub fn counted(prompt: u64, answer: u64) -> Estimate {
        Estimate { prompt, prompt_max: prompt, answer }
    }

    /// Tokens that the request uses at most.
    pub fn max(self) -> u64 {
        self.prompt_max.saturating_add(self.answer)
    }

    /// Tokens that have to be left of a budget of that size, so that the request is admitted. An estimated prompt is
    /// admitted to a budget of which nothing is used or reserved, however large it seems.
    fn needed(self, budget: u64) -> u64 {
        let tokens = self.prompt.saturating_add(self.answer);
        let needed = match self.prompt < self.prompt_max {
            true => tokens.min(budget).max(self.answer.saturating_add(1)),
            false => tokens,
        };
        needed.max(1)
    }
}

impl Counts {
    /// Counts of a key that had used so much of the present day and month.
    pub fn resumed(now_ms: i64, day_used: u64, month_used: u64) -> Counts {
        let mut counts = Counts::default();
        counts.turn(now_ms);
        (counts.day.used, counts.month.used) = (day_used, month_used);
        counts
    }

    /// Tokens that the budgets leave to a request that begins now; `None`: there is no budget.
    pub fn left(&mut self, limits: &Limits, now_ms: i64) -> Option<u64> {
        self.turn(now_ms);
        self.budgets(limits).into_iter().filter_map(|(_, most, period)| period.left(most)).min()
    }

    /// Admits a request before anything is known of it. `has_tokens`: it will use tokens, of which there has to be
    /// one at least; how many, [`Counts::reserve`] asks.
    pub fn begin(
        &mut self,
        limits: &Limits,
        has_tokens: bool,
        now_ms: i64,
        at: Duration,
    ) -> Result<Reserved, Refusal> {
        self.turn(now_ms);
        if limits.parallel.is_some_and(|most| self.running >= most) {
            return Err(Refusal { limited: Limited::Parallel, retry_after: SOON, needed: 0, budget: None });
        }
        if has_tokens {
            self.afford(limits, Estimate::default(), now_ms)?;
            self.afford_rate(limits, 1, at)?;
        }
        if let Some(retry_after) =
            limits.requests_per_minute.and_then(|most| self.requests.wait(most.into(), 1, at))
        {
            return Err(Refusal { limited: Limited::Requests, retry_after, needed: 0, budget: None });
        }
        self.requests.take(limits.requests_per_minute.map(u64::from), 1.0, at);
        self.running += 1;
        Ok(Reserved::default())
    }

    /// Reserves the tokens of a request that was admitted, or of its next round: rates count the first one alone.
    pub fn reserve(
        &mut self,
        limits: &Limits,
        reserved: &mut Reserved,
        estimate: Estimate,
        now_ms: i64,
        at: Duration,
    ) -> Result<(), Refusal> {
        self.turn(now_ms);
        self.afford(limits, estimate, now_ms)?;
        if reserved.rate == 0 {
            let tokens = estimate.prompt.saturating_add(estimate.answer).max(1);
            // A single request larger than a minute's worth waits for the whole minute, not for ever.
            let rate = limits.tokens_per_minute.map_or(tokens, |most| tokens.min(most));
            self.afford_rate(limits, rate, at)?;
            self.tokens.take(limits.tokens_per_minute, rate as f64, at);
            reserved.rate = rate;
        }
        reserved.round = estimate.max();
        self.day.reserve(&mut reserved.day, reserved.round);
        self.month.reserve(&mut reserved.month, reserved.round);
        Ok(())
    }

    /// A round of a request that goes on has ended and used so much.
    pub fn end_round(&mut self, reserved: &mut Reserved, used: u64, now_ms: i64) {
        self.turn(now_ms);
        let round = std::mem::take(&mut reserved.round);
        self.day.replace(&mut reserved.day, round, used);
        self.month.replace(&mut reserved.month, round, used);
    }

    /// A request has ended and used so much.
    pub fn settle(&mut self, limits: &Limits, reserved: Reserved, used: u64, now_ms: i64, at: Duration) {
        self.turn(now_ms);
        self.running = self.running.saturating_sub(1);
        self.tokens.take(limits.tokens_per_minute, used as f64 - reserved.rate as f64, at);
        self.day.settle(reserved.day, used);
        self.month.settle(reserved.month, used);
    }

    /// How the key stands.
    pub fn standing(&self, limits: &Limits, at: Duration) -> Standing {
        Standing {
            requests: limits.requests_per_minute.map(|most| self.requests.rate(most.into(), at)),
            tokens: limits.tokens_per_minute.map(|most| self.tokens.rate(most, at)),
        }
    }

    /// Tokens used this day and this month.
    pub fn used(&mut self, now_ms: i64) -> (u64, u64) {
        self.turn(now_ms);
        (self.day.used, self.month.used)
    }

    fn budgets(&self, limits: &Limits) -> [(Limited, Option<u64>, &Period); 2] {
        [
            (Limited::Month, limits.tokens_per_month, &self.month),
            (Limited::Day, limits.tokens_per_day, &self.day),
        ]
    }

    fn afford(&self, limits: &Limits, estimate: Estimate, now_ms: i64) -> Result<(), Refusal> {
        for (limited, most, period) in self.budgets(limits) {
            let needed = estimate.needed(most.unwrap_or(u64::MAX));
            let Some(limit) = most else { continue };
            let left = period.left(most).unwrap_or_default();
            if left < needed {
                // What is only reserved may come back as soon as a request ends.
                let spent = period.used.saturating_add(needed) > limit;
                let reset = Duration::from_millis(period.end.saturating_sub(now_ms).unsigned_abs());
                let budget = Some(Budget {
                    rate: Rate { limit, remaining: left, reset },
                    used: period.used,
                    resets_at_ms: period.end,
                });
                let retry_after = if spent { reset } else { SOON };
                return Err(Refusal { limited, retry_after, needed, budget });
            }
        }
        Ok(())
    }

    fn afford_rate(&self, limits: &Limits, tokens: u64, at: Duration) -> Result<(), Refusal> {
        match limits.tokens_per_minute.and_then(|most| self.tokens.wait(most, tokens, at)) {
            Some(retry_after) => {
                Err(Refusal { limited: Limited::Tokens, retry_after, needed: tokens, budget: None })
            }
            None => Ok(()),
        }
    }

    /// Begins new periods where the old ones have passed.
    fn turn(&mut self, now_ms: i64) {
        self.day.turn(now_ms, false);
        self.month.turn(now_ms, true);
    }
}
