//! Processes of the benchmark: started, measured from /proc, and ended whatever happens. A reaper
//! process ends what is left when the benchmark itself is killed.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, SysconfVar, getppid, sysconf};

use crate::Outcome;

const TERM_WAIT: Duration = Duration::from_secs(6);
const REAPER_WAIT: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(5);
const PARENT_POLL: Duration = Duration::from_millis(200);

static REAPER: Mutex<Option<ChildStdin>> = Mutex::new(None);

/// A child that is ended with TERM, and after a while with KILL, when dropped.
pub struct Running {
    pub child: Child,
    name: String,
}

impl Running {
    pub fn start(name: &str, command: &mut Command) -> Outcome<Running> {
        let child = command.spawn().map_err(|error| format!("{name} does not start: {error}"))?;
        tell_reaper(&format!("+{}", child.id()));
        Ok(Running { child, name: name.to_owned() })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Fails when it has ended.
    pub fn still_there(&mut self) -> Outcome<()> {
        match self.child.try_wait()? {
            Some(status) => Err(format!("{} has ended: {status}", self.name).into()),
            None => Ok(()),
        }
    }

    /// Its next line on stdout.
    pub fn line(&mut self) -> Outcome<String> {
        let stdout = self.child.stdout.as_mut().ok_or("stdout is not piped")?;
        let mut line = String::new();
        let mut byte = [0];
        // Byte by byte, for a buffer would be lost between calls.
        while stdout.read(&mut byte)? == 1 && byte != [b'\n'] {
            line.push(char::from(byte[0]));
        }
        if line.is_empty() {
            return Err(format!("{} has ended without its answer", self.name).into());
        }
        Ok(line)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let pid = self.child.id();
        let members = tree(pid);
        signal(pid, Signal::SIGTERM);
        let deadline = Instant::now() + TERM_WAIT;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                members.iter().for_each(|pid| signal(*pid, Signal::SIGKILL));
                self.child.wait().ok();
                break;
            }
            std::thread::sleep(POLL);
        }
        tell_reaper(&format!("-{pid}"));
    }
}

/// This program again, in another role.
pub fn role(name: &str) -> Outcome<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(name).stdin(Stdio::null()).stdout(Stdio::piped());
    Ok(command)
}

/// CPU time of the processes, user and system, all their threads, ended ones included.
pub fn cpu(pids: &[u32]) -> Duration {
    let ticks: u64 = pids.iter().filter_map(|pid| cpu_ticks(*pid)).sum();
    let ticks_per_second = sysconf(SysconfVar::CLK_TCK).ok().flatten().map_or(100, |ticks| ticks as u64);
    Duration::from_secs_f64(ticks as f64 / ticks_per_second as f64)
}

/// Proportional set size of the processes together, in MiB.
pub fn pss_mib(pids: &[u32]) -> f64 {
    let kib = |pid: &u32| {
        let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
        line.trim().trim_end_matches(" kB").trim().parse::<f64>().ok()
    };
    pids.iter().filter_map(kib).sum::<f64>() / 1024.0
}

/// The process and everything below it.
pub fn tree(root: u32) -> Vec<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    for pid in entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()) {
        let parent = stat_fields(pid).and_then(|fields| fields.get(1)?.parse::<u32>().ok());
        children.entry(parent.unwrap_or(0)).or_default().push(pid);
    }
    let mut found = vec![root];
    let mut at = 0;
    while let Some(pid) = found.get(at).copied() {
        found.extend(children.remove(&pid).unwrap_or_default());
        at += 1;
    }
    found
}

/// Ends this process as soon as its parent is gone.
pub fn end_with_parent() {
    let parent = getppid();
    std::thread::spawn(move || {
        while getppid() == parent {
            std::thread::sleep(PARENT_POLL);
        }
        signal(std::process::id(), Signal::SIGKILL);
    });
}

/// Starts the process that cleans up after a killed benchmark: what was told to it and `folder`.
pub fn start_reaper(folder: &Path) -> Outcome<Child> {
    let mut command = role("reaper")?;
    command.arg(folder).stdin(Stdio::piped()).stdout(Stdio::null());
    // Ctrl-C reaches the whole foreground group: this one stays to clean up.
    let mut child = command.process_group(0).spawn()?;
    *REAPER.lock().unwrap_or_else(PoisonError::into_inner) = child.stdin.take();
    Ok(child)
}

/// Lets the reaper go; it removes the folder.
pub fn stop_reaper(mut reaper: Child) -> Outcome<()> {
    *REAPER.lock().unwrap_or_else(PoisonError::into_inner) = None;
    reaper.wait()?;
    Ok(())
}

/// `load reaper FOLDER`: learns pids from stdin and acts when that closes.
pub fn reap(args: &[String]) -> Outcome<()> {
    let mut pids = Vec::new();
    for line in BufReader::new(std::io::stdin()).lines() {
        let line = line?;
        match (line.strip_prefix('+'), line.strip_prefix('-')) {
            (Some(pid), _) => pids.push(pid.parse::<u32>()?),
            (_, Some(pid)) => pids.retain(|known| known.to_string() != pid),
            _ => {}
        }
    }
    let members: Vec<u32> = pids.iter().flat_map(|pid| tree(*pid)).collect();
    pids.iter().for_each(|pid| signal(*pid, Signal::SIGTERM));
    let deadline = Instant::now() + REAPER_WAIT;
    while Instant::now() < deadline && members.iter().any(|pid| cpu_ticks(*pid).is_some()) {
        std::thread::sleep(POLL);
    }
    members.iter().for_each(|pid| signal(*pid, Signal::SIGKILL));
    if let Some(folder) = args.first() {
        std::fs::remove_dir_all(folder).ok();
    }
    Ok(())
}

fn tell_reaper(line: &str) {
    let mut reaper = REAPER.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(stdin) = reaper.as_mut() {
        writeln!(stdin, "{line}").ok();
    }
}

fn signal(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid as i32), signal).ok();
}

fn cpu_ticks(pid: u32) -> Option<u64> {
    let fields = stat_fields(pid)?;
    Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
}

/// The fields of /proc/PID/stat after the command's name: state, parent, …
fn stat_fields(pid: u32) -> Option<Vec<String>> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    Some(rest.split(' ').map(str::to_owned).collect())
}
