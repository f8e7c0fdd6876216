//! Rates and budgets of one key, decided from instants alone: what a request reserves, what it gives
//! back, and when there is room again. Pure; knows no clock, no lock and no HTTP.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

/// A minute, over which rates refill.
const MINUTE: Duration = Duration::from_secs(60);
/// After how long a refusal for requests under way is worth another try.
const SOON: Duration = Duration::from_secs(1);

/// What a key may use; `None`: as much as it likes. Kept, told and read under these names: a new limit is one more
/// member here, with what it refuses below.
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

/// Which limit stands in the way.
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
    day: u64,
    month: u64,
    /// The periods it was reserved in; one that has passed is not settled.
    day_start: i64,
    month_start: i64,
}

/// How a key stands, as `x-ratelimit-*` tells it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    pub requests: Option<Rate>,
    pub tokens: Option<Rate>,
}

/// A limit per minute, in requests or tokens, and how much of it is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    pub limit: u64,
    pub remaining: u64,
    /// Until nothing of it is used any more.
    pub reset: Duration,
}

/// A bucket that refills evenly within a minute. Holds what was taken, so that an empty default is a
/// full bucket, and a limit that changes applies at once.
#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    taken: f64,
    at: Duration,
}

#[derive(Debug, Clone, Copy, Default)]
struct Period {
    start: i64,
    end: i64,
    used: u64,
    reserved: u64,
}

impl Limits {
    /// As they are kept with a key. What cannot be read allows nothing.
    pub fn read(kept: &str) -> Limits {
        if kept.is_empty() {
            return Limits::default();
        }
        serde_json::from_str(kept).unwrap_or(Limits { parallel: Some(0), ..Limits::default() })
    }

