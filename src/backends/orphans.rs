//! What a gateway that was killed left behind: each run is written down while its process lives,
//! and the next gateway ends exactly those processes and removes their files. A process is ended
//! only if it has the recorded pid and start time, or carries the run's mark in its environment;
//! whoever got the pid later is left alone.

use super::instance::{log_path, record_path, runs_dir};
use super::logs::old_path;
use crate::system::process::{carrying, group_members, start_mark};
use crate::system::{files, private};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Names the run in the environment of its processes; the value is the run's folder.
pub const MARK: &str = "MLX_GATEWAY_INSTANCE";
/// How long killed processes may take to be gone.
const GONE_WAIT: Duration = Duration::from_secs(2);
/// Ends the name of a record that is being written.
const UNFINISHED: &str = ".new";
/// Bytes of a record.
const RECORD_MAX: u64 = 64 << 10;
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A run's process, as written down beside the run's folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub backend: String,
    pub pid: u32,
    /// The process group.
    pub pgid: u32,
    /// As `system::process::start_mark` gives it.
    pub started: String,
}

/// What was found and ended.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reaped {
    /// Pids of the processes that were ended.
    pub processes: Vec<u32>,
    /// Runs whose files were removed.
    pub runs: usize,
}

impl Record {
    /// Writes it whole or not at all.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let unfinished = unfinished(path);
        private::write(&unfinished, &serde_json::to_vec(self)?)?;
        std::fs::rename(&unfinished, path)
    }

    /// Forgets a run that has ended.
    pub fn remove(path: &Path) {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, file.path = %path.display(), "The record of a run cannot be removed");
            }
            _ => {}
        }
    }
}

/// Ends what an earlier gateway left running, and removes its files. Only for who holds the data
/// directory's lock: every run found is taken to be left behind. Blocks, at most for seconds.
pub fn reap_orphans(data_dir: &Path) -> Reaped {
    let mut reaped = Reaped::default();
    for dir in left_behind(&runs_dir(data_dir)) {
        let record = read_record(&dir);
        let ended = end_run(&dir, record.as_ref());
        if !ended.is_empty() {
            tracing::info!(backend.instance_dir = %dir.display(), backend.pids = ?ended, "Processes of an earlier run were ended");
        }
        reaped.processes.extend(ended);
        reaped.runs += 1;
        remove_files(data_dir, &dir, record.as_ref());
    }
    reaped
}

/// The folders of all runs, those of which only the record is left included.
fn left_behind(runs: &Path) -> BTreeSet<PathBuf> {
    let Ok(entries) = std::fs::read_dir(runs) else { return BTreeSet::new() };
    let run_of = |entry: std::fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        let kind = entry.file_type().ok()?;
        if kind.is_dir() {
            return Some(runs.join(name));
        }
        // A record cut off in its writing still has its working name.
        let name = name.strip_suffix(UNFINISHED).unwrap_or(&name);
        name.strip_suffix(".json").map(|name| runs.join(name))
    };
    entries.flatten().filter_map(run_of).collect()
}

/// Ends the processes of one run; gives those that lived.
fn end_run(dir: &Path, record: Option<&Record>) -> Vec<u32> {
    let mut alive: BTreeSet<u32> = carrying(MARK, &dir.to_string_lossy()).into_iter().collect();
    if let Some(record) = record
        && start_mark(record.pid).is_some_and(|started| started == record.started)
    {
        // While its leader lives the group is certainly this run's.
        alive.insert(record.pid);
        alive.extend(group_members(record.pgid));
        note(record.pgid, killpg(pid(record.pgid), Signal::SIGKILL));
    }
    let marks: Vec<_> = alive.iter().map(|pid| (*pid, start_mark(*pid))).collect();
    alive.iter().for_each(|member| note(*member, kill(pid(*member), Signal::SIGKILL)));
    let deadline = Instant::now() + GONE_WAIT;
    while marks.iter().any(|(pid, mark)| mark.is_some() && start_mark(*pid) == *mark) {
        if Instant::now() >= deadline {
            tracing::warn!(backend.pids = ?alive, "Processes of an earlier run do not end");
            break;
        }
        pause();
    }
    alive.into_iter().collect()
}

/// Removes a run's folder and record, and sets its log aside, so that the next run's begins anew.
fn remove_files(data_dir: &Path, dir: &Path, record: Option<&Record>) {
    if let Err(error) = std::fs::remove_dir_all(dir)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(%error, backend.instance_dir = %dir.display(), "The folder of an earlier run cannot be removed");
    }
    if let Some(record) = record {
        let log = log_path(data_dir, &record.backend);
        if let Err(error) = std::fs::rename(&log, old_path(&log)) {
            tracing::debug!(%error, file.path = %log.display(), "An earlier run left no log");
        }
    }
    Record::remove(&unfinished(&record_path(dir)));
    Record::remove(&record_path(dir));
}

fn read_record(dir: &Path) -> Option<Record> {
    serde_json::from_slice(&files::read(&record_path(dir), RECORD_MAX).ok()?).ok()
}

fn unfinished(record: &Path) -> PathBuf {
    let mut name = record.as_os_str().to_owned();
    name.push(UNFINISHED);
    PathBuf::from(name)
}

#[expect(
    clippy::disallowed_methods,
    reason = "reap_orphans blocks and says so; nothing tells of a stranger's end"
)]
fn pause() {
    std::thread::sleep(LOOK_EVERY);
}

/// A pid that does not fit is nobody's: signals to it fail.
fn pid(number: u32) -> Pid {
    Pid::from_raw(i32::try_from(number).unwrap_or(i32::MAX))
}

fn note(pid: u32, signalled: nix::Result<()>) {
    match signalled {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(error) => {
            tracing::warn!(backend.pid = pid, %error, "A process of an earlier run cannot be ended");
        }
    }
}

#[cfg(test)]
mod tests;
