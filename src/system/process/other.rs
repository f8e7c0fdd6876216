//! Processes as `sysinfo` shows them (macOS).

use super::Running;
use nix::unistd::{Pid, getpgid};
use std::ffi::OsStr;
use std::time::Duration;
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
    let Some(system) = looked(ProcessesToUpdate::All, ProcessRefreshKind::nothing().with_cpu()) else {
        return Vec::new();
    };
    let live = system.processes().values().filter(|process| runs(process));
    live.filter_map(|process| {
        let pid = process.pid().as_u32();
        let group = getpgid(Some(Pid::from_raw(i32::try_from(pid).ok()?))).ok()?;
        let parent = process.parent().map_or(0, SysPid::as_u32);
        let cpu = Duration::from_millis(process.accumulated_cpu_time());
        Some(Running { pid, parent, group: u32::try_from(group.as_raw()).ok()?, cpu })
    })
    .collect()
}

/// `ri_phys_footprint`: what Activity Monitor calls Memory. RSS would miss what Metal holds.
#[cfg(target_os = "macos")]
pub fn memory_bytes(pid: u32) -> Option<u64> {
    let pid = i32::try_from(pid).ok()?;
    let mut info = std::mem::MaybeUninit::<libc::rusage_info_v4>::zeroed();
    #[expect(unsafe_code, reason = "libproc has no safe wrapper; the buffer is the struct of that flavor")]
    let footprint = unsafe {
        let asked = libc::proc_pid_rusage(pid, libc::RUSAGE_INFO_V4, info.as_mut_ptr().cast());
        (asked == 0).then(|| info.assume_init().ri_phys_footprint)
    };
    footprint
}

#[cfg(not(target_os = "macos"))]
pub fn memory_bytes(_pid: u32) -> Option<u64> {
    None
}

pub fn command_line(pid: u32) -> String {
    let pid = SysPid::from_u32(pid);
    let with = ProcessRefreshKind::nothing().with_cmd(UpdateKind::Always);
    let system = looked(ProcessesToUpdate::Some(&[pid]), with);
    let words = system.as_ref().and_then(|system| system.process(pid)).map(Process::cmd).unwrap_or_default();
    words.join(OsStr::new(" ")).to_string_lossy().into_owned()
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
