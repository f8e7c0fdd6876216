//! `[hub]`: where models come from.

use std::path::PathBuf;

use super::Secret;

#[derive(Debug, Clone)]
pub struct Hub {
    pub endpoint: String,
    pub token: Option<Secret>,
    pub token_file: Option<PathBuf>,
}
