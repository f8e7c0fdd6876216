//! A backend as it is shown to people. Knows nothing of how it came to be so.

use super::actor::UNUSED_STAY;
use super::gauge::Figures;
use super::needs::Need;
use super::run::ProcessFacts;
use super::state::{Failure, State};
use super::waiters::Slot;
use std::time::Duration;
use tokio::time::Instant;

/// Log lines shown of a backend that did not fail.
const RECENT_LINES: usize = 3;

/// One backend at one moment.
#[derive(Debug, Clone, PartialEq)]
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
    /// How long a request that came now would wait for its turn, where that can be told.
    pub queue_wait: Option<Duration>,
    /// What its processes were last seen to use.
    pub figures: Option<Figures>,
    /// What it is expected to need, as far as that is known without a look at files.
    pub need: Option<Need>,
    pub pinned: bool,
    /// By its profiles, so that only they can let it go.
    pub pinned_by_profile: bool,
    /// Until it is stopped for idleness; `None` while it is used, does not answer or stays.
    pub idle_stop_in: Option<Duration>,
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
    pub(super) fn of(slot: &Slot, view: &View, need: Option<Need>) -> BackendSnapshot {
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
            queue_wait: slot
                .pace()
                .map(|pace| pace.saturating_mul(u32::try_from(slot.queued()).unwrap_or(u32::MAX))),
            figures: slot.figures.load().as_deref().copied(),
            need,
            pinned: slot.is_pinned(),
            pinned_by_profile: spec.pinned,
            idle_stop_in: idle_stop_in(slot, Instant::now()),
            error: failure.map(|failure| failure.reason.clone()),
            log_tail,
        }
    }
}

fn idle_stop_in(slot: &Slot, now: Instant) -> Option<Duration> {
    let limit = slot.idle_limit()?;
    let gate = &slot.current.load_full()?.gate;
    let limit = if gate.last_left().is_some() { limit } else { limit.max(UNUSED_STAY) };
    Some(limit.saturating_sub(now.saturating_duration_since(gate.idle_since()?)))
}

fn failure(state: &State) -> Option<&Failure> {
    match state {
        State::Failed { failure, .. } => Some(failure),
        _ => None,
    }
}
