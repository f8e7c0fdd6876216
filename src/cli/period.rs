//! `--since` and `--until`: what people write for an instant, as the admin API wants it. Pure: now
//! and the time zone are given.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, ToSpan};

use super::exit::CliError;

/// Which end of a named day is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Since,
    /// Up to the end of a named day.
    Until,
}

/// Reads `7d`, `12h`, `today`, `2026-11-22` or an instant in RFC 3339.
pub fn parse(text: &str, end: End, now: Timestamp, zone: &TimeZone) -> Result<Timestamp, CliError> {
    instant(text.trim(), end, now, zone).ok_or_else(|| {
        let flag = if end == End::Since { "--since" } else { "--until" };
        CliError::Usage(format!(
            "{flag} {text} is not understood; write 7d, 12h, 2w, today, yesterday, a date such as \
             {}, or an instant such as {now:.0}",
            now.to_zoned(zone.clone()).date()
        ))
    })
}

/// The zone called `name`, or this machine's.
pub fn zone(name: Option<&str>, here: &TimeZone) -> Result<TimeZone, CliError> {
    let Some(name) = name else {
        return Ok(here.clone());
    };
    TimeZone::get(name)
        .map_err(|error| CliError::Usage(format!("--tz {name}: {error}; write it like Europe/Berlin or UTC")))
}

fn instant(text: &str, end: End, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    let today = now.to_zoned(zone.clone()).date();
    match text {
        "now" => return Some(now),
        "today" => return day(today, end, zone),
        "yesterday" => return day(today.yesterday().ok()?, end, zone),
        _ => {}
    }
    if let Some(span) = span(text) {
        return Some(now.to_zoned(zone.clone()).checked_sub(span).ok()?.timestamp());
    }
    if let Ok(instant) = text.parse::<Timestamp>() {
        return Some(instant);
    }
    day(text.parse().ok()?, end, zone)
}

fn day(date: Date, end: End, zone: &TimeZone) -> Option<Timestamp> {
    let first = if end == End::Until { date.tomorrow().ok()? } else { date };
    Some(first.to_zoned(zone.clone()).ok()?.timestamp())
}

fn span(text: &str) -> Option<Span> {
    let unit = text.chars().last()?;
    let number: i64 = text.strip_suffix(unit)?.parse().ok().filter(|number| *number >= 0)?;
    match unit {
        'm' => Span::new().try_minutes(number),
        'h' => Span::new().try_hours(number),
        'd' => Span::new().try_days(number),
        'w' => 1.week().checked_mul(number),
        _ => return None,
    }
    .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, end: End) -> Result<String, String> {
        let berlin = zone(Some("Europe/Berlin"), &TimeZone::UTC).map_err(|e| e.to_string())?;
        let now = "2026-11-22T00:30:00Z".parse().map_err(|e: jiff::Error| e.to_string())?;
        match parse(text, end, now, &berlin) {
            Ok(instant) => Ok(instant.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn instants_are_read_as_people_write_them() {
        let since = |text| read(text, End::Since).unwrap();
        assert_eq!(since("7d"), "2026-11-15T00:30:00Z");
        assert_eq!(since("12h"), "2026-11-21T12:30:00Z");
        assert_eq!(since("2w"), "2026-11-08T00:30:00Z");
        assert_eq!(since("90m"), "2026-11-21T23:00:00Z");
        assert_eq!(since("2026-11-01T10:00:00+01:00"), "2026-11-01T09:00:00Z");
    }

    #[test]
    fn a_day_begins_and_ends_in_the_time_zone() {
        assert_eq!(read("today", End::Since).unwrap(), "2026-11-21T23:00:00Z");
        assert_eq!(read("yesterday", End::Since).unwrap(), "2026-11-20T23:00:00Z");
        assert_eq!(read("2026-03-29", End::Since).unwrap(), "2026-03-28T23:00:00Z");
        assert_eq!(read("2026-03-29", End::Until).unwrap(), "2026-03-29T22:00:00Z");
    }

    #[test]
    fn what_is_not_understood_is_answered_with_what_is() {
        for text in ["", "soon", "7", "-3d", "7y", "2026-13-01", "99999999999999999999d", "9999999w"] {
            let message = read(text, End::Until).unwrap_err();
            assert!(message.contains("write 7d"), "{text}: {message}");
        }
        assert!(zone(Some("Mars/Base"), &TimeZone::UTC).is_err());
    }
}
