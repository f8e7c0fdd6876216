//! What a backend's actor and the requests that want it share: the waiting requests, the newest
//! launch spec, and the run that answers. Only the actor writes the run; any request may add or
//! take out its own wait.

use super::error::AcquireError;
use super::gauge::Figures;
use super::lease::{Generation, Lease};
use super::logs::LogBuffer;
use super::progress::Progress;
use crate::fair::{Bounds, FairQueue};
use crate::profiles::LaunchSpec;
use arc_swap::{ArcSwap, ArcSwapOption};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

/// One backend, as requests see it.
#[derive(Debug)]
pub struct Slot {
    pub id: Arc<str>,
    pub spec: ArcSwap<LaunchSpec>,
    /// The run that answers, until it has ended.
    pub current: ArcSwapOption<Generation>,
    /// Wakes the actor.
    pub wake: Arc<Notify>,
    pub logs: Arc<LogBuffer>,
    /// The process of the present run; 0: none.
    pub pid: AtomicU32,
    /// What that process was last seen to use.
    pub figures: ArcSwapOption<Figures>,
    /// What its actor is asked to do, as [`Go`].
    asked_to_go: AtomicU8,
    /// Somebody wants it kept, whatever its profiles say.
    kept: AtomicBool,
    waiting: Mutex<Waiting>,
}

/// How a backend is asked to make way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Go {
    /// If it is idle, and nobody waits for it.
    IfIdle = 1,
    /// As soon as those inside have finished; nobody else gets in.
    WhenEmpty = 2,
}

/// A request that waits for its lease.
#[derive(Debug)]
pub struct Waiter {
    pub since: Instant,
    /// Of the caller; higher goes first.
    pub priority: i32,
    pub progress: Progress,
    pub answer: oneshot::Sender<Result<Lease, AcquireError>>,
}

/// A place in the queue; dropping it frees the place at once.
#[derive(Debug)]
pub struct Place {
    slot: Arc<Slot>,
    ticket: u64,
    answer: oneshot::Receiver<Result<Lease, AcquireError>>,
}

/// Who asks for a lease.
#[derive(Debug, Clone)]
pub struct Asker {
    /// Requests of one lane take turns with those of others (`Caller::fairness`).
    pub lane: Arc<str>,
    /// Higher goes first.
    pub priority: i32,
}

#[derive(Debug, Default)]
struct Waiting {
    queue: FairQueue<Waiter>,
    closed: bool,
    /// How long it takes from one turn to the next, while requests queue; none until that was seen.
    pace: Option<Duration>,
}

impl Slot {
    pub fn new(spec: &Arc<LaunchSpec>, logs: Arc<LogBuffer>) -> Slot {
        Slot {
            id: Arc::from(spec.id.as_str()),
            spec: ArcSwap::new(Arc::clone(spec)),
            current: ArcSwapOption::empty(),
            wake: Arc::new(Notify::new()),
            logs,
            pid: AtomicU32::new(0),
            figures: ArcSwapOption::empty(),
            asked_to_go: AtomicU8::new(0),
            kept: AtomicBool::new(false),
            waiting: Mutex::default(),
        }
    }

    /// Asks the backend to make way for another; its actor decides whether it can.
    pub fn ask_to_go(&self, go: Go) {
        self.asked_to_go.fetch_max(go as u8, Ordering::AcqRel);
        self.wake.notify_one();
    }

    /// Keeps it from being stopped for idleness or for another, or lets it go again.
    pub fn keep(&self, kept: bool) {
        self.kept.store(kept, Ordering::Release);
        self.wake.notify_one();
    }

    /// Whether it stays, by its profiles or by somebody's wish.
    pub fn is_pinned(&self) -> bool {
        self.spec.load().pinned || self.kept.load(Ordering::Acquire)
    }

    /// How long it may be idle before it is stopped; `None`: it stays.
    pub fn idle_limit(&self) -> Option<Duration> {
        self.spec.load().idle_limit().filter(|_| !self.is_pinned())
    }

    /// Takes such a wish.
    pub fn take_wish(&self) -> Option<Go> {
        match self.asked_to_go.swap(0, Ordering::AcqRel) {
            0 => None,
            1 => Some(Go::IfIdle),
            _ => Some(Go::WhenEmpty),
        }
    }

