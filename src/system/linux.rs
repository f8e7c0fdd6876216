//! The machine as `/proc` shows it.

use std::fs;

use super::machine::Machine;
use super::parse::MemInfo;

pub fn machine() -> Machine {
    let memory = fs::read_to_string("/proc/meminfo").map(|text| MemInfo::read(&text)).unwrap_or_default();
    let stalls = fs::read_to_string("/proc/pressure/memory").ok();
    Machine {
        memory_total: memory.total,
        memory_available: memory.available,
        swap_used: memory.swap_used,
        pressure: memory.pressure(stalls.as_deref()),
        ..Machine::default()
    }
}
