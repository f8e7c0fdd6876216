//! `[responses]`: how long responses are kept for clients that go on from them.

use super::reader::Reader;

const DEFAULT_RETENTION_DAYS: u32 = 30;
const LONGEST_RETENTION_DAYS: u32 = 36_500;

/// `[responses]`
#[derive(Debug, Clone)]
pub struct Responses {
    pub retention_days: u32,
}

impl Responses {
    pub(super) fn read(reader: &Reader<'_>) -> Self {
        let retention_days = reader.integer("retention_days", 1..=LONGEST_RETENTION_DAYS);
        Responses { retention_days: retention_days.unwrap_or(DEFAULT_RETENTION_DAYS) }
    }
}
