//! Processes as `/proc` shows them.

use super::Running;
use crate::system::files;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// Clock ticks are told to programs in this unit, whatever the kernel counts in.
const TICKS_PER_S: u64 = 100;
/// Bytes of a file below `/proc` that are read.
const PROC_MAX: u64 = 4 << 20;

/// The fields of `/proc/PID/stat` that are asked for.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    state: char,
    parent: u32,
    group: u32,
    /// Clock ticks on a processor, in user and kernel mode, with those of children that have ended.
    cpu_ticks: u64,
    /// Clock ticks since the machine started.
    start_ticks: u64,
}

pub fn start_mark(pid: u32) -> Option<String> {
    let stat = stat(pid).filter(Stat::runs)?;
    // Ticks count from the machine's start, so they mean something only together with it.
    let boot = text("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    Some(format!("{}:{}", boot.trim(), stat.start_ticks))
}

pub fn running() -> Vec<Running> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid| {
        let stat = stat(pid)?;
        let cpu = Duration::from_millis(stat.cpu_ticks.saturating_mul(1_000 / TICKS_PER_S));
        stat.runs().then_some(Running { pid, parent: stat.parent, group: stat.group, cpu })
    })
    .collect()
}

/// The proportional set: pages that several processes share count in parts, so that a tree's sum is
/// true. What was swapped out is held too.
pub fn memory_bytes(pid: u32) -> Option<u64> {
    rollup(&text(&format!("/proc/{pid}/smaps_rollup"))?)
}

pub fn command_line(pid: u32) -> String {
    let words = bytes(&format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&words).replace('\0', " ").trim_end().to_owned()
}

pub fn has_environment_entry(pid: u32, entry: &str) -> bool {
    let environment = bytes(&format!("/proc/{pid}/environ")).unwrap_or_default();
    environment.split(|byte| *byte == 0).any(|found| found == entry.as_bytes())
}

impl Stat {
    fn runs(&self) -> bool {
        !matches!(self.state, 'Z' | 'X')
    }
}

fn bytes(path: &str) -> Option<Vec<u8>> {
    files::read(Path::new(path), PROC_MAX).ok()
}

fn text(path: &str) -> Option<String> {
    files::read_to_string(Path::new(path), PROC_MAX).ok()
}

fn stat(pid: u32) -> Option<Stat> {
    parse(&text(&format!("/proc/{pid}/stat"))?)
}

/// The name, in parentheses, may hold anything, parentheses too; the fields come after the last.
fn parse(line: &str) -> Option<Stat> {
    let (_, fields) = line.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    // Counted as in proc(5): state is field 3, the group 5, the start time 22.
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    // Fields 14 to 17: user and kernel, own and of children.
    let mut cpu_ticks = fields.nth(8)?.parse::<u64>().ok()?;
    for _ in 0..3 {
        cpu_ticks = cpu_ticks.saturating_add(fields.next()?.parse().ok()?);
    }
    let start_ticks = fields.nth(4)?.parse().ok()?;
    Some(Stat { state, parent, group, cpu_ticks, start_ticks })
}

fn rollup(text: &str) -> Option<u64> {
    let kb = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
    };
    kb("Pss")?.checked_add(kb("SwapPss").unwrap_or(0))?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_read_whatever_the_program_is_called() {
        let line = "42 (a) b (c) S 1 40 40 0 -1 4194560 9 0 0 0 7 5 2 1 20 0 1 0 777 8 9";
        let read = Stat { state: 'S', parent: 1, group: 40, cpu_ticks: 15, start_ticks: 777 };
        assert_eq!(parse(line), Some(read));
        assert_eq!(parse("42 (cut) S 1"), None);
    }

    #[test]
    fn a_proportional_set_counts_what_was_swapped_out_too() {
        let text = "5568a0e5c000-7ffd22b7e000 ---p 00000000 00:00 0    [rollup]\nRss:  9000 kB\nPss:     3000 kB\nPss_Anon: 1 kB\nSwap: 50 kB\nSwapPss:  24 kB\n";
        assert_eq!(rollup(text), Some(3024 * 1024));
        assert_eq!(rollup("Rss: 9000 kB\n"), None);
    }
}
