//! Days of a time zone. Their length differs where clocks change, so each one's bounds are asked of
//! the zone.

use std::ops::Range;

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

/// Names the day of an instant; cheap for instants that come in order.
pub(super) struct Days {
    zone: TimeZone,
    current: Day,
}

struct Day {
    name: String,
    /// Milliseconds since 1970, UTC; the end is not included.
    start: i64,
    end: i64,
}

impl Days {
    pub(super) fn new(zone: TimeZone) -> Days {
        Days { zone, current: Day { name: String::new(), start: 0, end: 0 } }
    }

    /// Whether all of a span lies in one day.
    pub(super) fn holds(&mut self, span: &Range<i64>) -> bool {
        self.name_of(span.start);
        span.end <= self.current.end
    }

    pub(super) fn name_of(&mut self, unix_ms: i64) -> &str {
        if !(self.current.start..self.current.end).contains(&unix_ms) {
            self.current = day_of(unix_ms, &self.zone).unwrap_or_else(|| Day {
                // Beyond what a calendar holds.
                name: "unknown".to_owned(),
                start: unix_ms,
                end: unix_ms.saturating_add(1),
            });
        }
        &self.current.name
    }
}

fn day_of(unix_ms: i64, zone: &TimeZone) -> Option<Day> {
    let at = Timestamp::from_millisecond(unix_ms).ok()?.to_zoned(zone.clone());
    let start = at.start_of_day().ok()?;
    let end = at.tomorrow().ok()?.start_of_day().ok()?;
    let ms = |zoned: &Zoned| zoned.timestamp().as_millisecond();
    Some(Day { name: at.date().to_string(), start: ms(&start), end: ms(&end) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn days(zone: &str, instants: &[&str]) -> Vec<String> {
        let mut days = Days::new(TimeZone::get(zone).unwrap());
        let at = |text: &&str| text.parse::<Timestamp>().unwrap().as_millisecond();
        instants.iter().map(|text| days.name_of(at(text)).to_owned()).collect()
    }

    #[test]
    fn a_day_of_23_hours_ends_an_hour_sooner() {
        // Clocks in Berlin went from 02:00 to 03:00 on 2025-03-30.
        let instants = [
            "2025-03-29T22:59:59.999Z",
            "2025-03-29T23:00:00Z",
            "2025-03-30T21:59:59.999Z",
            "2025-03-30T22:00:00Z",
        ];
        assert_eq!(
            days("Europe/Berlin", &instants),
            ["2025-03-29", "2025-03-30", "2025-03-30", "2025-03-31"]
        );
    }

    #[test]
    fn a_day_of_25_hours_ends_an_hour_later() {
        let instants = [
            "2025-10-25T21:59:59Z",
            "2025-10-25T22:00:00Z",
            "2025-10-26T22:59:59.999Z",
            "2025-10-26T23:00:00Z",
        ];
        assert_eq!(
            days("Europe/Berlin", &instants),
            ["2025-10-25", "2025-10-26", "2025-10-26", "2025-10-27"]
        );
    }

    #[test]
    fn a_day_without_a_midnight_starts_when_it_starts() {
        // Clocks in Beirut went from 00:00 to 01:00 on 2025-03-30.
        let instants = ["2025-03-29T21:59:59Z", "2025-03-29T22:00:00Z"];
        assert_eq!(days("Asia/Beirut", &instants), ["2025-03-29", "2025-03-30"]);
    }

    #[test]
    fn a_span_over_a_days_end_is_not_held_by_it() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap().as_millisecond();
        let midnight = at("2025-06-01T00:00:00Z");
        let mut days = Days::new(TimeZone::UTC);
        assert!(days.holds(&(midnight - 900_000..midnight)));
        assert!(!days.holds(&(midnight - 1..midnight + 1)));
    }

    #[test]
    fn instants_may_go_back() {
        let instants = ["2025-06-02T12:00:00Z", "2025-06-01T12:00:00Z"];
        assert_eq!(days("UTC", &instants), ["2025-06-02", "2025-06-01"]);
    }
}
