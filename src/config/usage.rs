//! `[usage]`: how long records are kept.

#[derive(Debug, Clone)]
pub struct Usage {
    pub retention_days: u32,
}
