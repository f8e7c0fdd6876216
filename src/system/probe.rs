//! Looks at the machine and at process trees. One trait, so that tests can say what is seen; each look
//! blocks for some milliseconds and belongs on a thread that may.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sysinfo::{CpuRefreshKind, RefreshKind, System};

use super::machine::Machine;
use super::process;
use super::tree::Tree;

/// Between two looks less than this apart processor use cannot be told.
const CPU_SPAN: Duration = Duration::from_millis(250);

/// Where figures come from.
pub trait Probe: Send + Sync + 'static {
    /// The trees below these processes, in their order.
    fn trees(&self, roots: &[u32]) -> Vec<Option<Tree>>;
    /// The machine as of now; what cannot be read is unknown.
    fn machine(&self) -> Machine;
}

/// This machine.
#[derive(Debug, Default)]
pub struct SystemProbe {
    cpu: Mutex<Cpu>,
    #[cfg(target_os = "macos")]
    slow: super::macos::Slow,
}

#[derive(Debug, Default)]
struct Cpu {
    system: Option<System>,
    looked: Option<Instant>,
    percent: Option<f64>,
}

impl Probe for SystemProbe {
    fn trees(&self, roots: &[u32]) -> Vec<Option<Tree>> {
        if roots.is_empty() {
            return Vec::new();
        }
        let running = process::running();
        roots.iter().map(|root| Tree::of(*root, &running)).collect()
    }

    fn machine(&self) -> Machine {
        let cpu_percent = self.cpu.lock().unwrap_or_else(PoisonError::into_inner).percent();
        #[cfg(target_os = "linux")]
        return Machine { cpu_percent, ..super::linux::machine() };
        #[cfg(target_os = "macos")]
        return Machine { cpu_percent, ..self.slow.machine() };
        #[cfg(not(any(target_os = "linux", target_os = "macos")))]
        Machine { cpu_percent, ..Machine::default() }
    }
}

impl Cpu {
    /// Of all processors since the last look; none at the first.
    fn percent(&mut self) -> Option<f64> {
        if self.looked.is_some_and(|at| at.elapsed() < CPU_SPAN) {
            return self.percent;
        }
        let first = self.looked.replace(Instant::now()).is_none();
        if self.system.is_none() {
            let what = RefreshKind::nothing().with_cpu(CpuRefreshKind::everything());
            self.system = System::new_with_specifics(what).ok();
        }
        let system = self.system.as_mut()?;
        system.refresh_cpu_usage();
        self.percent = (!first).then(|| f64::from(system.global_cpu_usage()));
        self.percent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(any(target_os = "linux", target_os = "macos"))]
    fn this_machine_tells_its_memory_and_this_process_its_own() {
        let probe = SystemProbe::default();
        let machine = probe.machine();
        assert!(machine.memory_available.unwrap() <= machine.memory_total.unwrap());
        assert!(machine.pressure.is_some());
        assert_eq!(machine.cpu_percent, None, "nothing can be said at the first look");
        let trees = probe.trees(&[std::process::id(), u32::MAX / 2]);
        assert!(trees[0].unwrap().memory_bytes.unwrap() > 100_000);
        assert_eq!(trees[1], None);
        assert!(probe.trees(&[]).is_empty());
    }
}
