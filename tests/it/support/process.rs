//! Processes as the system lists them: whose they are, and how much memory they had at most.

use std::process::Command;

use super::Gateway;

impl Gateway {
    /// Runs `attack` and returns its result. Fails if the gateway's memory rose meanwhile by more than `mib`
    /// above what it had before, even for a moment (without /proc: at the end).
    pub fn grows_at_most<T>(&self, mib: u64, attack: impl FnOnce() -> T) -> T {
        let pid = self.pid().as_raw().unsigned_abs();
        reset_peak(pid);
        let before = peak_kib(pid);
        let result = attack();
        let grown = peak_kib(pid).saturating_sub(before) / 1024;
        println!("the gateway grew by {grown} MiB at most, {mib} are allowed");
        assert!(grown <= mib, "the gateway grew by {grown} MiB, and {mib} are allowed");
        result
    }
}

/// Numbers of the worker processes of a gateway.
pub fn workers(gateway: u32) -> Vec<u32> {
    let listed = Command::new("ps").args(["-A", "-o", "pid=,ppid=,stat=,args="]).output().unwrap();
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    let worker = |line: &str| {
        let mut columns = line.split_whitespace();
        let pid: u32 = columns.next()?.parse().ok()?;
        let is_ours = columns.next()? == gateway.to_string() && !columns.next()?.starts_with('Z');
        (is_ours && columns.last() == Some("worker")).then_some(pid)
    };
    text.lines().filter_map(worker).collect()
}

/// Most memory that a process had; without /proc, the memory that it has now. 0: it has ended.
pub fn peak_kib(pid: u32) -> u64 {
    let number = |text: &str| text.split_whitespace().next().and_then(|text| text.parse().ok());
    if cfg!(target_os = "linux") {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        return status.lines().find_map(|line| number(line.strip_prefix("VmHWM:")?)).unwrap_or(0);
    }
    let listed = Command::new("ps").args(["-o", "rss=", "-p", &pid.to_string()]).output().unwrap();
    number(&String::from_utf8_lossy(&listed.stdout)).unwrap_or(0)
}

/// Makes the present memory of a process the most that it had.
fn reset_peak(pid: u32) {
    if cfg!(target_os = "linux") {
        std::fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();
    }
}
