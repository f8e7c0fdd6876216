//! The life of a backend as pure transitions: (state, event) -> (state, effects). Knows no process,
//! no clock and no waiter; the actor carries the effects out.
//!
//! | state     | a run exists | wanted by a request | stop asked          | the run ended       |
//! |-----------|--------------|---------------------|---------------------|---------------------|
//! | Stopped   | no           | launch              | -                   | -                   |
//! | Preparing | yes          | wait                | end the run         | Failed              |
//! | Loading   | yes          | wait                | end the run         | Failed              |
//! | Ready     | yes          | (enter the gate)    | drain               | Failed: a crash     |
//! | Draining  | yes          | wait for the end    | -                   | Stopped             |
//! | Stopping  | yes          | wait for the end    | -                   | Stopped             |
//! | Failed    | no           | launch, or same     | Stopped             | -                   |
//! |           |              | failure while fresh |                     |                     |

use super::admission::Shortage;
use std::time::Duration;
use tokio::time::Instant;

/// How long a failed start answers for the next ones; doubles with each failure in a row.
pub const FIRST_BACKOFF: Duration = Duration::from_secs(1);
/// The longest that a failed start answers for the next ones.
pub const MAX_BACKOFF: Duration = Duration::from_secs(30);
/// A backend that answered for so long before it crashed is not in a loop.
pub const STABLE_AFTER: Duration = Duration::from_secs(60);
/// Crashes in a row after which the next start is put off.
pub const FREE_CRASHES: u32 = 2;
/// Crashes in a row after which it stays stopped until somebody starts it.
pub const MAX_CRASHES: u32 = 6;
/// A wait that nobody sees the end of.
const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    Stopped,
    /// Being installed, its model being resolved.
    Preparing {
        what: String,
    },
    /// The process runs and does not answer yet.
    Loading,
    Ready,
    /// Nobody enters any more; those inside may finish.
    Draining,
    /// The run was told to end.
    Stopping,
    Failed {
        failure: Failure,
        /// Until then the same failure is the answer.
        retry_at: Instant,
    },
}

/// Why a run ended without being asked to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub reason: String,
    /// The newest lines of the run's log.
    pub log_tail: Vec<String>,
    /// Set when it did not answer within `timeouts.start`.
    pub timed_out_after: Option<Duration>,
    /// Set when it can never be given the memory that it needs.
    pub shortage: Option<Shortage>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A request waits.
    Wanted,
    /// Somebody asked for a start in so many words.
    Start,
    /// End it once those inside have finished; who waits is turned away.
    Stop,
    /// End it once those inside have finished, for those who wait.
    Restart,
    /// The run does a step of its preparation.
    Step(String),
    /// The run has a process.
    Spawned,
    /// The run answers.
    Answered,
    /// The run is over and has left nothing behind. Always a run's last event.
    Ended(Failure),
    /// The gate was found idle for long enough, and is closed.
    Idle,
    /// Nobody is inside a closed gate any more, or the wait for that is over.
    Drained,
    /// Another backend or other launch settings need it to end once those inside have finished.
    Yield,
    /// Nobody waits any more for a start that has not been let in.
    Abandoned,
    /// It has requests and does nothing: it is ended at once, for this reason.
    Wedged(Failure),
    /// Its launch settings changed, so an old failure says nothing.
    Renewed,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Begin a run.
    Launch,
    /// Let requests in.
    OpenGate,
    /// Let no more requests in.
    CloseGate,
    /// Tell the run to end.
    EndRun,
    /// End the run without asking its process first.
    KillRun,
    /// All who wait get this failure.
    Fail(Failure),
    /// All who wait are told that it was stopped.
    TurnAway,
}

/// A backend's state, and how often it failed to start in a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    pub state: State,
    pub failures: u32,
    /// Ends after it had answered, in a row.
    pub crashes: u32,
    /// When the present run answered.
    pub answered_at: Option<Instant>,
    /// Why the present run is being ended, when nobody asked for it.
    pub blame: Option<Failure>,
}

impl State {
    pub fn name(&self) -> &'static str {
        match self {
            State::Stopped => "stopped",
            State::Preparing { .. } => "preparing",
            State::Loading => "loading",
            State::Ready => "ready",
            State::Draining => "draining",
            State::Stopping => "stopping",
            State::Failed { .. } => "failed",
        }
    }
}

impl Default for Machine {
    fn default() -> Self {
        Machine { state: State::Stopped, failures: 0, crashes: 0, answered_at: None, blame: None }
    }
}

impl Machine {
    /// What `event` makes of the state at `now`, and what is to be done.
    pub fn apply(&mut self, event: Event, now: Instant) -> Vec<Effect> {
        let state = std::mem::replace(&mut self.state, State::Stopped);
        let (state, effects) = match event {
            Event::Wanted => wanted(state, now),
            Event::Start => self.start(state),
            Event::Stop => {
                // Whatever was wrong with the run, it was asked to end.
                self.blame = None;
                stop(state)
            }
            Event::Restart => self.restart(state),
            Event::Step(what) => (stepped(state, what), vec![]),
            Event::Spawned => (spawned(state), vec![]),
            Event::Answered => self.answered(state, now),
            Event::Yield => yielding(state),
            Event::Abandoned => abandoned(state),
            Event::Wedged(failure) => self.wedged(state, failure),
            Event::Renewed => self.renewed(state),
            Event::Ended(failure) => self.ended(state, failure, now),
            Event::Idle => idle(state),
            Event::Drained => drained(state),
        };
        self.state = state;
        effects
    }

    fn start(&mut self, state: State) -> (State, Vec<Effect>) {
        if !matches!(state, State::Stopped | State::Failed { .. }) {
            return (state, vec![]);
        }
        (self.failures, self.crashes) = (0, 0);
        launch()
    }

