//! One task per backend: the only writer of its state. It carries out what `state` decides, hands
//! leases to those who wait, and sees to idleness. Knows nothing of processes; a `Runner` does.

mod duties;

use super::admission::Admission;
use super::awake::Sleeps;
use super::error::AcquireError;
use super::gate::Gate;
use super::lease::Generation;
use super::run::{Job, MAX_REPORTS, ProcessFacts, Report, Runner};
use super::snapshot::View;
use super::state::{Effect, Event, Failure, Machine, State};
use super::target::Target;
use super::waiters::Slot;
use crate::profiles::LaunchSpec;
use crate::system::clock::Clock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// Commands that may wait for an actor.
pub const MAX_COMMANDS: usize = 32;
/// How long a backend that nobody has used yet stays, however short its `keep_alive`.
pub const UNUSED_STAY: Duration = Duration::from_secs(30);

/// A wait that nobody sees the end of.
const FAR: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// What is asked of an actor beside leases.
#[derive(Debug)]
pub enum Command {
    /// Be ready.
    Start(Answer),
    /// Be ready again, with a new run.
    Restart(Answer),
    /// Be stopped.
    Stop(oneshot::Sender<()>),
    /// Be stopped at once, whoever is inside.
    StopNow(oneshot::Sender<()>),
    /// Stop for good; those inside have until then.
    Shutdown(Instant),
    /// Stop for good, once those inside have finished: its profiles are gone.
    Retire,
}

/// Told once the backend is ready, or why it is not.
pub type Answer = oneshot::Sender<Result<(), AcquireError>>;

/// What an actor works with.
pub struct Tools {
    pub runner: Arc<dyn Runner>,
    pub clock: Arc<dyn Clock>,
    pub tracker: TaskTracker,
    /// How long a stop waits for those inside.
    pub stop_grace: Duration,
    /// Told of every change that can be seen.
    pub changes: Arc<watch::Sender<u64>>,
    pub admission: Arc<Admission>,
    pub sleeps: Arc<Sleeps>,
}

pub struct Actor {
    slot: Arc<Slot>,
    tools: Tools,
    machine: Machine,
    view: watch::Sender<View>,
    run: Option<Run>,
    /// Since when the present run answers, or the last one did.
    ready_since: Instant,
    loading_since: Instant,
    /// When the present run began to wait for memory, and when it was let in.
    held_since: Option<Instant>,
    held_until: Instant,
    /// When the last turn was given while others waited.
    last_turn: Option<Instant>,
    drain_until: Instant,
    /// What the last run was launched with.
    settled: Arc<LaunchSpec>,
    /// Start again once the present run has ended.
    relaunch: bool,
    starters: Vec<Answer>,
    stoppers: Vec<oneshot::Sender<()>>,
    shutting_down: bool,
    /// The machine's sleeps at the last look.
    sleeps: u64,
}

/// The run under way.
struct Run {
    /// What it was launched with.
    spec: Arc<LaunchSpec>,
    reports: mpsc::Receiver<Report>,
    stop: CancellationToken,
    kill: CancellationToken,
    /// An actor that breaks off takes its run along.
    _stops_with_actor: DropGuard,
    process: Option<ProcessFacts>,
    target: Option<Target>,
}

impl Actor {
    pub fn new(slot: Arc<Slot>, tools: Tools) -> (Actor, watch::Receiver<View>) {
        let now = Instant::now();
        let (since_ms, settled) = (tools.clock.unix_ms(), slot.spec.load_full());
        let (view, seen) = watch::channel(View { state: State::Stopped, since_ms, process: None });
        let actor = Actor {
            slot,
            tools,
            machine: Machine::default(),
            view,
            run: None,
            ready_since: now,
            loading_since: now,
            held_since: None,
            held_until: now,
            last_turn: None,
            drain_until: now,
            settled,
            relaunch: false,
            starters: Vec::new(),
            stoppers: Vec::new(),
            shutting_down: false,
            sleeps: 0,
        };
        (actor, seen)
    }

