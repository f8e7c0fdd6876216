//! `[usage]`: how long records are kept.

use super::reader::Reader;

const DEFAULT_RETENTION_DAYS: u32 = 90;
const LONGEST_RETENTION_DAYS: u32 = 36_500;

/// `[usage]`
#[derive(Debug, Clone)]
pub struct Usage {
    pub retention_days: u32,
}

impl Usage {
    pub(super) fn read(reader: &Reader<'_>) -> Self {
        let retention_days = reader.integer("retention_days", 1..=LONGEST_RETENTION_DAYS);
        Usage { retention_days: retention_days.unwrap_or(DEFAULT_RETENTION_DAYS) }
    }
}
