//! The machine as macOS' own tools show it. They are asked as programs, so that nothing here is
//! unsafe; what they say is read in `parse`. Not seen on hardware.

use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sysinfo::{MemoryRefreshKind, System};

use super::machine::{Gpu, Machine, Thermal};
use super::parse;

/// What takes a program of its own to find out is asked at most this often.
const SLOW_EVERY: Duration = Duration::from_secs(3);

/// Remembers what is slow to find out.
#[derive(Debug, Default)]
pub struct Slow(Mutex<Option<(Instant, Gpu, Option<Thermal>)>>);

impl Slow {
    pub fn machine(&self) -> Machine {
        let mut machine = Machine::default();
        if let Ok(mut system) = System::new() {
            system.refresh_memory_specifics(MemoryRefreshKind::everything());
            machine.memory_total = Some(system.total_memory()).filter(|bytes| *bytes > 0);
            machine.memory_available = Some(system.available_memory()).filter(|bytes| *bytes > 0);
            machine.swap_used = Some(system.used_swap());
        }
        machine.pressure = said("/usr/sbin/sysctl", &["-n", "kern.memorystatus_vm_pressure_level"])
            .and_then(|text| parse::vm_pressure_level(&text));
        (machine.gpu, machine.thermal) = self.slow(machine.memory_total);
        machine
    }

    fn slow(&self, total: Option<u64>) -> (Gpu, Option<Thermal>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, gpu, thermal)) = *kept
            && at.elapsed() < SLOW_EVERY
        {
            return (gpu, thermal);
        }
        let told = said("/usr/sbin/ioreg", &["-r", "-d", "1", "-w", "0", "-c", "IOAccelerator"]);
        let mut gpu = told.map_or_else(Gpu::default, |text| parse::io_accelerator(&text));
        gpu.memory_limit_bytes = total.map(working_set);
        let thermal = said("/usr/bin/pmset", &["-g", "therm"]).and_then(|text| parse::thermal(&text));
        *kept = Some((Instant::now(), gpu, thermal));
        (gpu, thermal)
    }
}

/// What Metal may keep of `total` bytes.
pub fn working_set(total: u64) -> u64 {
    parse::working_set(said("/usr/sbin/sysctl", &["-n", "iogpu.wired_limit_mb"]).as_deref(), total)
}

fn said(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).env_clear().stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