    /// Works until it was told to shut down, or nobody can tell it anything any more.
    pub async fn work(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut orphaned = false;
        loop {
            let deadline = self.settle(Instant::now());
            if self.shutting_down && self.run.is_none() {
                return;
            }
            tokio::select! {
                command = commands.recv(), if !orphaned => match command {
                    Some(command) => self.command(command),
                    None => {
                        orphaned = true;
                        self.shut_down(Instant::now(), |_| AcquireError::ShuttingDown);
                    }
                },
                report = next_report(&mut self.run) => self.report(report),
                () = self.slot.wake.notified() => {}
                () = until(deadline) => {}
            }
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Shutdown(until) => self.shut_down(until, |_| AcquireError::ShuttingDown),
            Command::Retire => {
                self.shut_down(later(Instant::now(), FAR), |profile| AcquireError::Unavailable {
                    profile: profile.to_owned(),
                    reason: "its profile was removed".into(),
                });
            }
            Command::StopNow(answer) => {
                self.stoppers.push(answer);
                self.drain_until = Instant::now();
                self.apply(Event::Stop);
            }
            // Dropped unanswered: whoever asked learns that the gateway is shutting down.
            Command::Start(_) | Command::Restart(_) if self.shutting_down => {}
            Command::Start(answer) => {
                self.remember_starter(answer);
                self.apply(Event::Start);
                self.answer_starters_if_ready();
            }
            Command::Restart(answer) => {
                self.remember_starter(answer);
                self.begin_drain(later(Instant::now(), self.tools.stop_grace));
                self.apply(Event::Restart);
            }
            Command::Stop(answer) => {
                self.stoppers.retain(|waiting| !waiting.is_closed());
                self.stoppers.push(answer);
                self.begin_drain(later(Instant::now(), self.tools.stop_grace));
                self.apply(Event::Stop);
            }
        }
    }

    fn remember_starter(&mut self, answer: Answer) {
        self.starters.retain(|waiting| !waiting.is_closed());
        self.starters.push(answer);
    }

    /// Sets the end of a drain that is about to begin; one under way keeps its own.
    fn begin_drain(&mut self, until: Instant) {
        if self.machine.state == State::Ready {
            self.drain_until = until;
        }
    }

    fn shut_down(&mut self, until: Instant, error: impl Fn(&str) -> AcquireError) {
        self.shutting_down = true;
        self.slot.close_queue();
        self.answer_all(error);
        self.drain_until = until;
        self.apply(Event::Stop);
    }

    fn report(&mut self, report: Report) {
        match report {
            Report::Step(what) => self.apply(Event::Step(what)),
            Report::Spawned(process) => {
                self.loading_since = Instant::now();
                self.slot.pid.store(process.pid, Ordering::Release);
                if let Some(run) = &mut self.run {
                    run.process = Some(process);
                }
                self.apply(Event::Spawned);
            }
            Report::Answered(target) => {
                if let Some(run) = &mut self.run {
                    run.target = Some(*target);
                }
                self.apply(Event::Answered);
            }
            Report::Held(true) => self.held_since = Some(self.held_since.unwrap_or_else(Instant::now)),
            Report::Held(false) => self.held_until = Instant::now(),
            Report::Ended(failure) => {
                if let Some(run) = self.run.take() {
                    self.settled = run.spec;
                }
                self.held_since = None;
                self.slot.pid.store(0, Ordering::Release);
                self.slot.figures.store(None);
                self.log_end(&failure);
                self.apply(Event::Ended(failure));
                if let Some(over) = self.slot.current.swap(None) {
                    over.gate.close();
                }
            }
        }
    }

    fn apply(&mut self, event: Event) {
        let before = self.machine.state.name();
        for effect in self.machine.apply(event, Instant::now()) {
            self.carry_out(effect);
        }
        let after = self.machine.state.name();
        if before != after {
            tracing::debug!(backend.id = %self.slot.id, backend.state = after, "A backend changed its state");
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Launch => self.launch(),
            Effect::OpenGate => self.open_gate(),
            Effect::CloseGate => {
                if let Some(current) = self.slot.current.load().as_ref() {
                    current.gate.close();
                }
            }
            Effect::EndRun => {
                if let Some(run) = &self.run {
                    run.stop.cancel();
                }
            }
            Effect::KillRun => {
                if let Some(run) = &self.run {
                    run.kill.cancel();
                    run.stop.cancel();
                }
            }
            Effect::Fail(failure) => self.answer_all(|profile| failed(profile, &failure)),
            Effect::TurnAway => self.answer_all(|profile| AcquireError::Unavailable {
                profile: profile.to_owned(),
                reason: "it was stopped while the request waited".into(),
            }),
        }
    }

    fn launch(&mut self) {
        let (sender, reports) = mpsc::channel(MAX_REPORTS);
        let (stop, kill) = (CancellationToken::new(), CancellationToken::new());
        self.held_since = None;
        // A wish was about an earlier run.
        self.slot.take_wish();
        let job = Job {
            spec: self.slot.spec.load_full(),
            logs: Arc::clone(&self.slot.logs),
            stop: stop.clone(),
            reports: sender.clone(),
            tracker: self.tools.tracker.clone(),
            slot: Arc::clone(&self.slot),
            kill: kill.clone(),
            admission: Arc::clone(&self.tools.admission),
        };
        let spec = Arc::clone(&job.spec);
        let run = Arc::clone(&self.tools.runner).run(job);
        self.tools.tracker.spawn(async move {
            let ended = Report::Ended(run.await);
            if sender.send(ended).await.is_err() {
                tracing::debug!("A backend's run ended after its actor");
            }
        });
        let guard = stop.clone().drop_guard();
        let (process, target) = (None, None);
        self.run = Some(Run { spec, reports, stop, kill, _stops_with_actor: guard, process, target });
    }

