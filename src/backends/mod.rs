//! Supervision of model servers: ask for a lease, and the backend is installed, started, shared and
//! stopped as needed. Knows nothing of HTTP to clients, of routing, or of what requests say.
//!
//! A request that finds its backend ready passes one atomic gate (`gate`). Any other waits in the
//! backend's queue (`queue`, `waiters`) for its actor (`actor`), the only writer of its state, which
//! carries out the pure transitions of `state`. What a run does to the machine (`process_run`:
//! prepare, spawn, watch, end, clean up) the actor does not know.

pub mod engine;

#[allow(dead_code, reason = "wip")]
mod admission;
mod actor;
mod error;
mod gate;
mod instance;
mod launcher;
mod lease;
mod logs;
mod orphans;
mod ports;
mod process;
mod process_run;
mod progress;
mod queue;
mod readiness;
mod run;
mod snapshot;
mod state;
mod target;
#[cfg(test)]
mod testing;
mod waiters;

pub use crate::profiles::LaunchSpec;
pub use error::AcquireError;
pub use launcher::{Command as LaunchCommand, LaunchError, Launcher, Readiness};
pub use lease::Lease;
pub use logs::{LogBatch, LogLine, LogReader};
pub use orphans::{Reaped, reap_orphans};
pub use progress::{Progress, Waiting};
pub use snapshot::BackendSnapshot;
pub use target::{Target, TargetError};

use crate::system::clock::Clock;
use actor::{Actor, Command, MAX_COMMANDS, Tools};
use arc_swap::ArcSwap;
use logs::LogBuffer;
use process_run::ProcessRunner;
use run::Runner;
use snapshot::View;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use waiters::Slot;

/// What supervision needs of the rest.
pub struct BackendsDeps {
    /// Runs live in `run/` below it, logs in `logs/`.
    pub data_dir: PathBuf,
    pub launcher: Arc<dyn Launcher>,
    pub clock: Arc<dyn Clock>,
    /// How long an asked-for stop or restart waits for requests that are inside.
    pub stop_grace: Duration,
}

/// All backends; a cheap handle.
#[derive(Clone)]
pub struct Backends(Arc<Inner>);

struct Inner {
    slots: ArcSwap<BTreeMap<String, Arc<Handle>>>,
    adding: Mutex<()>,
    shutting_down: AtomicBool,
    tracker: TaskTracker,
    runner: Arc<dyn Runner>,
    clock: Arc<dyn Clock>,
    stop_grace: Duration,
    /// Counts changes of any backend's state.
    changes: Arc<watch::Sender<u64>>,
}

/// One backend: what requests share with its actor, and the way to tell the actor something.
struct Handle {
    slot: Arc<Slot>,
    commands: mpsc::Sender<Command>,
    view: watch::Receiver<View>,
}

impl Backends {
    pub fn new(deps: BackendsDeps) -> Backends {
        let BackendsDeps { data_dir, launcher, clock, stop_grace } = deps;
        let runner = Arc::new(ProcessRunner::new(data_dir, launcher));
        Backends::with_runner(runner, clock, stop_grace)
    }

    fn with_runner(runner: Arc<dyn Runner>, clock: Arc<dyn Clock>, stop_grace: Duration) -> Backends {
        Backends(Arc::new(Inner {
            slots: ArcSwap::default(),
            adding: Mutex::new(()),
            shutting_down: AtomicBool::new(false),
            tracker: TaskTracker::new(),
            runner,
            clock,
            stop_grace,
            changes: Arc::new(watch::Sender::new(0)),
        }))
    }

