//! `[memory]`: how much the backends may use together.

use std::time::Duration;

#[derive(Debug, Clone)]
pub struct Memory {
    pub budget: MemoryBudget,
    pub min_stay: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MemoryBudget {
    Auto,
    Bytes(u64),
    /// 0 to 100 of the machine's memory.
    Percent(f64),
}

impl MemoryBudget {
    /// Bytes that the backends may use on a machine with `total` bytes. `Auto` leaves
    /// max(4 GB, 12 %) to everything else, but never takes less than half.
    pub fn bytes(self, total: u64) -> u64 {
        match self {
            MemoryBudget::Auto => {
                let reserve = (total / 100 * 12).max(4_000_000_000);
                total.saturating_sub(reserve).max(total / 2)
            }
            MemoryBudget::Bytes(bytes) => bytes,
            MemoryBudget::Percent(percent) => (total as f64 * percent / 100.0) as u64,
        }
    }
}