    fn open_gate(&mut self) {
        let Some(run) = &mut self.run else { return };
        let Some(target) = run.target.take() else { return };
        let spec = self.slot.spec.load();
        self.ready_since = Instant::now();
        let generation = Generation {
            backend_id: Arc::clone(&self.slot.id),
            engine: spec.settings.engine,
            target: Arc::new(target),
            pid: run.process.as_ref().map(|process| process.pid),
            gate: Arc::new(Gate::new(spec.max_concurrent, Arc::clone(&self.slot.wake))),
            suspicion: OnceLock::new(),
            vouched: AtomicU64::new(self.sleeps),
            asked: AtomicU64::new(self.sleeps),
            unfinished: AtomicBool::new(false),
        };
        tracing::info!(
            backend.id = %self.slot.id,
            backend.pid = generation.pid,
            backend.address = %generation.target.authority,
            "A backend is ready"
        );
        self.slot.current.store(Some(Arc::new(generation)));
        self.answer_starters_if_ready();
    }

    fn log_end(&self, failure: &Failure) {
        let asked = matches!(self.machine.state, State::Stopping | State::Draining);
        let (id, reason) = (&self.slot.id, &failure.reason);
        if asked {
            tracing::info!(backend.id = %id, "A backend was stopped");
        } else {
            let tail = failure.log_tail.join("\n");
            tracing::warn!(backend.id = %id, error.reason = %reason, backend.log_tail = %tail, "A backend failed");
        }
    }

    /// Does what the present moment asks for, and says when it must be done again at the latest.
    fn settle(&mut self, now: Instant) -> Option<Instant> {
        if self.run.is_none() {
            self.stoppers.drain(..).for_each(|answer| tell(answer, ()));
            let relaunch = std::mem::take(&mut self.relaunch);
            if !self.shutting_down && (relaunch || self.slot.queued() > 0 || !self.starters.is_empty()) {
                self.apply(Event::Wanted);
            }
        }
        self.see_to_settings();
        self.see_to_wishes();
        self.see_to_sleep();
        let deadline = match self.machine.state {
            State::Ready => {
                let queue = self.serve_queue(now);
                let idle = self.see_to_idleness(now);
                queue.into_iter().chain(idle).min()
            }
            State::Preparing { .. } if self.held_since.is_some() => self.see_to_the_held(now),
            State::Draining => self.see_to_draining(now),
            _ => None,
        };
        self.tell_progress();
        self.publish();
        self.tools.admission.poke();
        deadline
    }

    fn publish(&self) {
        let state = &self.machine.state;
        let process = self.run.as_ref().and_then(|run| run.process.as_ref());
        let changed = self.view.send_if_modified(|view| {
            if view.state == *state && view.process.as_ref() == process {
                return false;
            }
            if view.state.name() != state.name() {
                view.since_ms = self.tools.clock.unix_ms();
            }
            view.state = state.clone();
            view.process = process.cloned();
            true
        });
        if changed {
            self.tools.changes.send_modify(|count| *count += 1);
        }
    }

    fn answer_starters_if_ready(&mut self) {
        if self.machine.state == State::Ready {
            self.starters.drain(..).for_each(|answer| tell(answer, Ok(())));
        }
    }

    fn answer_all(&mut self, error: impl Fn(&str) -> AcquireError) {
        let waiters = self.slot.with_queue(|queue| queue.take_if(|_| true));
        for waiter in waiters {
            tell(waiter.answer, Err(error(&self.slot.id)));
        }
        for answer in self.starters.drain(..) {
            tell(answer, Err(error(&self.slot.id)));
        }
    }
}

fn failed(profile: &str, failure: &Failure) -> AcquireError {
    let (profile, log_tail) = (profile.to_owned(), failure.log_tail.clone());
    if let Some(shortage) = failure.shortage {
        return AcquireError::Memory { profile, shortage };
    }
    match failure.timed_out_after {
        Some(after) => AcquireError::StartTimeout { profile, after, log_tail },
        None => AcquireError::Failed { profile, reason: failure.reason.clone(), log_tail },
    }
}

/// That much later; as far as it matters, if somebody configured more than an instant can say.
pub fn later(instant: Instant, wait: Duration) -> Instant {
    instant.checked_add(wait).unwrap_or_else(|| instant + FAR)
}

/// Answers somebody who may have stopped listening; what they do not take is dropped.
fn tell<T>(answer: oneshot::Sender<T>, value: T) {
    drop(answer.send(value));
}

async fn next_report(run: &mut Option<Run>) -> Report {
    match run {
        Some(run) => {
            run.reports.recv().await.unwrap_or_else(|| {
                Report::Ended(Failure::because("its supervision broke off; this is a bug"))
            })
        }
        None => std::future::pending().await,
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
