//! Processes as `sysinfo` shows them (macOS).

use super::Running;
use nix::unistd::{Pid, getpgid};
use std::ffi::OsStr;
use sysinfo::{Pid as SysPid, ProcessRefreshKind, ProcessStatus, ProcessesToUpdate, System, UpdateKind};

pub fn start_mark(pid: u32) -> Option<String> {
    let pid = SysPid::from_u32(pid);
    let mut system = System::new();
    let only = ProcessesToUpdate::Some(&[pid]);
    system.refresh_processes_specifics(only, true, ProcessRefreshKind::nothing());
    let process = system.process(pid).filter(|p| p.status() != ProcessStatus::Zombie)?;
    Some(process.start_time().to_string())
}

pub fn running() -> Vec<Running> {
    let mut system = System::new();
    let all = ProcessesToUpdate::All;
    system.refresh_processes_specifics(all, true, ProcessRefreshKind::nothing());
    let live = system.processes().values().filter(|p| p.status() != ProcessStatus::Zombie);
    live.filter_map(|process| {
        let pid = process.pid().as_u32();
        let group = getpgid(Some(Pid::from_raw(i32::try_from(pid).ok()?))).ok()?;
        Some(Running { pid, group: u32::try_from(group.as_raw()).ok()? })
    })
    .collect()
}

pub fn has_environment_entry(pid: u32, entry: &str) -> bool {
    let pid = SysPid::from_u32(pid);
    let mut system = System::new();
    let only = ProcessesToUpdate::Some(&[pid]);
    let with = ProcessRefreshKind::nothing().with_environ(UpdateKind::Always);
    system.refresh_processes_specifics(only, true, with);
    let Some(process) = system.process(pid) else { return false };
    process.environ().iter().any(|found| found.as_os_str() == OsStr::new(entry))
}
