//! The days and months over which budgets are counted, UTC.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Tokens of one period: used by requests that have ended, and reserved by those under way.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Period {
    start: i64,
    pub end: i64,
    pub used: u64,
    pub reserved: u64,
}

/// What one request has reserved of a period.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Share {
    /// The period; one that has passed is not settled.
    start: i64,
    tokens: u64,
}

impl Period {
    fn around(now_ms: i64, month: bool) -> Period {
        let (start, end) = bounds(now_ms, month).unwrap_or((now_ms, i64::MAX));
        Period { start, end, used: 0, reserved: 0 }
    }

    pub fn turn(&mut self, now_ms: i64, month: bool) {
        if (self.start..self.end).contains(&now_ms) {
            return;
        }
        let before = *self;
        *self = Period::around(now_ms, month);
        // Setting the clock back does not renew a budget.
        if now_ms < before.start {
            self.used = before.used;
        }
    }

    pub fn left(&self, most: Option<u64>) -> Option<u64> {
        most.map(|most| most.saturating_sub(self.used.saturating_add(self.reserved)))
    }

    /// Reserves more for a request. What it reserved in a period that has passed went with that.
    pub fn reserve(&mut self, share: &mut Share, tokens: u64) {
        self.reserved = self.reserved.saturating_add(tokens);
        let before = if share.start == self.start { share.tokens } else { 0 };
        *share = Share { start: self.start, tokens: before.saturating_add(tokens) };
    }

    /// Replaces a part of what a request has reserved.
    pub fn replace(&mut self, share: &mut Share, part: u64, tokens: u64) {
        if share.start == self.start {
            let after = share.tokens.saturating_sub(part).saturating_add(tokens);
            self.reserved = self.reserved.saturating_sub(share.tokens).saturating_add(after);
            share.tokens = after;
        }
    }

    /// A request has ended; its tokens count in the period of its end.
    pub fn settle(&mut self, share: Share, used: u64) {
        if share.start == self.start {
            self.reserved = self.reserved.saturating_sub(share.tokens);
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
