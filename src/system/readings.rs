//! What the system's own tools say about the machine and about processes, word for word and as read by the
//! parsers here: for reports from machines that nobody here has seen.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::parse;
use super::{Probe, SystemProbe, descendants, process};

/// Bytes of one tool's words that are kept.
const WORDS_MAX: usize = 16 << 10;
/// Time that a tool may take.
const TOOL_LIMIT: Duration = Duration::from_secs(10);
/// Between two looks at a tool that has not ended.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What one tool said.
#[derive(Debug, Clone, Serialize)]
pub struct Reading {
    pub command: String,
    pub said: Option<String>,
    /// Why it said nothing.
    pub error: Option<String>,
    /// What the gateway's parser makes of it, where there is one.
    pub read_as: Option<String>,
}

/// The memory of one process tree by each way there is, in bytes.
#[derive(Debug, Clone, Serialize)]
pub struct TreeMemory {
    pub root: u32,
    pub processes: usize,
    /// As the gateway measures: the proportional set on Linux, the footprint on macOS.
    pub gateway: Option<u64>,
    /// The resident sets that `ps` tells, added up.
    pub resident: Option<u64>,
    /// What `footprint` tells (macOS).
    pub footprint: Option<u64>,
}

type Read = fn(&str) -> String;

/// Tools of this system, with the parser for each.
const TOOLS: &[(&[&str], Option<Read>)] = &[
    (&["uname", "-srm"], None),
    #[cfg(target_os = "macos")]
    (&["sw_vers"], None),
    #[cfg(target_os = "macos")]
    (&["/usr/sbin/sysctl", "-n", "hw.model", "machdep.cpu.brand_string", "hw.memsize", "hw.ncpu"], None),
    #[cfg(target_os = "macos")]
    (
        &["/usr/sbin/sysctl", "-n", "kern.memorystatus_vm_pressure_level"],
        Some(|text| format!("{:?}", parse::vm_pressure_level(text))),
    ),
    #[cfg(target_os = "macos")]
    (
        &["/usr/sbin/sysctl", "-n", "iogpu.wired_limit_mb"],
        Some(|text| format!("working set of 64 GiB: {}", parse::working_set(Some(text), 64 << 30))),
    ),
    #[cfg(target_os = "macos")]
    (
        &["/usr/sbin/ioreg", "-r", "-d", "1", "-w", "0", "-c", "IOAccelerator"],
        Some(|text| format!("{:?}", parse::io_accelerator(text))),
    ),
    #[cfg(target_os = "macos")]
    (&["/usr/bin/pmset", "-g", "therm"], Some(|text| format!("{:?}", parse::thermal(text)))),
    #[cfg(target_os = "macos")]
    (&["vm_stat"], None),
    #[cfg(target_os = "macos")]
    (&["memory_pressure", "-Q"], None),
    #[cfg(target_os = "linux")]
    (&["cat", "/proc/meminfo"], Some(|text| format!("{:?}", parse::MemInfo::read(text)))),
    #[cfg(target_os = "linux")]
    (&["cat", "/proc/pressure/memory"], None),
];

/// What every tool says now. Blocks.
pub fn tools() -> Vec<Reading> {
    TOOLS.iter().map(|(command, read)| reading(command, *read)).collect()
}

/// The machine as the gateway sees it, in words. Blocks.
pub fn machine() -> String {
    format!("{:?}", SystemProbe::default().machine())
}

/// The memory of the tree below `root`, by each way. Blocks.
pub fn tree_memory(root: u32) -> TreeMemory {
    let mut all = descendants(root);
    if !all.contains(&root) {
        all.push(root);
    }
    let parts: Vec<u64> = all.iter().filter_map(|pid| process::memory_bytes(*pid)).collect();
    let list = all.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    let resident = run(&["ps", "-o", "rss=", "-p", &list]).ok().and_then(|text| resident(&text));
    let footprint = if cfg!(target_os = "macos") {
        let mut command = vec!["footprint".to_owned()];
        command.extend(all.iter().map(u32::to_string));
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        run(&command).ok().and_then(|text| footprint(&text))
    } else {
        None
    };
    TreeMemory {
        root,
        processes: all.len(),
        gateway: (!parts.is_empty()).then(|| parts.iter().sum()),
        resident,
        footprint,
    }
}

/// `ps -o rss=`: a figure of KiB for each process.
fn resident(text: &str) -> Option<u64> {
    let kib: Vec<u64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    (!kib.is_empty()).then(|| kib.iter().sum::<u64>() * 1024)
}