    /// As JSON, for the store; [`Limits::read`] reads it.
    pub fn kept(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl Refusal {
    /// For the key's owner; `left` of its budgets is what `wanted` would have to fit into.
    pub fn words(self, limits: &Limits, wanted: u64, left: Option<u64>) -> String {
        let seconds = self.retry_after.as_secs_f64().ceil() as u64;
        let number = |limit: Option<u64>| limit.unwrap_or_default();
        let budget = |most: Option<u64>, span: &str| {
            format!(
                "{} of this key's {} tokens a {span} (UTC) are left, the others used or reserved by requests under way, \
                 and this request may use {wanted}; lower max_tokens, or try again in {seconds} s",
                number(left),
                number(most)
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

    /// Takes a request that may use up to `tokens`. All of them have to be there: what is reserved of a
    /// budget is never more than what is left of it.
    pub fn reserve(
        &mut self,
        limits: &Limits,
        tokens: u64,
        now_ms: i64,
        at: Duration,
    ) -> Result<Reserved, Refusal> {
        self.turn(now_ms);
        let refuse = |limited, retry_after| Err(Refusal { limited, retry_after });
        if limits.parallel.is_some_and(|most| self.running >= most) {
            return refuse(Limited::Parallel, SOON);
        }
        self.afford(limits, tokens, now_ms)?;
        if let Some(wait) = limits.requests_per_minute.and_then(|most| self.requests.wait(most.into(), 1, at))
        {
            return refuse(Limited::Requests, wait);
        }
        // A single request larger than a minute's worth waits for the whole minute, not for ever.
        let rate = limits.tokens_per_minute.map_or(tokens, |most| tokens.min(most));
        if let Some(wait) = limits.tokens_per_minute.and_then(|most| self.tokens.wait(most, rate, at)) {
            return refuse(Limited::Tokens, wait);
        }
        self.requests.take(limits.requests_per_minute.map(u64::from), 1.0, at);
        self.tokens.take(limits.tokens_per_minute, rate as f64, at);
        self.running += 1;
        let mut reserved = Reserved { rate, ..Reserved::default() };
        self.set_aside(&mut reserved, tokens);
        Ok(reserved)
    }

    /// Takes more of the budgets for a request that goes on, such as another round of a chat with tools.
    pub fn extend(
        &mut self,
        limits: &Limits,
        reserved: &mut Reserved,
        tokens: u64,
        now_ms: i64,
    ) -> Result<(), Refusal> {
        self.turn(now_ms);
        self.afford(limits, tokens, now_ms)?;
        self.set_aside(reserved, tokens);
        Ok(())
    }

    /// A request has ended and used so much.
    pub fn settle(&mut self, limits: &Limits, reserved: Reserved, used: u64, now_ms: i64, at: Duration) {
        self.turn(now_ms);
        self.running = self.running.saturating_sub(1);
        self.tokens.take(limits.tokens_per_minute, used as f64 - reserved.rate as f64, at);
        self.day.settle(reserved.day_start, reserved.day, used);
        self.month.settle(reserved.month_start, reserved.month, used);
    }

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

    fn afford(&self, limits: &Limits, tokens: u64, now_ms: i64) -> Result<(), Refusal> {
        let wanted = tokens.max(1);
        for (limited, most, period) in self.budgets(limits) {
            if period.left(most).is_some_and(|left| left < wanted) {
                // What is only reserved may come back as soon as a request ends.
                let spent = most.is_some_and(|most| period.used.saturating_add(wanted) > most);
                let until = Duration::from_millis(period.end.saturating_sub(now_ms).unsigned_abs());
                return Err(Refusal { limited, retry_after: if spent { until } else { SOON } });
            }
        }
        Ok(())
    }

    fn set_aside(&mut self, reserved: &mut Reserved, tokens: u64) {
        self.day.set_aside(&mut reserved.day_start, &mut reserved.day, tokens);
        self.month.set_aside(&mut reserved.month_start, &mut reserved.month, tokens);
    }

    /// Begins new periods where the old ones have passed.
    fn turn(&mut self, now_ms: i64) {
        self.day.turn(now_ms, false);
        self.month.turn(now_ms, true);
    }
}

impl Bucket {
    /// How long until `wanted` fits; `None`: it fits now.
    fn wait(&self, most: u64, wanted: u64, at: Duration) -> Option<Duration> {
        let over = self.left_of(most, at) + wanted as f64 - most as f64;
        // A hair's breadth of rounding is no reason to refuse.
        (over > 1e-6).then(|| time_for(over, most))
    }

    /// What of `taken` has not come back by then.
    fn left_of(&self, most: u64, at: Duration) -> f64 {
        let back = at.saturating_sub(self.at).as_secs_f64() * most as f64 / MINUTE.as_secs_f64();
        (self.taken - back).max(0.0)
    }

    fn take(&mut self, most: Option<u64>, amount: f64, at: Duration) {
        let Some(most) = most else { return };
        self.taken = (self.left_of(most, at) + amount).max(0.0);
        self.at = self.at.max(at);
    }

    fn rate(&self, most: u64, at: Duration) -> Rate {
        let taken = self.left_of(most, at);
        let remaining = (most as f64 - taken).max(0.0) as u64;
        Rate { limit: most, remaining, reset: time_for(taken, most) }
    }
}

impl Period {
    fn around(now_ms: i64, month: bool) -> Period {
        let (start, end) = bounds(now_ms, month).unwrap_or((now_ms, i64::MAX));
        Period { start, end, used: 0, reserved: 0 }
    }

    fn turn(&mut self, now_ms: i64, month: bool) {
        if (self.start..self.end).contains(&now_ms) {
            return;
        }
        let before = *self;
        *self = Period::around(now_ms, month);
        // A clock that is set back gives nobody a budget anew.
        if now_ms < before.start {
            self.used = before.used;
        }
    }

    fn left(&self, most: Option<u64>) -> Option<u64> {
        most.map(|most| most.saturating_sub(self.used.saturating_add(self.reserved)))
    }

    fn set_aside(&mut self, start: &mut i64, reserved: &mut u64, tokens: u64) {
        self.reserved = self.reserved.saturating_add(tokens);
        // What was set aside in a period that has passed went with it.
        *reserved = if *start == self.start { reserved.saturating_add(tokens) } else { tokens };
        *start = self.start;
    }

    fn settle(&mut self, start: i64, reserved: u64, used: u64) {
        if start == self.start {
            self.reserved = self.reserved.saturating_sub(reserved);
        }
        self.used = self.used.saturating_add(used);
    }
}

/// The present month's beginning: milliseconds since 1970, UTC.
pub fn month_start(now_ms: i64) -> i64 {
    bounds(now_ms, true).map_or(now_ms, |(start, _)| start)
}

/// The present day's beginning.
pub fn day_start(now_ms: i64) -> i64 {
    bounds(now_ms, false).map_or(now_ms, |(start, _)| start)
}

fn bounds(now_ms: i64, month: bool) -> Option<(i64, i64)> {
    let date = Timestamp::from_millisecond(now_ms).ok()?.to_zoned(TimeZone::UTC).date();
    let (first, next) = if month {
        (date.first_of_month(), date.last_of_month().tomorrow().ok()?)
    } else {
        (date, date.tomorrow().ok()?)
    };
    let ms = |date: jiff::civil::Date| Some(date.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond());
    Some((ms(first)?, ms(next)?))
}

fn time_for(amount: f64, most: u64) -> Duration {
    Duration::from_secs_f64((amount * MINUTE.as_secs_f64() / most.max(1) as f64).clamp(0.0, 3600.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-22 12:00:00 UTC.
    const NOON: i64 = 1_795_348_800_000;
    const DAY_MS: i64 = 24 * 3600 * 1000;

    fn at(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn limits_are_kept_as_they_are_and_what_cannot_be_read_allows_nothing() {
        let limits = Limits { parallel: Some(2), tokens_per_day: Some(u64::MAX), ..Limits::default() };
        assert_eq!(Limits::read(&limits.kept()), limits);
        assert_eq!((Limits::read(""), Limits::read("{}")), (Limits::default(), Limits::default()));
        assert!(
            Counts::default().reserve(&Limits::read("{\"parallel\": \"two\"}"), 1, NOON, at(0.0)).is_err()
        );
    }

    #[test]
    fn so_many_requests_pass_at_once_and_then_one_after_another() {
        let limits = Limits { requests_per_minute: Some(3), ..Limits::default() };
        let mut counts = Counts::default();
        for _ in 0..3 {
            assert!(counts.reserve(&limits, 10, NOON, at(1.0)).is_ok());
        }
        let refused = counts.reserve(&limits, 10, NOON, at(1.0)).unwrap_err();
        assert_eq!(refused, Refusal { limited: Limited::Requests, retry_after: at(20.0) });
        assert_eq!(
            counts.standing(&limits, at(1.0)).requests,
            Some(Rate { limit: 3, remaining: 0, reset: at(60.0) })
        );
        assert!(counts.reserve(&limits, 10, NOON, at(21.1)).is_ok());
        assert!(counts.reserve(&limits, 10, NOON, at(21.1)).is_err());
    }

    #[test]
    fn tokens_are_reserved_at_first_and_put_right_at_the_end() {
        let limits = Limits { tokens_per_minute: Some(600), ..Limits::default() };
        let mut counts = Counts::default();
        let first = counts.reserve(&limits, 500, NOON, at(0.0)).unwrap();
        let refused = counts.reserve(&limits, 200, NOON, at(0.0)).unwrap_err();
        assert_eq!(refused, Refusal { limited: Limited::Tokens, retry_after: at(10.0) });
        counts.settle(&limits, first, 100, NOON, at(0.0));
        assert!(counts.reserve(&limits, 200, NOON, at(0.0)).is_ok());
        let large = counts.reserve(&limits, 100_000, NOON, at(600.0));
        assert!(large.is_ok(), "larger than a minute's worth: it waits, but not for ever");
    }

    #[test]
    fn so_many_run_at_one_time() {
        let limits = Limits { parallel: Some(2), ..Limits::default() };
        let mut counts = Counts::default();
        let first = counts.reserve(&limits, 1, NOON, at(0.0)).unwrap();
        counts.reserve(&limits, 1, NOON, at(0.0)).unwrap();
        assert_eq!(counts.reserve(&limits, 1, NOON, at(0.0)).unwrap_err().limited, Limited::Parallel);
        counts.settle(&limits, first, 0, NOON, at(0.0));
        assert!(counts.reserve(&limits, 1, NOON, at(0.0)).is_ok());
    }

    #[test]
    fn a_burst_cannot_pass_a_budget() {
        let limits = Limits { tokens_per_day: Some(1000), ..Limits::default() };
        let mut counts = Counts::default();
        let taken: Vec<_> =
            (0..100).filter_map(|_| counts.reserve(&limits, 300, NOON, at(0.0)).ok()).collect();
        assert_eq!((taken.len(), counts.left(&limits, NOON)), (3, Some(100)));
        let refused = counts.reserve(&limits, 101, NOON, at(0.0)).unwrap_err();
        assert_eq!((refused.limited, refused.retry_after), (Limited::Day, SOON), "some may come back");
        for reserved in taken {
            counts.settle(&limits, reserved, 200, NOON, at(0.0));
        }
        assert_eq!(counts.used(NOON), (600, 600));
        let last = counts.reserve(&limits, 400, NOON, at(0.0)).unwrap();
        counts.settle(&limits, last, 400, NOON, at(0.0));
        let refused = counts.reserve(&limits, 1, NOON, at(0.0)).unwrap_err();
        assert_eq!(refused.retry_after, Duration::from_secs(12 * 3600), "spent: until midnight");
        assert!(counts.reserve(&limits, 1, NOON + DAY_MS, at(0.0)).is_ok());
    }

    #[test]
    fn a_request_that_goes_on_takes_more_or_is_told_that_there_is_none() {
        let limits = Limits { tokens_per_day: Some(100), ..Limits::default() };
        let mut counts = Counts::default();
        let mut reserved = counts.reserve(&limits, 60, NOON, at(0.0)).unwrap();
        counts.extend(&limits, &mut reserved, 40, NOON).unwrap();
        assert_eq!(counts.extend(&limits, &mut reserved, 1, NOON).unwrap_err().limited, Limited::Day);
        counts.extend(&limits, &mut reserved, 90, NOON + DAY_MS).unwrap();
        assert_eq!(counts.left(&limits, NOON + DAY_MS), Some(10), "another day, another budget");
        counts.settle(&limits, reserved, 50, NOON + DAY_MS, at(0.0));
        assert_eq!(counts.left(&limits, NOON + DAY_MS), Some(50));
    }

    proptest::proptest! {
        #[test]
        fn requests_that_keep_to_what_they_reserved_never_pass_a_budget(
            steps in proptest::collection::vec((proptest::bool::ANY, 1_u64..400, 0_u64..=100), 1..60),
        ) {
            let limits = Limits { tokens_per_day: Some(1000), tokens_per_month: Some(1500), ..Limits::default() };
            let (mut counts, mut running) = (Counts::default(), Vec::new());
            for (begins, tokens, percent) in steps {
                if begins {
                    running.extend(counts.reserve(&limits, tokens, NOON, at(0.0)).ok().map(|r| (r, tokens)));
                } else if let Some((reserved, tokens)) = running.pop() {
                    counts.settle(&limits, reserved, tokens * percent / 100, NOON, at(0.0));
                }
                let set_aside: u64 = running.iter().map(|(_, tokens)| tokens).sum();
                proptest::prop_assert!(counts.used(NOON).0 + set_aside <= 1000);
            }
        }
    }

    #[test]
    fn a_clock_that_is_set_back_gives_no_budget_anew() {
        let limits = Limits { tokens_per_day: Some(100), tokens_per_month: Some(150), ..Limits::default() };
        let mut counts = Counts::default();
        let reserved = counts.reserve(&limits, 100, NOON, at(0.0)).unwrap();
        counts.settle(&limits, reserved, 100, NOON, at(0.0));
        for back in [1, 40] {
            assert_eq!(counts.left(&limits, NOON - back * DAY_MS), Some(0), "{back} days back");
        }
        assert_eq!(counts.left(&limits, NOON + DAY_MS), Some(100), "the next day and month come as ever");
    }

    #[test]
    fn a_month_ends_with_the_calendar() {
        let limits = Limits { tokens_per_month: Some(100), ..Limits::default() };
        let mut counts = Counts::resumed(NOON, 5, 100);
        let refused = counts.reserve(&limits, 1, NOON, at(0.0)).unwrap_err();
        assert_eq!(refused.limited, Limited::Month);
        assert_eq!(refused.retry_after, Duration::from_secs(8 * 24 * 3600 + 12 * 3600));
        assert!(counts.reserve(&limits, 1, NOON + 9 * DAY_MS, at(0.0)).is_ok());
    }

    #[test]
    fn a_request_over_midnight_counts_where_it_ends() {
        let limits = Limits { tokens_per_day: Some(100), ..Limits::default() };
        let mut counts = Counts::default();
        let reserved = counts.reserve(&limits, 60, NOON, at(0.0)).unwrap();
        counts.settle(&limits, reserved, 40, NOON + DAY_MS, at(0.0));
        assert_eq!(counts.used(NOON + DAY_MS), (40, 40));
    }
}
