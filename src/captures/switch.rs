//! Whether requests are captured, for how long and how much of them: pure.

use serde::{Deserialize, Serialize};

use crate::store::StoreError;

/// Minutes after which the switch turns itself off, where nobody says how many; and at the most.
const MINUTES: u32 = 60;
const MINUTES_MAX: u32 = 24 * 60;
/// Bytes of a request, and of its answer.
const BYTES: u64 = 256 << 10;
const BYTES_MIN: u64 = 1 << 10;
const BYTES_MAX: u64 = 8 << 20;
const DAYS: u32 = 7;
const DAYS_MAX: u32 = 90;
const MINUTE_MS: i64 = 60_000;

/// How it is switched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = CaptureSwitch)]
pub struct Switch {
    /// When it turns itself off, in milliseconds since 1970, UTC; null: it is off.
    pub until_ms: Option<i64>,
    /// Bytes of a request, and of its answer, that are kept; what is beyond is cut off.
    pub max_bytes: u64,
    /// Whether what was said is kept; otherwise only its shape.
    pub contents: bool,
    /// Days after which what was captured is deleted.
    pub retention_days: u32,
}

/// What is to change; what is left out stays.
#[derive(Debug, Clone, Copy, Default, Deserialize, utoipa::ToSchema)]
#[schema(as = CaptureChange)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// On, or off at once.
    pub on: Option<bool>,
    /// After how many minutes it turns itself off: 1 to 1440, 60 unless told.
    pub minutes: Option<u32>,
    /// 1 KiB to 8 MiB.
    pub max_bytes: Option<u64>,
    pub contents: Option<bool>,
    /// 1 to 90.
    pub retention_days: Option<u32>,
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    #[error("`{param}` is {given}; give a number from {least} to {most}")]
    Range { param: &'static str, given: u64, least: u64, most: u64 },
    #[error("`minutes` says how long captures stay on; give it with `\"on\": true`")]
    MinutesWithoutOn,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Default for Switch {
    fn default() -> Self {
        Switch { until_ms: None, max_bytes: BYTES, contents: true, retention_days: DAYS }
    }
}

impl Switch {
    /// As of now: off when its time has passed.
    pub fn at(&self, now_ms: i64) -> Switch {
        Switch { until_ms: self.until_ms.filter(|until| *until > now_ms), ..self.clone() }
    }

    /// With a change applied. An error names the figure that is out of its range and the range.
    pub fn changed(mut self, change: Change, now_ms: i64) -> Result<Switch, ChangeError> {
        if let Some(bytes) = change.max_bytes {
            self.max_bytes = within("max_bytes", bytes, BYTES_MIN, BYTES_MAX)?;
        }
        if let Some(days) = change.retention_days {
            within("retention_days", days.into(), 1, DAYS_MAX.into())?;
            self.retention_days = days;
        }
        self.contents = change.contents.unwrap_or(self.contents);
        let minutes = change.minutes.unwrap_or(MINUTES);
        within("minutes", minutes.into(), 1, MINUTES_MAX.into())?;
        match change.on {
            Some(true) => self.until_ms = Some(now_ms + i64::from(minutes) * MINUTE_MS),
            Some(false) => self.until_ms = None,
            None if change.minutes.is_some() => return Err(ChangeError::MinutesWithoutOn),
            None => {}
        }
        Ok(self)
    }
}

fn within(param: &'static str, given: u64, least: u64, most: u64) -> Result<u64, ChangeError> {
    match (least..=most).contains(&given) {
        true => Ok(given),
        false => Err(ChangeError::Range { param, given, least, most }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_off_at_first_and_turns_itself_off() {
        let off = Switch::default();
        assert_eq!(off.until_ms, None);
        let on = off.changed(Change { on: Some(true), ..Change::default() }, 1_000).unwrap();
        assert_eq!(on.until_ms, Some(1_000 + 60 * MINUTE_MS));
        assert_eq!(on.at(1_000 + 60 * MINUTE_MS - 1), on);
        assert_eq!(on.at(1_000 + 60 * MINUTE_MS).until_ms, None);
        let longer = Change { minutes: Some(5), on: Some(true), ..Change::default() };
        assert_eq!(on.clone().changed(longer, 2_000).unwrap().until_ms, Some(2_000 + 5 * MINUTE_MS));
        let less = Change { contents: Some(false), ..Change::default() };
        assert_eq!(on.clone().changed(less, 9).unwrap(), Switch { contents: false, ..on.clone() });
        assert_eq!(on.changed(Change { on: Some(false), ..Change::default() }, 9).unwrap().until_ms, None);
    }

    #[test]
    fn what_is_out_of_range_is_named_with_the_range() {
        for (change, words) in [
            (Change { on: Some(true), minutes: Some(0), ..Change::default() }, "from 1 to 1440"),
            (Change { on: Some(true), minutes: Some(1_441), ..Change::default() }, "`minutes` is 1441"),
            (Change { minutes: Some(5), ..Change::default() }, "\"on\": true"),
            (Change { max_bytes: Some(9 << 20), ..Change::default() }, "from 1024 to 8388608"),
            (Change { retention_days: Some(91), ..Change::default() }, "from 1 to 90"),
        ] {
            let error = Switch::default().changed(change, 0).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
