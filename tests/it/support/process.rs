//! Processes as the system lists them: whose they are, and how much memory they had at most.

use std::process::Command;

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
