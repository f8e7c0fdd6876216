//! Processes as `/proc` shows them.

use super::Running;
use std::fs;

/// The fields of `/proc/PID/stat` that are asked for.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    state: char,
    group: u32,
    /// Clock ticks since the machine started.
    start_ticks: u64,
}

pub fn start_mark(pid: u32) -> Option<String> {
    let stat = stat(pid).filter(Stat::runs)?;
    // Ticks count from the machine's start, so they mean something only together with it.
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    Some(format!("{}:{}", boot.trim(), stat.start_ticks))
}

pub fn running() -> Vec<Running> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid| {
        let stat = stat(pid)?;
        stat.runs().then_some(Running { pid, group: stat.group })
    })
    .collect()
}

pub fn has_environment_entry(pid: u32, entry: &str) -> bool {
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment.split(|byte| *byte == 0).any(|found| found == entry.as_bytes())
}

impl Stat {
    fn runs(&self) -> bool {
        !matches!(self.state, 'Z' | 'X')
    }
}

fn stat(pid: u32) -> Option<Stat> {
    parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The name, in parentheses, may hold anything, parentheses too; the fields come after the last.
fn parse(line: &str) -> Option<Stat> {
    let (_, fields) = line.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    // Counted as in proc(5): state is field 3, the group 5, the start time 22.
    let state = fields.next()?.chars().next()?;
    let group = fields.nth(1)?.parse().ok()?;
    let start_ticks = fields.nth(16)?.parse().ok()?;
    Some(Stat { state, group, start_ticks })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_read_whatever_the_program_is_called() {
        let line = "42 (a) b (c) S 1 40 40 0 -1 4194560 9 0 0 0 0 0 0 0 20 0 1 0 777 8 9";
        assert_eq!(parse(line), Some(Stat { state: 'S', group: 40, start_ticks: 777 }));
        assert_eq!(parse("42 (cut) S 1"), None);
    }
}
