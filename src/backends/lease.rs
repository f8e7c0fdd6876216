//! One run of a backend that answers, and the places requests hold in it. Knows nothing of how the
//! run came to be.

use super::gate::{Gate, Pass};
use super::target::Target;
use crate::config::EngineKind;
use crate::system;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// A ready backend, from its first answer until it is let go.
#[derive(Debug)]
pub struct Generation {
    pub backend_id: Arc<str>,
    pub engine: EngineKind,
    pub target: Arc<Target>,
    pub pid: Option<u32>,
    pub gate: Arc<Gate>,
    /// Why a request found it stuck; its actor ends it for that.
    pub suspicion: OnceLock<String>,
    /// After so many of the machine's sleeps it was known to answer.
    pub vouched: AtomicU64,
    /// After so many it was last asked.
    pub asked: AtomicU64,
    /// A lease was dropped without an end of its request since the last turn.
    pub unfinished: AtomicBool,
}

/// The right to send one request to a ready backend. As long as it lives the backend counts as
/// busy: keep it until the last byte has gone. Dropping it gives the place back.
#[derive(Debug)]
pub struct Lease {
    generation: Arc<Generation>,
    queue_ms: f64,
    start_ms: f64,
    is_finished: bool,
    _pass: Pass,
}

impl Generation {
    /// A lease, when there is a place, nobody queues, and it was heard of since the machine slept last.
    pub(super) fn try_lease(self: &Arc<Generation>, sleeps: u64) -> Option<Lease> {
        if !self.is_vouched(sleeps) {
            return None;
        }
        self.gate.try_enter().map(|pass| self.lease(pass, 0.0, 0.0))
    }

    /// Whether it answered after that many of the machine's sleeps.
    pub(super) fn is_vouched(&self, sleeps: u64) -> bool {
        self.vouched.load(Ordering::Acquire) >= sleeps
    }

    /// Whether it has to be asked, by whoever asks this first.
    pub(super) fn is_to_be_asked(&self, sleeps: u64) -> bool {
        !self.is_vouched(sleeps) && self.asked.fetch_max(sleeps, Ordering::AcqRel) < sleeps
    }

    /// Returns whether a place may have become free for another reason than the end of an answer, and forgets that.
    pub(super) fn take_unfinished(&self) -> bool {
        self.unfinished.swap(false, Ordering::AcqRel)
    }

    /// It answers.
    pub(super) fn vouch(&self, sleeps: u64) {
        self.vouched.fetch_max(sleeps, Ordering::AcqRel);
        self.gate.wake();
    }

    /// It is stuck: its actor ends it for that reason.
    pub(super) fn suspect(&self, why: String) {
        if self.suspicion.set(why).is_ok() {
            self.gate.wake();
        }
    }

    pub(super) fn lease(self: &Arc<Generation>, pass: Pass, queue_ms: f64, start_ms: f64) -> Lease {
        Lease { generation: Arc::clone(self), queue_ms, start_ms, is_finished: false, _pass: pass }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // Before the pass gives the place back.
        if !self.is_finished {
            self.generation.unfinished.store(true, Ordering::Release);
        }
    }
}

impl Lease {
    /// Where the request goes.
    pub fn target(&self) -> &Arc<Target> {
        &self.generation.target
    }

    /// Milliseconds the request waited for a turn at a ready backend.
    pub fn queue_ms(&self) -> f64 {
        self.queue_ms
    }

    /// Milliseconds the request waited for the backend to be installed and started.
    pub fn start_ms(&self) -> f64 {
        self.start_ms
    }

    /// Which engine answers, for its quirks.
    pub fn engine(&self) -> EngineKind {
        self.generation.engine
    }

    /// The backend's id, as the servers are listed by.
    pub fn backend_id(&self) -> &str {
        &self.generation.backend_id
    }

    /// Processor time its process tree has used so far; none where there is no process to look at.
    /// Takes milliseconds: ask only when something looks wrong.
    pub fn cpu_time(&self) -> Option<Duration> {
        self.pid().and_then(system::tree_time)
    }

    /// Tells its supervisor that it has a request and does nothing: the process is ended at once and
    /// a new one started when it is wanted. Nothing happens where there is no process of ours.
    pub fn suspect(&self, why: impl Into<String>) {
        if self.generation.pid.is_some() {
            self.generation.suspect(why.into());
        }
    }

    /// Records that its request came to an end of its own. One that is dropped before was left by its client or cancelled,
    /// and says nothing about how long others take.
    pub fn set_finished(&mut self) {
        self.is_finished = true;
    }

    /// Whether its supervisor was told to end it.
    pub fn is_suspect(&self) -> bool {
        self.generation.suspicion.get().is_some()
    }

    /// Whether its process is known to have ended; false where there is none to look at.
    pub fn is_gone(&self) -> bool {
        self.pid().is_some_and(|pid| system::process::start_mark(pid).is_none())
    }

    /// The process that serves it; none for `engine = "url"`.
    pub fn pid(&self) -> Option<u32> {
        self.generation.pid
    }
}