/// `footprint` (macOS): the total of several processes, or the one's own. Not seen on hardware.
fn footprint(text: &str) -> Option<u64> {
    let amounts: Vec<(bool, u64)> = text
        .lines()
        .filter_map(|line| {
            let (before, rest) = line.split_once("ootprint: ")?;
            Some((before.to_lowercase().contains("total"), amount(rest)?))
        })
        .collect();
    let total = amounts.iter().find(|(total, _)| *total).map(|(_, bytes)| *bytes);
    total.or_else(|| (!amounts.is_empty()).then(|| amounts.iter().map(|(_, bytes)| bytes).sum()))
}

/// `1234 KB`, `1.5 GB (…)`: in powers of 1024, as Apple's tools count.
fn amount(text: &str) -> Option<u64> {
    let mut words = text.split_whitespace();
    let figure: f64 = words.next()?.parse().ok()?;
    let factor = match words.next()? {
        "B" | "bytes" => 1_u64,
        "KB" => 1 << 10,
        "MB" => 1 << 20,
        "GB" => 1 << 30,
        _ => return None,
    };
    Some((figure * factor as f64) as u64)
}

fn reading(command: &[&str], read: Option<Read>) -> Reading {
    let (said, error) = match run(command) {
        Ok(said) => (Some(said), None),
        Err(error) => (None, Some(error)),
    };
    let read_as = said.as_deref().zip(read).map(|(said, read)| read(said));
    let said = said.map(|mut said| {
        said.truncate(said.floor_char_boundary(WORDS_MAX));
        said
    });
    Reading { command: command.join(" "), said, error, read_as }
}

/// What a tool writes to its standard output, which goes to a file so that no pipe can fill.
fn run(command: &[&str]) -> Result<String, String> {
    let (program, arguments) = command.split_first().ok_or("no tool is named")?;
    let words = |error: std::io::Error| format!("{program}: {error}");
    let mut out = tempfile::tempfile().map_err(words)?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(out.try_clone().map_err(words)?)
        .stderr(Stdio::null())
        .spawn()
        .map_err(words)?;
    let until = Instant::now() + TOOL_LIMIT;
    let status = loop {
        match child.try_wait().map_err(words)? {
            Some(status) => break status,
            None if Instant::now() < until => pause(),
            None => {
                child.kill().and_then(|()| child.wait().map(drop)).map_err(words)?;
                return Err(format!("{program} took longer than {} s", TOOL_LIMIT.as_secs()));
            }
        }
    };
    if !status.success() {
        return Err(format!("{program} ended with {status}"));
    }
    let mut text = Vec::new();
    std::io::Seek::rewind(&mut out).map_err(words)?;
    std::io::Read::read_to_end(&mut out, &mut text).map_err(words)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[expect(clippy::disallowed_methods, reason = "everything here blocks and says so")]
fn pause() {
    std::thread::sleep(LOOK_EVERY);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_of_measuring_this_process_gives_memory_of_the_same_order() {
        let memory = tree_memory(std::process::id());
        let (gateway, resident) = (memory.gateway.unwrap(), memory.resident.unwrap());
        assert!(gateway > 1 << 20 && resident > 1 << 20, "{memory:?}");
        let ratio = gateway as f64 / resident as f64;
        assert!((0.1..=10.0).contains(&ratio), "{memory:?}");
        assert!(memory.processes >= 1);
    }

    #[test]
    fn tools_are_quoted_and_read() {
        let all = tools();
        assert!(all[0].said.as_deref().is_some_and(|said| !said.trim().is_empty()), "{all:?}");
        assert!(
            all.iter().any(|reading| reading.read_as.as_deref().is_some_and(|read| read.contains("Some"))),
            "{all:?}"
        );
        assert!(machine().contains("memory_total: Some"));
    }

    #[test]
    fn a_tool_that_is_missing_or_fails_says_why() {
        assert!(run(&["no-such-tool"]).unwrap_err().contains("no-such-tool"));
        assert!(run(&["sh", "-c", "exit 3"]).unwrap_err().contains("3"));
        assert_eq!(run(&["echo", "x"]), Ok("x\n".into()));
    }

    #[test]
    fn what_footprint_and_ps_print_is_added_up() {
        assert_eq!(resident("  10\n 20\n"), Some(30 * 1024));
        assert_eq!(resident(""), None);
        let one = "python [12]: 64-bit    Footprint: 1.5 MB (16384 bytes per page)\n";
        assert_eq!(footprint(one), Some(3 << 19));
        let two = "a [1]: 64-bit Footprint: 1024 KB\nb [2]: 64-bit Footprint: 1 MB\n";
        assert_eq!(footprint(two), Some(2 << 20));
        assert_eq!(footprint(&format!("{two}Total footprint: 3 MB\n")), Some(3 << 20));
        assert_eq!(footprint("nothing of the kind"), None);
    }
}
