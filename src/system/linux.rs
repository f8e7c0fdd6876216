//! The machine as `/proc` shows it.

use std::path::Path;

use super::files;
use super::machine::{Machine, Pressure};
use super::parse::MemInfo;

/// Bytes of a file below `/proc` that are read.
const PROC_MAX: u64 = 1 << 20;
/// Share of the memory that is left when pressure begins, and when it is critical.
const WARNING_LEFT: f64 = 0.10;
const CRITICAL_LEFT: f64 = 0.03;
/// Share of the last ten seconds in which everything waited for memory, in percent.
const CRITICAL_STALL: f64 = 25.0;

pub fn machine() -> Machine {
    let memory = files::read_to_string(Path::new("/proc/meminfo"), PROC_MAX)
        .map(|text| MemInfo::read(&text))
        .unwrap_or_default();
    let stalls = files::read_to_string(Path::new("/proc/pressure/memory"), PROC_MAX).ok();
    Machine {
        memory_total: memory.total,
        memory_available: memory.available,
        swap_used: memory.swap_used,
        pressure: pressure(memory, stalls.as_deref()),
        ..Machine::default()
    }
}

/// How short memory is, by what is left and by how much everybody waits for it
/// (`/proc/pressure/memory`, where the kernel has it).
fn pressure(memory: MemInfo, stalls: Option<&str>) -> Option<Pressure> {
    let left = memory.available? as f64 / memory.total.filter(|total| *total > 0)? as f64;
    let stalled = stalls.and_then(full_stall).unwrap_or(0.0);
    Some(match () {
        () if left < CRITICAL_LEFT || (left < WARNING_LEFT && stalled > CRITICAL_STALL) => Pressure::Critical,
        () if left < WARNING_LEFT => Pressure::Warning,
        () => Pressure::Normal,
    })
}

/// `full avg10=` of a pressure file: percent of the last ten seconds.
fn full_stall(text: &str) -> Option<f64> {
    let full = text.lines().find(|line| line.starts_with("full "))?;
    full.split_whitespace().find_map(|word| word.strip_prefix("avg10=")?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const STALLS: &str = "some avg10=31.20 avg60=9.00 avg300=2.00 total=18\nfull avg10=30.00 avg60=8.00 avg300=1.00 total=12\n";

    #[test]
    fn pressure_goes_by_what_is_left_and_by_how_long_everybody_waits() {
        let left = |percent: u64| MemInfo { total: Some(100), available: Some(percent), swap_used: None };
        assert_eq!(pressure(left(50), Some(STALLS)), Some(Pressure::Normal));
        assert_eq!(pressure(left(9), None), Some(Pressure::Warning));
        assert_eq!(pressure(left(9), Some(STALLS)), Some(Pressure::Critical));
        assert_eq!(pressure(left(2), None), Some(Pressure::Critical));
        assert_eq!(pressure(MemInfo::default(), None), None);
    }
}
