//! Rates and budgets of one key, decided from instants alone: what a request reserves, what it gives
//! back, and when there is room again. Pure; knows no clock, no lock and no HTTP.

mod bucket;
mod counts;
mod period;

#[cfg(test)]
mod tests;

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use bucket::{Rate, Standing};
pub use counts::{Counts, Estimate, Reserved};
pub use period::{day_start, month_start};

/// What a key may use; `None`: as much as it likes. Kept, told and read under these names: a new limit is one more
/// member here, with what it refuses in [`Counts`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct Limits {
    pub requests_per_minute: Option<u32>,
    pub tokens_per_minute: Option<u64>,
    /// Requests under way at one time.
    pub parallel: Option<u32>,
    /// Tokens from midnight to midnight, UTC.
    pub tokens_per_day: Option<u64>,
    /// Tokens of a calendar month, UTC.
    pub tokens_per_month: Option<u64>,
}

/// The limit that a request exceeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limited {
    Requests,
    Tokens,
    Parallel,
    Day,
    Month,
}

/// A refusal: nothing was reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    pub limited: Limited,
    pub retry_after: Duration,
    /// Tokens that would have had to be left.
    pub needed: u64,
    /// The budget, if it is one that does not suffice.
    pub budget: Option<Budget>,
}

/// A budget that leaves too little to a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Budget {
    pub rate: Rate,
    /// Tokens that requests used which have ended.
    pub used: u64,
    /// Milliseconds since 1970, UTC.
    pub resets_at_ms: i64,
}

impl Limits {
    /// As they are kept with a key. What cannot be read allows nothing.
    pub fn read(kept: &str) -> Limits {
        if kept.is_empty() {
            return Limits::default();
        }
        serde_json::from_str(kept).unwrap_or(Limits { parallel: Some(0), ..Limits::default() })
    }

    /// Returns the JSON of the store, which [`Limits::read`] reads.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Whether tokens are limited in any way.
    pub fn has_tokens(&self) -> bool {
        self.tokens_per_minute.or(self.tokens_per_day).or(self.tokens_per_month).is_some()
    }
}

impl Refusal {
    /// Returns the message for the key's owner.
    pub fn message(self, limits: &Limits) -> String {
        let seconds = self.retry_after.as_secs_f64().ceil() as u64;
        let number = |limit: Option<u64>| limit.unwrap_or_default();
        let budget = |span: &str| self.budget.unwrap_or_default().message(span, self.needed, seconds);
        match self.limited {
            Limited::Requests => format!(
                "this key may send {} requests a minute; try again in {seconds} s",
                limits.requests_per_minute.unwrap_or_default()
            ),
            Limited::Tokens => format!(
                "this key may use {} tokens a minute, and this request would pass that; try again in {seconds} s",
                number(limits.tokens_per_minute)
            ),
            Limited::Parallel => format!(
                "this key may have {} requests under way at one time; try again when one has ended",
                limits.parallel.unwrap_or_default()
            ),
            Limited::Day => budget("day"),
            Limited::Month => budget("month"),
        }
    }
}

impl Refusal {
    /// Rate-limit status for the refusal: a budget takes the place of the rate of tokens.
    pub fn standing(self, standing: Standing) -> Standing {
        Standing { tokens: self.budget.map(|budget| budget.rate).or(standing.tokens), ..standing }
    }
}

impl Budget {
    /// `span`: day or month.
    fn message(self, span: &str, needed: u64, seconds: u64) -> String {
        let Rate { limit, remaining, .. } = self.rate;
        let at = Timestamp::from_millisecond(self.resets_at_ms)
            .map_or_else(|_| "never".into(), |at| at.to_string());
        let name = format!("this key's budget of {limit} tokens a {span}");
        if self.used >= limit {
            return format!("{name} is spent: {} were used; it resets at {at}, in {seconds} s", self.used);
        }
        if remaining == 0 {
            return format!(
                "{name} is used or reserved by requests under way; try again in {seconds} s, or when it resets at {at}"
            );
        }
        format!(
            "{name} has {remaining} left, the others used or reserved by requests under way, and this request may use \
             {needed}; lower max_tokens, or try again in {seconds} s; the budget resets at {at}"
        )
    }
}
