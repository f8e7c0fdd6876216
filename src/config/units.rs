//! Sizes and durations as people write them: `64MiB`, `48GB`, `10m`, `0s`.

use std::time::Duration;

/// Bytes, shown with a binary unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

/// Reads `64MiB`, `1GB`, `512` (bytes).
pub fn parse_bytes(_text: &str) -> Result<u64, String> {
    Err("not read yet".into())
}

/// Reads `30s`, `1h30m`, `500ms`.
pub fn parse_duration(_text: &str) -> Result<Duration, String> {
    Err("not read yet".into())
}