    /// Makes backends known without starting them, so that `snapshot` shows them.
    pub fn declare<'a>(&self, specs: impl IntoIterator<Item = &'a Arc<LaunchSpec>>) {
        for spec in specs {
            self.0.handle(spec);
        }
    }

    /// A lease if the backend is ready, has a place, and nobody queues: a few atomics, no wait.
    pub fn try_acquire(&self, spec: &LaunchSpec) -> Option<Lease> {
        self.0.slots.load().get(&spec.id)?.slot.try_lease()
    }

    /// A lease on a ready backend, whatever that takes: starting it, waiting for a start under way,
    /// waiting for a turn. Dropping the future gives the place in the queue up.
    ///
    /// | the backend is      | what happens                                                    |
    /// |---------------------|-----------------------------------------------------------------|
    /// | ready, a place free | the lease, at once                                              |
    /// | ready, full         | waits for a turn, up to `queue.timeout`                         |
    /// | starting            | waits; if the start fails, its failure                          |
    /// | stopped, crashed    | is started                                                      |
    /// | failed just now     | the same failure, without another try                           |
    /// | draining, stopping  | waits for the end, then is started again                        |
    ///
    /// `lane` names the caller for fairness (`Caller::fairness`); `progress` is told what is waited
    /// for.
    pub async fn acquire(
        &self,
        spec: &Arc<LaunchSpec>,
        lane: &Arc<str>,
        progress: &Progress,
    ) -> Result<Lease, AcquireError> {
        let handle = self.0.open_handle(spec)?;
        if let Some(lease) = handle.slot.try_lease() {
            return Ok(lease);
        }
        handle.slot.remember(spec);
        handle.slot.enqueue(lane, progress)?.answer().await
    }

    /// Starts it, even if it failed just now, and waits until it is ready.
    pub async fn start(&self, spec: &Arc<LaunchSpec>) -> Result<(), AcquireError> {
        self.ask(spec, Command::Start).await
    }

    /// Stops it once those inside have finished, starts it again, and waits until it is ready.
    pub async fn restart(&self, spec: &Arc<LaunchSpec>) -> Result<(), AcquireError> {
        self.ask(spec, Command::Restart).await
    }

    /// Stops it once those inside have finished (at most the grace), turns away who waits, and
    /// waits for its end. False: no backend has that id.
    pub async fn stop(&self, id: &str) -> bool {
        let Some(handle) = self.0.slots.load().get(id).cloned() else { return false };
        let (answer, stopped) = oneshot::channel();
        if handle.commands.send(Command::Stop(answer)).await.is_ok() {
            // An actor that has gone before answering has stopped its backend too.
            drop(stopped.await);
        }
        true
    }

    /// All known backends, by id.
    pub fn snapshot(&self) -> Vec<BackendSnapshot> {
        let slots = self.0.slots.load();
        slots.values().map(|h| BackendSnapshot::of(&h.slot, &h.view.borrow())).collect()
    }

    /// Tells of every change of a backend's state, step or process.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// The newest log lines of a backend, and those to come.
    pub fn logs(&self, id: &str) -> Option<LogReader> {
        Some(LogReader::new(Arc::clone(&self.0.slots.load().get(id)?.slot.logs)))
    }

    /// Gives no more leases, waits up to `grace` for those given, stops all backends at once, and
    /// returns when no process is left. Called again, it can only shorten the grace.
    pub async fn shutdown(&self, grace: Duration) {
        let until = actor::later(Instant::now(), grace);
        {
            // Whoever adds a backend now sees the flag or is seen here.
            let _adding = self.0.adding.lock().unwrap_or_else(PoisonError::into_inner);
            self.0.shutting_down.store(true, Ordering::Release);
        }
        for handle in self.0.slots.load().values() {
            if handle.commands.send(Command::Shutdown(until)).await.is_err() {
                tracing::debug!(backend.id = %handle.slot.id, "A backend had shut down already");
            }
        }
        self.0.tracker.close();
        self.0.tracker.wait().await;
    }

    async fn ask(
        &self,
        spec: &Arc<LaunchSpec>,
        command: fn(actor::Answer) -> Command,
    ) -> Result<(), AcquireError> {
        let handle = self.0.open_handle(spec)?;
        handle.slot.remember(spec);
        let (answer, outcome) = oneshot::channel();
        let sent = handle.commands.send(command(answer)).await;
        sent.map_err(|_gone| AcquireError::ShuttingDown)?;
        outcome.await.unwrap_or(Err(AcquireError::ShuttingDown))
    }
}

impl Inner {
    fn open_handle(&self, spec: &Arc<LaunchSpec>) -> Result<Arc<Handle>, AcquireError> {
        self.handle(spec).ok_or(AcquireError::ShuttingDown)
    }

    /// The backend of that spec, made known if it was not; none once the shutdown has begun.
    fn handle(&self, spec: &Arc<LaunchSpec>) -> Option<Arc<Handle>> {
        if self.shutting_down.load(Ordering::Acquire) {
            return None;
        }
        if let Some(handle) = self.slots.load().get(&spec.id) {
            return Some(Arc::clone(handle));
        }
        let _adding = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
        if self.shutting_down.load(Ordering::Acquire) {
            return None;
        }
        let mut slots = BTreeMap::clone(&self.slots.load());
        if let Some(handle) = slots.get(&spec.id) {
            return Some(Arc::clone(handle));
        }
        let handle = Arc::new(self.add(spec));
        slots.insert(spec.id.clone(), Arc::clone(&handle));
        self.slots.store(Arc::new(slots));
        Some(handle)
    }

    fn add(&self, spec: &Arc<LaunchSpec>) -> Handle {
        let slot = Arc::new(Slot::new(spec, Arc::new(LogBuffer::default())));
        let tools = Tools {
            runner: Arc::clone(&self.runner),
            clock: Arc::clone(&self.clock),
            tracker: self.tracker.clone(),
            stop_grace: self.stop_grace,
            changes: Arc::clone(&self.changes),
        };
        let (commands, inbox) = mpsc::channel(MAX_COMMANDS);
        let (actor, view) = Actor::new(Arc::clone(&slot), tools);
        self.tracker.spawn(actor.work(inbox));
        Handle { slot, commands, view }
    }
}
