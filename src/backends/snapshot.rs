//! A backend as it is shown to people. Knows nothing of how it came to be so.

use super::run::ProcessFacts;
use super::state::{Failure, State};
use super::waiters::Slot;

/// Log lines shown of a backend that did not fail.
const RECENT_LINES: usize = 3;

/// One backend at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendSnapshot {
    pub id: String,
    /// `stopped`, `preparing`, `loading`, `ready`, `draining`, `stopping` or `failed`.
    pub state: &'static str,
    /// The step of a preparation.
    pub step: Option<String>,
    /// Milliseconds since 1970, UTC: when it came into this state.
    pub since_ms: i64,
    pub pid: Option<u32>,
    pub port: Option<u16>,
    pub argv: Vec<String>,
    pub engine: &'static str,
    pub model: Option<String>,
    pub profiles: Vec<String>,
    pub in_flight: u32,
    pub queued: usize,
    /// Why it failed.
    pub error: Option<String>,
    /// The newest log lines; those of the failure if it failed.
    pub log_tail: Vec<String>,
}

/// What the actor publishes on every change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    pub state: State,
    pub since_ms: i64,
    pub process: Option<ProcessFacts>,
}

impl BackendSnapshot {
    pub(super) fn of(slot: &Slot, view: &View) -> BackendSnapshot {
        let spec = slot.spec.load();
        let failure = failure(&view.state);
        let in_flight = slot.current.load().as_ref().map_or(0, |run| run.gate.count());
        let log_tail = match failure {
            Some(failure) => failure.log_tail.clone(),
            None => slot.logs.tail(RECENT_LINES),
        };
        BackendSnapshot {
            id: slot.id.to_string(),
            state: view.state.name(),
            step: match &view.state {
                State::Preparing { what } => Some(what.clone()),
                _ => None,
            },
            since_ms: view.since_ms,
            pid: view.process.as_ref().map(|process| process.pid),
            port: view.process.as_ref().map(|process| process.port),
            argv: view.process.as_ref().map(|process| process.argv.clone()).unwrap_or_default(),
            engine: spec.settings.engine.name(),
            model: spec.settings.model.as_ref().map(ToString::to_string),
            profiles: spec.profiles.clone(),
            in_flight,
            queued: slot.queued(),
            error: failure.map(|failure| failure.reason.clone()),
            log_tail,
        }
    }
}

fn failure(state: &State) -> Option<&Failure> {
    match state {
        State::Failed { failure, .. } => Some(failure),
        _ => None,
    }
}