    fn restart(&mut self, state: State) -> (State, Vec<Effect>) {
        match state {
            State::Preparing { .. } | State::Loading => (State::Stopping, vec![Effect::EndRun]),
            State::Ready => (State::Draining, vec![Effect::CloseGate]),
            other => self.start(other),
        }
    }

    fn answered(&mut self, state: State, now: Instant) -> (State, Vec<Effect>) {
        match state {
            State::Preparing { .. } | State::Loading => {
                self.failures = 0;
                self.answered_at = Some(now);
                (State::Ready, vec![Effect::OpenGate])
            }
            other => (other, vec![]),
        }
    }

    fn ended(&mut self, state: State, failure: Failure, now: Instant) -> (State, Vec<Effect>) {
        match state {
            State::Preparing { .. } | State::Loading if failure.shortage.is_some() => {
                // What runs may be another thing the next moment, so nothing is held back.
                let tell = vec![Effect::Fail(failure.clone())];
                (State::Failed { failure, retry_at: now }, tell)
            }
            State::Preparing { .. } | State::Loading => {
                let retry_at = now + backoff(self.failures);
                self.failures = self.failures.saturating_add(1);
                let tell = vec![Effect::Fail(failure.clone())];
                (State::Failed { failure, retry_at }, tell)
            }
            State::Ready => (self.crashed(failure, now), vec![Effect::CloseGate]),
            State::Draining | State::Stopping | State::Stopped => match self.blame.take() {
                Some(blame) => (self.crashed(Failure { log_tail: failure.log_tail, ..blame }, now), vec![]),
                None => {
                    self.crashes = 0;
                    (State::Stopped, vec![])
                }
            },
            failed @ State::Failed { .. } => (failed, vec![]),
        }
    }

    /// A backend that had answered may well be healthy again at the next request. One that crashes
    /// again and again is given more and more time, and then given up.
    fn crashed(&mut self, mut failure: Failure, now: Instant) -> State {
        let stable = self.answered_at.is_some_and(|at| now.saturating_duration_since(at) >= STABLE_AFTER);
        self.crashes = if stable { 1 } else { self.crashes.saturating_add(1) };
        let retry_at = if self.crashes >= MAX_CRASHES {
            failure.reason = format!(
                "{}; it crashed {} times in a row and stays stopped until somebody starts it",
                failure.reason, self.crashes
            );
            now + FOR_EVER
        } else if self.crashes > FREE_CRASHES {
            now + backoff(self.crashes - FREE_CRASHES - 1)
        } else {
            now
        };
        State::Failed { failure, retry_at }
    }

    fn wedged(&mut self, state: State, failure: Failure) -> (State, Vec<Effect>) {
        match state {
            State::Ready | State::Draining => {
                self.blame = Some(failure);
                (State::Stopping, vec![Effect::CloseGate, Effect::KillRun])
            }
            other => (other, vec![]),
        }
    }

    fn renewed(&mut self, state: State) -> (State, Vec<Effect>) {
        (self.failures, self.crashes) = (0, 0);
        match state {
            State::Failed { .. } => (State::Stopped, vec![]),
            other => (other, vec![]),
        }
    }
}

/// How long the failure after `failures` earlier ones answers for the next requests.
fn backoff(failures: u32) -> Duration {
    FIRST_BACKOFF.saturating_mul(1 << failures.min(16)).min(MAX_BACKOFF)
}

fn launch() -> (State, Vec<Effect>) {
    (State::Preparing { what: "starting".into() }, vec![Effect::Launch])
}

fn wanted(state: State, now: Instant) -> (State, Vec<Effect>) {
    match state {
        State::Stopped => launch(),
        State::Failed { retry_at, .. } if now >= retry_at => launch(),
        State::Failed { failure, retry_at } => {
            let tell = vec![Effect::Fail(failure.clone())];
            (State::Failed { failure, retry_at }, tell)
        }
        other => (other, vec![]),
    }
}

fn stop(state: State) -> (State, Vec<Effect>) {
    match state {
        State::Preparing { .. } | State::Loading => (State::Stopping, vec![Effect::EndRun, Effect::TurnAway]),
        State::Ready => (State::Draining, vec![Effect::CloseGate, Effect::TurnAway]),
        State::Draining | State::Stopping => (state, vec![Effect::TurnAway]),
        State::Stopped | State::Failed { .. } => (State::Stopped, vec![Effect::TurnAway]),
    }
}

fn stepped(state: State, what: String) -> State {
    match state {
        // A second attempt on another port prepares once more.
        State::Preparing { .. } | State::Loading => State::Preparing { what },
        other => other,
    }
}

fn spawned(state: State) -> State {
    match state {
        State::Preparing { .. } => State::Loading,
        other => other,
    }
}

fn idle(state: State) -> (State, Vec<Effect>) {
    match state {
        State::Ready => (State::Stopping, vec![Effect::EndRun]),
        other => (other, vec![]),
    }
}

fn drained(state: State) -> (State, Vec<Effect>) {
    match state {
        State::Draining => (State::Stopping, vec![Effect::EndRun]),
        other => (other, vec![]),
    }
}

fn yielding(state: State) -> (State, Vec<Effect>) {
    match state {
        State::Ready => (State::Draining, vec![Effect::CloseGate]),
        other => (other, vec![]),
    }
}

fn abandoned(state: State) -> (State, Vec<Effect>) {
    match state {
        State::Preparing { .. } => (State::Stopping, vec![Effect::EndRun]),
        other => (other, vec![]),
    }
}

#[cfg(test)]
mod tests;
