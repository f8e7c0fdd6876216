//! Rates and budgets of one key, decided from instants alone: what a request reserves, what it gives
//! back, and when there is room again. Pure; knows no clock, no lock and no HTTP.

mod bucket;
mod counts;
mod period;

#[cfg(test)]
mod tests;

use std::time::Duration;

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
    /// Returns the message for the key's owner; `left`: tokens that the key's budgets have.
    pub fn message(self, limits: &Limits, left: Option<u64>) -> String {
        let seconds = self.retry_after.as_secs_f64().ceil() as u64;
        let number = |limit: Option<u64>| limit.unwrap_or_default();
        let budget = |most: Option<u64>, span: &str| {
            format!(
                "{} of this key's {} tokens a {span} (UTC) are left, the others used or reserved by requests under way, \
                 and this request may use {}; lower max_tokens, or try again in {seconds} s",
                number(left),
                number(most),
                self.needed
            )
        };
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
            Limited::Day => budget(limits.tokens_per_day, "day"),
            Limited::Month => budget(limits.tokens_per_month, "month"),
        }
    }
}
