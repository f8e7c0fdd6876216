//! Supervision of model servers: ask for a lease, and the backend is installed, started, shared and
//! stopped as needed. Knows nothing of HTTP to clients, of routing, or of what requests say.
//!
//! A request that finds its backend ready passes one atomic gate (`gate`). Any other waits in the
//! backend's queue (`queue`, `waiters`) for its actor (`actor`), the only writer of its state, which
//! carries out the pure transitions of `state`. What a run does to the machine (`process_run`:
//! prepare, spawn, watch, end, clean up) the actor does not know.

pub mod engine;

mod actor;
pub mod admission;
mod awake;
mod error;
mod gate;
mod gauge;
mod instance;
mod launcher;
mod lease;
mod logs;
mod needs;
mod orphans;
mod pins;
mod ports;
mod process;
mod process_run;
mod progress;
mod readiness;
mod run;
mod snapshot;
mod state;
mod target;
#[cfg(test)]
mod testing;
mod waiters;
mod watch;
mod workers;

pub use crate::fair::FairQueue;
pub use crate::profiles::LaunchSpec;
pub use error::AcquireError;
pub use gauge::Figures;
pub use launcher::{Command as LaunchCommand, LaunchError, Launcher, Readiness};
pub use lease::Lease;
pub use logs::{LineCutter, LogBatch, LogLine, LogReader, MAX_LINE_BYTES, RawLine};
pub use needs::{Need, NeedSource};
pub use orphans::{Reaped, reap_orphans};
pub use progress::{Progress, QueuePlace, Waiting, Waits};
pub use snapshot::BackendSnapshot;
pub use target::{Target, TargetError};
pub use waiters::Asker;

use crate::store::{Store, StoreError};
use crate::system::clock::Clock;
use crate::system::{Machine, Probe};
use actor::{Actor, Command, MAX_COMMANDS, Tools};
use admission::Admission;
use arc_swap::ArcSwap;
use awake::Sleeps;
use gauge::Gauge;
use logs::LogBuffer;
use needs::Needs;
use pins::Pins;
use process_run::ProcessRunner;
use run::Runner;
use snapshot::View;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch as sync_watch};
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
    pub probe: Arc<dyn Probe>,
    /// Where what was measured is kept; none: only as long as the process lives.
    pub store: Option<Store>,
    /// Bytes that all backends may use together.
    pub budget_bytes: u64,
    /// How long a backend that became ready is left alone.
    pub min_stay: Duration,
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
    changes: Arc<sync_watch::Sender<u64>>,
    gauge: Arc<Gauge>,
    needs: Arc<Needs>,
    pins: Pins,
    admission: Arc<Admission>,
    sleeps: Arc<Sleeps>,
}

/// One backend: what requests share with its actor, and the way to tell the actor something.
struct Handle {
    slot: Arc<Slot>,
    commands: mpsc::Sender<Command>,
    view: sync_watch::Receiver<View>,
}

/// What `Inner` is made of.
struct Parts {
    runner: Arc<dyn Runner>,
    needs: Arc<Needs>,
    pins: Pins,
    gauge: Arc<Gauge>,
    admission: Admission,
    clock: Arc<dyn Clock>,
    stop_grace: Duration,
}

impl Backends {
    /// Supervises nothing yet: backends come with the first declared profiles.
    pub fn new(deps: BackendsDeps) -> Backends {
        let pins = Pins::new(deps.store.clone());
        let needs = Arc::new(Needs::new(Arc::clone(&deps.launcher), deps.store));
        let runner = Arc::new(ProcessRunner::new(deps.data_dir, deps.launcher, Arc::clone(&needs)));
        let gauge = Arc::new(Gauge::new(deps.probe));
        let admission = Admission::new(deps.budget_bytes, deps.min_stay, Arc::clone(&gauge));
        Backends::assemble(Parts {
            runner,
            needs,
            pins,
            gauge,
            admission,
            clock: deps.clock,
            stop_grace: deps.stop_grace,
        })
    }

    fn assemble(parts: Parts) -> Backends {
        let Parts { runner, needs, pins, gauge, admission, clock, stop_grace } = parts;
        Backends(Arc::new(Inner {
            slots: ArcSwap::default(),
            adding: Mutex::new(()),
            shutting_down: AtomicBool::new(false),
            tracker: TaskTracker::new(),
            runner,
            sleeps: Arc::new(Sleeps::new(Arc::clone(&clock))),
            clock,
            stop_grace,
            changes: Arc::new(sync_watch::Sender::new(0)),
            gauge,
            needs,
            pins,
            admission: Arc::new(admission),
        }))
    }

