//! Sizes and durations as people write them: `64MiB`, `48GB`, `10m`, `1h30m`, `0s`. Knows nothing
//! of what they are used for.

use std::fmt;
use std::time::Duration;

/// Bytes, shown with a binary unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

/// Reads `64MiB`, `1.5GB`, `512` (bytes). The case of the unit does not matter.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let (number, unit) = split_number(text);
    if number.is_empty() {
        return Err(format!("`{text}` is not a size; write one such as `64MiB`, `48GB` or `512` (bytes)"));
    }
    let unit = unit.trim();
    let factor = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => {
            return Err(format!("`{unit}` is not a unit of size; write KiB, MiB, GiB or KB, MB, GB"));
        }
    };
    scale(number, factor).ok_or_else(|| format!("`{text}` is not a size that fits into 64 bits"))
}

/// Reads `30s`, `1h30m`, `500ms`, `1.5h`, `0`. Units go from large to small, each at most once.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let not_a_duration =
        || format!("`{text}` is not a duration; write one such as `30s`, `10m`, `1h30m` or `500ms`");
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text;
    let mut micros: u64 = 0;
    let mut previous = u64::MAX;
    while !rest.is_empty() {
        let (number, tail) = split_number(rest);
        let unit_len = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_len);
        let factor = match unit {
            "ms" => 1_000,
            "s" => 1_000_000,
            "m" => 60_000_000,
            "h" => 3_600_000_000,
            "d" => 86_400_000_000,
            _ => return Err(not_a_duration()),
        };
        if number.is_empty() || factor >= previous {
            return Err(not_a_duration());
        }
        previous = factor;
        let part = scale(number, factor);
        micros = part.and_then(|part| micros.checked_add(part)).ok_or_else(not_a_duration)?;
        rest = tail.trim_start();
    }
    if previous == u64::MAX { Err(not_a_duration()) } else { Ok(Duration::from_micros(micros)) }
}

/// Writes a duration the way [`parse_duration`] reads it, to the millisecond.
pub fn show_duration(duration: Duration) -> String {
    let mut left = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (unit, length) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
        if left >= length {
            text.push_str(&format!("{}{unit}", left / length));
            left %= length;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(&str, u64); 4] =
            [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
        match UNITS.iter().find(|(_, size)| self.0 >= *size) {
            None => write!(f, "{}B", self.0),
            Some((unit, size)) if self.0.is_multiple_of(*size) => write!(f, "{}{unit}", self.0 / size),
            Some((unit, size)) => write!(f, "{:.1}{unit}", self.0 as f64 / *size as f64),
        }
    }
}

/// The digits (with at most a decimal point) at the start, and what follows them.
fn split_number(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len()))
}

/// `number * factor`, exactly, rounded down; `None` when it is no number or does not fit.
fn scale(number: &str, factor: u64) -> Option<u64> {
    /// More digits than this after the point change nothing that counts.
    const FRACTION_DIGITS: u32 = 9;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if fraction.is_empty() || fraction.len() > FRACTION_DIGITS as usize {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    let digits = u32::try_from(fraction.len()).ok()?;
    let fraction: u128 = fraction.parse().ok()?;
    let part = u128::from(factor) * fraction / 10_u128.pow(digits);
    whole.checked_mul(factor)?.checked_add(u64::try_from(part).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_are_read_in_binary_and_decimal_units() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("512B", 512),
            ("1KiB", 1024),
            ("64MiB", 64 << 20),
            ("64 MiB", 64 << 20),
            ("64mib", 64 << 20),
            ("1.5GiB", 3 << 29),
            ("2TiB", 2 << 40),
            ("1KB", 1_000),
            ("48GB", 48_000_000_000),
            ("0.5MB", 500_000),
            (" 7 ", 7),
        ] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn a_bad_size_says_what_to_write() {
        for text in ["", "MiB", "64M", "-1", "1..5GB", "1.GB", ".5GB", "99999999999TiB", "64MiBs", "6 4MiB"] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
        insta::assert_snapshot!(parse_bytes("48G").unwrap_err(), @"`G` is not a unit of size; write KiB, MiB, GiB or KB, MB, GB");
    }

    #[test]
    fn durations_are_read_in_one_or_several_units() {
        for (text, millis) in [
            ("0", 0),
            ("0s", 0),
            ("500ms", 500),
            ("30s", 30_000),
            ("10m", 600_000),
            ("1h30m", 5_400_000),
            ("1h 30m", 5_400_000),
            ("1.5h", 5_400_000),
            ("1d2h3m4s5ms", 93_784_005),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn a_bad_duration_says_what_to_write() {
        for text in
            ["", "10", "s", "10x", "1m1h", "1m1m", "-1s", "1s2", "ten minutes", "99999999999999d", "1 0s"]
        {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        insta::assert_snapshot!(parse_duration("soon").unwrap_err(), @"`soon` is not a duration; write one such as `30s`, `10m`, `1h30m` or `500ms`");
    }

    #[test]
    fn sizes_are_shown_with_the_largest_unit_that_fits() {
        for (bytes, text) in
            [(0, "0B"), (1023, "1023B"), (1024, "1KiB"), (64 << 20, "64MiB"), (1_500_000_000, "1.4GiB")]
        {
            assert_eq!(ByteSize(bytes).to_string(), text);
        }
    }

    proptest! {
        #[test]
        fn a_shown_duration_reads_back_as_itself(millis in 0_u64..1_000_000_000_000) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse_duration(&show_duration(duration)), Ok(duration));
        }

        #[test]
        fn no_text_makes_the_units_panic(text in "\\PC*|[0-9.]{0,25}[KMGTkmgtiBbshd ]{0,4}") {
            prop_assert!(parse_bytes(&text).is_ok() | parse_bytes(&text).is_err());
            prop_assert!(parse_duration(&text).is_ok() | parse_duration(&text).is_err());
        }
    }
}
