//! `[plugins]`: where tool plugins lie and how many rounds of calls a chat may take.

use std::path::PathBuf;

#[derive(Debug, Clone)]
pub struct Plugins {
    pub dir: PathBuf,
    pub max_rounds: u32,
}
