//! `[memory]`: how much the backends may use together.

use std::time::Duration;

use super::reader::Reader;
use super::tree::Node;
use super::values::{self, Fault};

const DEFAULT_MIN_STAY: Duration = Duration::from_secs(30);
const LONGEST_MIN_STAY: Duration = Duration::from_secs(24 * 3600);

/// `[memory]`
#[derive(Debug, Clone)]
pub struct Memory {
    pub budget: MemoryBudget,
    pub min_stay: Duration,
}

/// `budget`: what all backends may use together.
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

impl Memory {
    pub(super) fn read(reader: &Reader<'_>) -> Self {
        let min_stay = reader.duration("min_stay", Duration::ZERO..=LONGEST_MIN_STAY);
        Memory {
            budget: reader.value("budget", budget).unwrap_or(MemoryBudget::Auto),
            min_stay: min_stay.unwrap_or(DEFAULT_MIN_STAY),
        }
    }
}

fn budget(node: &Node) -> Result<MemoryBudget, Fault> {
    let example = "write \"auto\", \"48GiB\" or \"75%\"";
    let text = node.text().unwrap_or_default();
    if text.trim() == "auto" {
        return Ok(MemoryBudget::Auto);
    }
    let Some(percent) = text.trim().strip_suffix('%') else {
        return values::bytes(node, &(1..=u64::MAX))
            .map(MemoryBudget::Bytes)
            .map_err(|fault| fault.suggest(example));
    };
    match percent.trim().parse::<f64>() {
        Ok(percent) if percent > 0.0 && percent <= 100.0 => Ok(MemoryBudget::Percent(percent)),
        _ => Err(Fault::new(format!("{text:?} is not a share of the memory")).suggest(example)),
    }
}
