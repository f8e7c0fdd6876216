//! `[plugins]`: where tool plugins lie and how many rounds of calls a chat may take.

use std::path::{Path, PathBuf};

use super::reader::Reader;

const DEFAULT_MAX_ROUNDS: u32 = 8;
const MOST_MAX_ROUNDS: u32 = 100;

/// `[plugins]`
#[derive(Debug, Clone)]
pub struct Plugins {
    pub dir: PathBuf,
    pub max_rounds: u32,
}

impl Plugins {
    pub(super) fn read(reader: &Reader<'_>, default_dir: &Path) -> Self {
        Plugins {
            dir: reader.path("dir").unwrap_or_else(|| default_dir.to_path_buf()),
            max_rounds: reader.integer("max_rounds", 1..=MOST_MAX_ROUNDS).unwrap_or(DEFAULT_MAX_ROUNDS),
        }
    }
}