    /// These are the backends there are from now on, by difference: new ones are made known without
    /// being started, those whose launch settings changed start again once their requests have
    /// finished, those that are not among them end likewise, all others do not notice.
    pub fn declare<'a>(&self, specs: impl IntoIterator<Item = &'a Arc<LaunchSpec>>) {
        let mut declared = BTreeSet::new();
        for spec in specs {
            declared.insert(spec.id.as_str());
            if let Some(handle) = self.0.handle(spec) {
                handle.slot.remember(spec);
                handle.slot.wake.notify_one();
            }
        }
        self.0.retire_all_but(&declared);
    }

    /// A lease if the backend is ready, has a place, and nobody queues: a few atomics, no wait.
    pub fn try_acquire(&self, spec: &LaunchSpec) -> Option<Lease> {
        self.0.slots.load().get(&spec.id)?.slot.try_lease(self.0.sleeps.count())
    }

    /// A lease on a ready backend, whatever that takes: starting it, waiting for a start under way,
    /// waiting for a turn. Dropping the future gives the place in the queue up.
    ///
    /// | the backend is      | what happens                                                    |
    /// |---------------------|-----------------------------------------------------------------|
    /// | ready, a place free | the lease, at once                                              |
    /// | ready, full         | waits for a turn, up to `queue.timeout`                         |
    /// | not heard of since the machine slept | waits until it has answered once more          |
    /// | starting            | waits; if the start fails, its failure                          |
    /// | stopped, crashed    | is started                                                      |
    /// | failed just now     | the same failure, without another try                           |
    /// | draining, stopping  | waits for the end, then is started again                        |
    ///
    /// `asker` is who asks, for fairness and priority; `progress` is told what is waited for.
    pub async fn acquire(
        &self,
        spec: &Arc<LaunchSpec>,
        asker: &Asker,
        progress: &Progress,
    ) -> Result<Lease, AcquireError> {
        let handle = self.0.open_handle(spec)?;
        if let Some(lease) = handle.slot.try_lease(self.0.sleeps.count()) {
            return Ok(lease);
        }
        handle.slot.remember(spec);
        handle.slot.enqueue(asker, progress)?.answer().await
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

    /// Takes over which backends earlier runs were told to keep; before the first is declared.
    pub async fn recall(&self) -> Result<(), StoreError> {
        self.0.pins.load().await
    }

    /// Keeps it loaded until it is let go again, over restarts of the gateway too. False: no backend
    /// has that id.
    pub async fn keep(&self, id: &str, kept: bool) -> Result<bool, StoreError> {
        let Some(handle) = self.0.slots.load().get(id).cloned() else { return Ok(false) };
        self.0.pins.set(id, kept, self.0.clock.unix_ms()).await?;
        handle.slot.keep(kept);
        Ok(true)
    }

    /// Stops it at once, whoever is inside. False: no backend has that id.
    pub async fn stop_now(&self, id: &str) -> bool {
        let Some(handle) = self.0.slots.load().get(id).cloned() else { return false };
        let (answer, stopped) = oneshot::channel();
        if handle.commands.send(Command::StopNow(answer)).await.is_ok() {
            drop(stopped.await);
        }
        true
    }

    /// All known backends, by id.
    pub fn snapshot(&self) -> Vec<BackendSnapshot> {
        let slots = self.0.slots.load();
        let of = |handle: &Arc<Handle>| {
            let need = self.0.needs.known(&handle.slot.spec.load().settings);
            BackendSnapshot::of(&handle.slot, &handle.view.borrow(), need)
        };
        slots.values().map(of).collect()
    }

    /// Sees to it that the figures shown are at most `max_age` old.
    pub async fn look(&self, max_age: Duration) {
        self.0.gauge.look(max_age).await;
    }

    /// The machine at the last look.
    pub fn machine(&self) -> Machine {
        self.0.gauge.machine().unwrap_or_default()
    }

    /// Bytes of the budget that are promised to what runs and starts.
    pub fn promised_bytes(&self) -> u64 {
        self.0.admission.promised()
    }

    /// What is to be done beside requests until the shutdown begins: figures, what they teach about
    /// needs, and relief when memory is critically short. To be spawned by whoever serves.
    pub fn watch_over(&self) -> impl Future<Output = ()> + Send + use<> {
        watch::over(Arc::downgrade(&self.0))
    }

    /// Tells of every change of a backend's state, step or process.
    pub fn changes(&self) -> sync_watch::Receiver<u64> {
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

    fn retire_all_but(&self, declared: &BTreeSet<&str>) {
        let _adding = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
        let (kept, gone): (BTreeMap<_, _>, BTreeMap<_, _>) = self
            .slots
            .load()
            .iter()
            .map(|(id, handle)| (id.clone(), Arc::clone(handle)))
            .partition(|(id, _)| declared.contains(id.as_str()));
        if gone.is_empty() || self.shutting_down.load(Ordering::Acquire) {
            return;
        }
        self.slots.store(Arc::new(kept));
        for handle in gone.into_values() {
            // Its actor ends as well when the last handle goes; this tells it to be patient.
            if handle.commands.try_send(Command::Retire).is_err() {
                tracing::debug!(backend.id = %handle.slot.id, "A backend that is not wanted any more ends at once");
            }
        }
        self.changes.send_modify(|count| *count += 1);
    }

    fn add(&self, spec: &Arc<LaunchSpec>) -> Handle {
        let slot = Arc::new(Slot::new(spec, Arc::new(LogBuffer::default())));
        slot.keep(self.pins.has(&spec.id));
        let tools = Tools {
            runner: Arc::clone(&self.runner),
            clock: Arc::clone(&self.clock),
            tracker: self.tracker.clone(),
            stop_grace: self.stop_grace,
            changes: Arc::clone(&self.changes),
            admission: Arc::clone(&self.admission),
            sleeps: Arc::clone(&self.sleeps),
        };
        self.gauge.add(&slot);
        let (commands, inbox) = mpsc::channel(MAX_COMMANDS);
        let (actor, view) = Actor::new(Arc::clone(&slot), tools);
        self.tracker.spawn(actor.work(inbox));
        Handle { slot, commands, view }
    }
}
