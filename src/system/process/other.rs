//! Processes as `sysinfo` shows them (macOS).

use super::Running;
use nix::unistd::{Pid, getpgid};
use std::ffi::OsStr;
use sysinfo::{
    Pid as SysPid, Process, ProcessRefreshKind, ProcessStatus, ProcessesToUpdate, System, UpdateKind,
};

pub fn start_mark(pid: u32) -> Option<String> {
    let pid = SysPid::from_u32(pid);
    let system = looked(ProcessesToUpdate::Some(&[pid]), ProcessRefreshKind::nothing())?;
    let process = system.process(pid).filter(|process| runs(process))?;
    Some(process.start_time().to_string())
}

pub fn running() -> Vec<Running> {
    let Some(system) = looked(ProcessesToUpdate::All, ProcessRefreshKind::nothing()) else {
        return Vec::new();
    };
    let live = system.processes().values().filter(|process| runs(process));
    live.filter_map(|process| {
        let pid = process.pid().as_u32();
        let group = getpgid(Some(Pid::from_raw(i32::try_from(pid).ok()?))).ok()?;
        Some(Running { pid, group: u32::try_from(group.as_raw()).ok()? })
    })
    .collect()
}

pub fn has_environment_entry(pid: u32, entry: &str) -> bool {
    let pid = SysPid::from_u32(pid);
    let with = ProcessRefreshKind::nothing().with_environ(UpdateKind::Always);
    let Some(system) = looked(ProcessesToUpdate::Some(&[pid]), with) else { return false };
    let Some(process) = system.process(pid) else { return false };
    process.environ().iter().any(|found| found.as_os_str() == OsStr::new(entry))
}

fn looked(which: ProcessesToUpdate<'_>, what: ProcessRefreshKind) -> Option<System> {
    let mut system = System::new().ok()?;
    system.refresh_processes_specifics(which, true, what);
    Some(system)
}

fn runs(process: &Process) -> bool {
    process.status() != ProcessStatus::Zombie
}
