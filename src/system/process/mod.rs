//! Facts about other processes: when they began, who is in a process group, what marks they carry.
//! Only looks; never signals.

use std::time::Duration;

mod exit;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(not(target_os = "linux"))]
mod other;

#[cfg(target_os = "linux")]
use linux as platform;
#[cfg(not(target_os = "linux"))]
use other as platform;

pub use exit::Exit;

/// When a process began, in words that no other process with the same pid ever has; `None`: no
/// such process runs (a zombie does not).
pub fn start_mark(pid: u32) -> Option<String> {
    platform::start_mark(pid)
}

/// Every process that runs.
pub fn running() -> Vec<Running> {
    platform::running()
}

/// The memory that a process holds: on Linux its proportional set, on macOS its physical footprint,
/// which includes what Metal allocated for it. `None`: gone, or not to be seen by this user.
pub fn memory_bytes(pid: u32) -> Option<u64> {
    platform::memory_bytes(pid)
}

/// The processes of a group that still run (zombies do not).
pub fn group_members(group: u32) -> Vec<u32> {
    platform::running().into_iter().filter(|p| p.group == group).map(|p| p.pid).collect()
}

/// The words of a process's command line, with spaces between them; empty where it cannot be seen.
pub fn command_line(pid: u32) -> String {
    platform::command_line(pid)
}

/// The running processes whose environment holds exactly `name=value`, as far as this user may
/// look.
pub fn carrying(name: &str, value: &str) -> Vec<u32> {
    let entry = format!("{name}={value}");
    let pids = platform::running().into_iter().map(|process| process.pid);
    pids.filter(|pid| platform::has_environment_entry(*pid, &entry)).collect()
}

/// Who this process runs as.
pub fn user_id() -> u32 {
    nix::unistd::getuid().as_raw()
}

/// A process that is not a zombie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Running {
    pub pid: u32,
    pub parent: u32,
    pub group: u32,
    /// Processor time that it has used.
    pub cpu: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_keeps_its_start_mark_and_another_has_its_own() {
        let me = std::process::id();
        assert!(start_mark(me).is_some());
        assert_eq!(start_mark(me), start_mark(me));
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        assert!(start_mark(child.id()).is_some());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(start_mark(child.id()), None);
    }

    #[test]
    fn members_of_a_group_and_carriers_of_a_mark_are_found() {
        use std::os::unix::process::CommandExt;
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .env("MLX_GATEWAY_TEST_MARK", "process-facts")
            .process_group(0)
            .spawn()
            .unwrap();
        assert_eq!(group_members(child.id()), [child.id()]);
        assert_eq!(carrying("MLX_GATEWAY_TEST_MARK", "process-facts"), [child.id()]);
        assert!(carrying("MLX_GATEWAY_TEST_MARK", "process").is_empty());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(group_members(child.id()).is_empty());
    }
}
