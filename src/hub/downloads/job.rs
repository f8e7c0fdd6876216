//! One download as it stands: what is asked of it, how far it is, and how that is shown. Knows no
//! network and no disk.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::pace::Speed;
use super::state::Status;
use crate::hub::files::RepoFile;
use crate::store::downloads::DownloadRow;

/// A download and its task's ends.
pub struct Job {
    pub id: String,
    pub model: String,
    pub created_at: i64,
    state: Mutex<State>,
    /// Counts changes, for those who wait for one.
    version: watch::Sender<u64>,
    /// Held by the one task at work on it.
    pub turn: tokio::sync::Mutex<()>,
}

struct State {
    status: Status,
    reason: Option<String>,
    note: Option<String>,
    commit: Option<String>,
    files: Vec<Arc<FileState>>,
    /// As the store knew them, until the files are known.
    known: (u64, Option<u64>),
    speed: Speed,
    file_speeds: Vec<Speed>,
    updated_at: i64,
    stop: CancellationToken,
}

/// How far one file is.
#[derive(Debug)]
pub struct FileState {
    pub file: RepoFile,
    done: AtomicU64,
    received: AtomicU64,
}

/// A download, as the API and its events show it.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct DownloadView {
    pub id: String,
    pub model: String,
    pub status: Status,
    /// Why it failed.
    pub reason: Option<String>,
    /// What it waits for.
    pub note: Option<String>,
    /// The commit that is fetched, once it is known.
    pub commit: Option<String>,
    pub created_at_ms: i64,
    pub updated_at_ms: i64,
    pub done_bytes: u64,
    /// Null until the hub has said it.
    pub total_bytes: Option<u64>,
    /// Over the last five seconds; null when it does not run.
    pub bytes_per_s: Option<f64>,
    pub eta_s: Option<f64>,
    pub files: Vec<FileView>,
}

/// One file of a download.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct FileView {
    pub path: String,
    pub done_bytes: u64,
    pub total_bytes: u64,
    pub bytes_per_s: Option<f64>,
    pub eta_s: Option<f64>,
}

impl FileState {
    pub fn new(file: RepoFile, done: u64) -> FileState {
        FileState { file, done: AtomicU64::new(done), received: AtomicU64::new(0) }
    }

    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Bytes that came in over the network, those thrown away included.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    pub fn set_done(&self, bytes: u64) {
        self.done.store(bytes, Ordering::Relaxed);
    }

    pub fn add(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
        self.received.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Job {
    pub fn new(id: String, model: String, now_ms: i64) -> Job {
        Job::from_row(DownloadRow {
            id,
            model,
            status: Status::Queued.name().to_owned(),
            reason: None,
            commit: None,
            created_at: now_ms,
            updated_at: now_ms,
            done_bytes: 0,
            total_bytes: None,
        })
    }

    /// As an earlier run of the gateway left it: what was running is queued.
    pub fn from_row(row: DownloadRow) -> Job {
        let status = match Status::from_name(&row.status) {
            Some(Status::Running) => Status::Queued,
            other => other.unwrap_or(Status::Failed),
        };
        Job {
            id: row.id,
            model: row.model,
            created_at: row.created_at,
            state: Mutex::new(State {
                status,
                reason: row.reason,
                note: None,
                commit: row.commit,
                files: Vec::new(),
                known: (row.done_bytes, row.total_bytes),
                speed: Speed::default(),
                file_speeds: Vec::new(),
                updated_at: row.updated_at,
                stop: CancellationToken::new(),
            }),
            version: watch::Sender::new(0),
            turn: tokio::sync::Mutex::default(),
        }
    }

    pub fn row(&self) -> DownloadRow {
        let view = self.view();
        DownloadRow {
            id: view.id,
            model: view.model,
            status: view.status.name().to_owned(),
            reason: view.reason,
            commit: view.commit,
            created_at: view.created_at_ms,
            updated_at: view.updated_at_ms,
            done_bytes: view.done_bytes,
            total_bytes: view.total_bytes,
        }
    }

    pub fn status(&self) -> Status {
        self.state().status
    }

    /// Goes to `status` where `from` still holds; an earlier reason is forgotten.
    pub fn change(&self, from: Status, status: Status, reason: Option<String>, now_ms: i64) -> bool {
        let mut state = self.state();
        if state.status != from {
            return false;
        }
        (state.status, state.reason, state.note, state.updated_at) = (status, reason, None, now_ms);
        state.speed = Speed::default();
        state.file_speeds.clear();
        true
    }

    /// A new token for a new task.
    pub fn arm(&self) -> CancellationToken {
        let mut state = self.state();
        state.stop = CancellationToken::new();
        state.stop.clone()
    }

    /// Tells the task to end.
    pub fn stop(&self) {
        self.state().stop.cancel();
    }

    pub fn set_files(&self, commit: &str, files: Vec<Arc<FileState>>) {
        let mut state = self.state();
        state.commit = Some(commit.to_owned());
        state.files = files;
    }

    pub fn set_note(&self, note: Option<String>) {
        self.state().note = note;
    }

    /// Bytes that this download still has to write.
    pub fn remaining(&self) -> u64 {
        let view = self.state().sums();
        view.1.map_or(0, |total| total.saturating_sub(view.0))
    }

    /// Takes a sample of the speed.
    pub fn sample(&self, now: Instant) {
        let mut state = self.state();
        let (done, _) = state.sums();
        state.speed.note(now, done);
        let all: Vec<u64> = state.files.iter().map(|file| file.done()).collect();
        state.file_speeds.resize_with(all.len(), Speed::default);
        for (speed, done) in state.file_speeds.iter_mut().zip(all) {
            speed.note(now, done);
        }
    }

    pub fn view(&self) -> DownloadView {
        let state = self.state();
        let (done, total) = state.sums();
        let running = state.status == Status::Running;
        let figure = |value: Option<f64>| value.filter(|_| running);
        let files = state.files.iter().enumerate().map(|(at, file)| {
            let speed = state.file_speeds.get(at);
            let remaining = file.file.size.saturating_sub(file.done());
            FileView {
                path: file.file.path.clone(),
                done_bytes: file.done(),
                total_bytes: file.file.size,
                bytes_per_s: figure(speed.and_then(Speed::bytes_per_s)),
                eta_s: figure(speed.and_then(|speed| speed.eta_s(remaining))),
            }
        });
        let remaining = total.unwrap_or_default().saturating_sub(done);
        DownloadView {
            id: self.id.clone(),
            model: self.model.clone(),
            status: state.status,
            reason: state.reason.clone(),
            note: state.note.clone(),
            commit: state.commit.clone(),
            created_at_ms: self.created_at,
            updated_at_ms: state.updated_at,
            done_bytes: done,
            total_bytes: total,
            bytes_per_s: figure(state.speed.bytes_per_s()),
            eta_s: figure(total.and_then(|_| state.speed.eta_s(remaining))),
            files: files.collect(),
        }
    }

    /// Wakes those who wait for a change.
    pub fn announce(&self) {
        self.version.send_modify(|version| *version += 1);
    }

    /// Changes from now on.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Bytes done, and in all.
    fn sums(&self) -> (u64, Option<u64>) {
        if self.files.is_empty() {
            return self.known;
        }
        let done = self.files.iter().map(|file| file.done()).sum();
        (done, Some(self.files.iter().map(|file| file.file.size).sum()))
    }
}

/// What a download waits for, for people.
pub fn waiting_note(problem: &dyn std::fmt::Display, wait: Duration) -> String {
    format!("{problem}; it is tried again in {} s", wait.as_secs_f64().ceil())
}