    /// The highest priority of those who wait.
    pub fn urgency(&self) -> i32 {
        self.lock().queue.iter().map(|waiter| waiter.priority).max().unwrap_or(0)
    }

    /// A lease without waiting, when the backend is ready, was heard of after that many of the machine's
    /// sleeps, has a place, and nobody queues.
    pub fn try_lease(&self, sleeps: u64) -> Option<Lease> {
        self.current.load().as_ref().and_then(|run| run.try_lease(sleeps))
    }

    /// What a later start goes by.
    pub fn remember(&self, spec: &Arc<LaunchSpec>) {
        if !Arc::ptr_eq(&self.spec.load(), spec) {
            self.spec.store(Arc::clone(spec));
        }
    }

    /// Puts a request into the queue and wakes the actor. In a full queue the caller with the most waiting requests
    /// gives up its last one for a caller with fewer, if it can one whose answer has not begun.
    pub fn enqueue(self: &Arc<Slot>, asker: &Asker, progress: &Progress) -> Result<Place, AcquireError> {
        let spec = self.spec.load();
        let (sender, answer) = oneshot::channel();
        let (since, priority) = (Instant::now(), asker.priority);
        let waiter = Waiter { since, priority, progress: progress.clone(), answer: sender };
        let (ticket, displaced) = {
            let mut waiting = self.lock();
            if waiting.closed {
                return Err(AcquireError::ShuttingDown);
            }
            let bounds = Bounds::entries(self.room(&spec));
            let unanswered = |waiter: &Waiter| !waiter.progress.has_begun();
            let Some(displaced) = waiting.queue.make_room(&asker.lane, 0, bounds, unanswered) else {
                return Err(waiting.full(&spec, false));
            };
            let displaced: Vec<_> =
                displaced.into_iter().map(|waiter| (waiter, waiting.full(&spec, true))).collect();
            (waiting.queue.push(&asker.lane, priority, waiter), displaced)
        };
        for (waiter, error) in displaced {
            if waiter.answer.send(Err(error)).is_err() {
                tracing::debug!("A request left before it lost its place in the queue");
            }
        }
        self.wake.notify_one();
        Ok(Place { slot: Arc::clone(self), ticket, answer })
    }

    pub fn queued(&self) -> usize {
        self.lock().queue.len()
    }

    /// Works on the queue, under its lock.
    pub fn with_queue<R>(&self, work: impl FnOnce(&mut FairQueue<Waiter>) -> R) -> R {
        work(&mut self.lock().queue)
    }

    /// A turn came that long after the one before, with requests waiting in between.
    pub fn note_pace(&self, took: Duration) {
        let mut waiting = self.lock();
        waiting.pace = Some(waiting.pace.map_or(took, |pace| (pace * 7 + took) / 8));
    }

    /// How long it takes from one turn to the next.
    pub fn pace(&self) -> Option<Duration> {
        self.lock().pace
    }

    /// Lets nobody wait any more.
    pub fn close_queue(&self) {
        self.lock().closed = true;
    }

    /// Requests that may wait now. Before the backend is ready, those that will go straight in once
    /// it is do not count as queued.
    fn room(&self, spec: &LaunchSpec) -> usize {
        let open = self.current.load().as_ref().is_some_and(|run| run.gate.is_open());
        let straight_in = if open { 0 } else { spec.max_concurrent.max(1) };
        spec.queue.size.saturating_add(straight_in) as usize
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn full(&self, spec: &LaunchSpec, displaced: bool) -> AcquireError {
        let (profile, size) = (spec.id.clone(), spec.queue.size);
        let wait = self.pace.map(|pace| pace.saturating_mul(self.queue.len() as u32 + 1));
        AcquireError::QueueFull { profile, size, displaced, wait }
    }
}

impl Place {
    /// Waits for the actor's word.
    pub async fn answer(mut self) -> Result<Lease, AcquireError> {
        // An actor that is gone has ended with the gateway.
        (&mut self.answer).await.unwrap_or(Err(AcquireError::ShuttingDown))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let left = self.slot.with_queue(|queue| queue.remove(self.ticket));
        if left.is_some() {
            self.slot.wake.notify_one();
        }
    }
}
