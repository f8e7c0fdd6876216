//! The texts in which systems tell about themselves, read. Pure: text in, figures out, `None` where
//! the text does not say.

use super::machine::{Gpu, Pressure, Thermal};

/// What macOS keeps for others when nobody has set `iogpu.wired_limit_mb`: a quarter of a large
/// machine, a third of a small one.
const SMALL_MACHINE: u64 = 36 << 30;

/// `/proc/meminfo`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemInfo {
    pub total: Option<u64>,
    pub available: Option<u64>,
    pub swap_used: Option<u64>,
}

impl MemInfo {
    /// From the text of `/proc/meminfo`; what it does not say stays unknown.
    pub fn read(text: &str) -> MemInfo {
        let bytes = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
        };
        let swap = bytes("SwapTotal").zip(bytes("SwapFree"));
        MemInfo {
            total: bytes("MemTotal"),
            available: bytes("MemAvailable"),
            swap_used: swap.map(|(total, free)| total.saturating_sub(free)),
        }
    }
}

/// `sysctl -n kern.memorystatus_vm_pressure_level` (macOS): 1, 2 or 4.
pub fn vm_pressure_level(text: &str) -> Option<Pressure> {
    match text.trim() {
        "1" => Some(Pressure::Normal),
        "2" => Some(Pressure::Warning),
        "4" => Some(Pressure::Critical),
        _ => None,
    }
}

/// What Metal recommends to keep resident at most: what `sysctl -n iogpu.wired_limit_mb` says, or
/// the system's own share of `total` bytes where that is 0 or not there.
pub fn working_set(wired_limit_mb: Option<&str>, total: u64) -> u64 {
    let set = wired_limit_mb.and_then(|text| text.trim().parse::<u64>().ok()).filter(|mb| *mb > 0);
    let own = || if total <= SMALL_MACHINE { total / 3 * 2 } else { total / 4 * 3 };
    set.map_or_else(own, |mb| mb.saturating_mul(1 << 20).min(total))
}

/// `ioreg -r -d 1 -w 0 -c IOAccelerator` (macOS): the property list of the first accelerator.
pub fn io_accelerator(text: &str) -> Gpu {
    let statistics = text.lines().find(|line| line.contains("\"PerformanceStatistics\""));
    let figure = |name: &str| -> Option<u64> {
        let (_, after) = statistics?.split_once(&format!("\"{name}\"="))?;
        let end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
        after.get(..end)?.parse().ok()
    };
    Gpu {
        percent: figure("Device Utilization %").map(|percent| percent.min(100) as f64),
        memory_used_bytes: figure("In use system memory"),
        memory_limit_bytes: None,
    }
}

/// `pmset -g therm` (macOS).
pub fn thermal(text: &str) -> Option<Thermal> {
    let limit = text.lines().find_map(|line| {
        let (name, value) = line.split_once('=')?;
        (name.trim() == "CPU_Speed_Limit").then(|| value.trim().parse::<u32>().ok())?
    });
    match limit {
        Some(100) => Some(Thermal::Normal),
        Some(_) => Some(Thermal::Throttled),
        None if text.contains("No thermal warning level") => Some(Thermal::Normal),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMINFO: &str = "MemTotal:       24596552 kB\nMemFree:        16928384 kB\nMemAvailable:   22139392 kB\nSwapTotal:       2097148 kB\nSwapFree:        2097000 kB\n";

    #[test]
    fn meminfo_is_read_and_what_it_does_not_say_is_unknown() {
        let read = MemInfo::read(MEMINFO);
        assert_eq!(read.total, Some(24_596_552 << 10));
        assert_eq!(read.available, Some(22_139_392 << 10));
        assert_eq!(read.swap_used, Some(148 << 10));
        for absurd in ["many", "18446744073709551615 kB"] {
            assert_eq!(MemInfo::read(&format!("MemTotal: {absurd}\n")), MemInfo::default(), "{absurd}");
        }
    }

    #[test]
    fn the_levels_of_macos_are_known() {
        let levels = ["1\n", "2\n", "4\n", "0\n", ""].map(vm_pressure_level);
        let known = [Pressure::Normal, Pressure::Warning, Pressure::Critical].map(Some);
        assert_eq!(levels, [known[0], known[1], known[2], None, None]);
    }

    #[test]
    fn the_working_set_is_what_was_set_or_the_systems_share() {
        const GIB: u64 = 1 << 30;
        assert_eq!(working_set(Some("0\n"), 64 * GIB), 48 * GIB);
        assert_eq!(working_set(Some("57344\n"), 64 * GIB), 56 * GIB);
        assert_eq!(working_set(Some("999999999\n"), 64 * GIB), 64 * GIB);
        assert_eq!(working_set(Some("17592186044416\n"), 64 * GIB), 64 * GIB);
        assert_eq!(working_set(None, 24 * GIB), 16 * GIB);
    }

    #[test]
    fn the_accelerators_statistics_are_read() {
        let text = r#"+-o AGXAcceleratorG14X  <class AGXAcceleratorG14X, id 0x10000049d, registered, matched, active, busy 0 (84 ms), retain 155>
    {
      "IOClass" = "AGXAcceleratorG14X"
      "PerformanceStatistics" = {"In use system memory (driver)"=0,"Alloc system memory"=29804068864,"Tiler Utilization %"=11,"recoveryCount"=0,"lastRecoveryTime"=0,"Renderer Utilization %"=10,"TiledSceneBytes"=196608,"Device Utilization %"=13,"SplitSceneCount"=0,"Allocated PB Size"=51118080,"In use system memory"=26315456512}
      "gpu-core-count" = 38
    }
"#;
        let gpu = io_accelerator(text);
        assert_eq!((gpu.percent, gpu.memory_used_bytes), (Some(13.0), Some(26_315_456_512)));
        assert_eq!(io_accelerator(""), Gpu::default());
    }

    #[test]
    fn a_hot_machine_is_seen_by_its_speed_limit() {
        let cool = "Note: No thermal warning level has been recorded\nNote: No performance warning level has been recorded\n";
        let limited = "2026-01-17 10:00:00 +0100 CPU Power notify\n\tCPU_Scheduler_Limit \t= 100\n\tCPU_Available_CPUs \t= 8\n\tCPU_Speed_Limit \t= 70\n";
        assert_eq!(thermal(cool), Some(Thermal::Normal));
        assert_eq!(thermal(limited), Some(Thermal::Throttled));
        assert_eq!(thermal("usage: pmset"), None);
    }
}
