//! Figures as people read them. Pure; knows nothing of where they come from.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// What stands where there is no figure.
pub const NONE: &str = "-";

const MINUTE: f64 = 60.0;
const HOUR: f64 = 60.0 * MINUTE;
const DAY: f64 = 24.0 * HOUR;

/// `340 ms`, `1.2 s`, `3 min`, `5 h`, `2 days`.
pub fn duration(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return NONE.into();
    }
    // Each bound is where the next unit would be shown after rounding, so that 59.7 s is 1 min.
    match seconds {
        s if s < 0.9995 => format!("{:.0} ms", s * 1000.0),
        s if s < 9.95 => format!("{} s", one_decimal(s)),
        s if s < 59.5 => format!("{s:.0} s"),
        s if s < HOUR - 30.0 => format!("{:.0} min", s / MINUTE),
        s if s < 2.0 * DAY => format!("{} h", one_decimal(s / HOUR)),
        s => format!("{:.0} days", s / DAY),
    }
}

/// Like [`duration`], from milliseconds.
pub fn millis(ms: f64) -> String {
    duration(ms / 1000.0)
}

/// `48 GB`, `1.5 GB`, `300 MB`: in powers of 1024 with the names that shops print on machines.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KB", "MB", "GB", "TB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let figure = if unit > 0 && value < 99.95 { one_decimal(value) } else { format!("{value:.0}") };
    format!("{figure} {}", UNITS[unit])
}

/// `1,234,567`.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Tokens per second: `52.3`, `1,204`.
pub fn rate(per_second: f64) -> String {
    match per_second {
        r if !r.is_finite() || r < 0.0 => NONE.into(),
        r if r < 99.95 => format!("{r:.1}"),
        r => count(r.round() as u64),
    }
}

/// How long ago `then` was: `just now`, `3 min ago`.
pub fn ago(now_ms: i64, then_ms: i64) -> String {
    let seconds = now_ms.saturating_sub(then_ms) as f64 / 1000.0;
    if seconds < 1.0 { "just now".into() } else { format!("{} ago", duration(seconds.floor())) }
}

/// `2026-11-22 01:02:03.004` in `zone`.
pub fn local_time(unix_ms: i64, zone: &TimeZone) -> String {
    match Timestamp::from_millisecond(unix_ms) {
        Ok(instant) => instant.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S%.3f %Z").to_string(),
        Err(_) => NONE.into(),
    }
}

/// `figure` of what is there, `-` of what is not.
pub fn or_none<T>(value: Option<T>, figure: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| NONE.into(), figure)
}

fn one_decimal(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_at_a_glance() {
        let seconds = [0.0, 0.34, 0.9996, 1.0, 1.23, 9.96, 12.3, 59.7, 180.0, 3599.0, 5400.0, 86400.0, 3e5];
        assert_eq!(
            seconds.map(duration),
            [
                "0 ms", "340 ms", "1 s", "1 s", "1.2 s", "10 s", "12 s", "1 min", "3 min", "1 h", "1.5 h",
                "24 h", "3 days"
            ]
        );
        assert_eq!(millis(340.0), "340 ms");
        assert_eq!(duration(f64::NAN), "-");
    }

    #[test]
    fn sizes_are_what_shops_print() {
        let gib = 1 << 30;
        assert_eq!(
            [0, 512, 2048, 48 * gib, gib + gib / 2, gib - 1, 300 << 20, u64::MAX].map(bytes),
            ["0 B", "512 B", "2 KB", "48 GB", "1.5 GB", "1 GB", "300 MB", "16777216 TB"]
        );
    }

    #[test]
    fn counts_are_grouped_by_thousands() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn rates_keep_one_decimal_while_it_matters() {
        assert_eq!([0.04, 52.34, 99.96, 1204.4].map(rate), ["0.0", "52.3", "100", "1,204"]);
        assert_eq!(rate(f64::INFINITY), "-");
    }

    #[test]
    fn times_are_relative() {
        assert_eq!(ago(1_000_500, 1_000_000), "just now");
        assert_eq!(ago(1_012_900, 1_000_000), "12 s ago");
        assert_eq!(ago(1_000_000, 2_000_000), "just now");
        assert_eq!(ago(i64::MAX, i64::MIN), "106751991167 days ago");
    }

    #[test]
    fn instants_are_shown_in_the_zone() {
        assert_eq!(local_time(0, &TimeZone::UTC), "1970-01-01 00:00:00.000 UTC");
        assert_eq!(local_time(i64::MAX, &TimeZone::UTC), "-");
    }
}
