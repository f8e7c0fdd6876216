//! `[log]`: where the gateway's own log goes.

use std::path::PathBuf;

use super::reader::Reader;

const DEFAULT_MAX_SIZE: u64 = 10 << 20;
const SMALLEST_MAX_SIZE: u64 = 4 << 10;
const LARGEST_MAX_SIZE: u64 = 16 << 30;
const DEFAULT_KEEP: u32 = 5;
const MOST_KEEP: u32 = 1000;

/// `[log]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// None: standard error.
    pub file: Option<PathBuf>,
    /// Bytes after which a new file is begun.
    pub max_size: u64,
    /// Earlier files that stay.
    pub keep: u32,
}

impl Log {
    pub(super) fn read(reader: &Reader<'_>) -> Self {
        let max_size = reader.bytes("max_size", SMALLEST_MAX_SIZE..=LARGEST_MAX_SIZE);
        Log {
            file: reader.path("file"),
            max_size: max_size.unwrap_or(DEFAULT_MAX_SIZE),
            keep: reader.integer("keep", 0..=MOST_KEEP).unwrap_or(DEFAULT_KEEP),
        }
    }
}
