//! Who may start when memory is short. Starts stand in one line; whoever is first decides by the pure
//! rules of `decide` over fresh figures, asks others to make way, and waits until that is seen to have
//! happened. Owns what is promised to whom; stops nothing itself: each backend's actor does.

mod decide;

pub use decide::{Decision, Hold, Resident, Room, Shortage, Standing, decide};

use super::gauge::Gauge;
use super::waiters::{Go, Slot};
use crate::system::Pressure;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// Figures that a decision goes by are at most that old.
const FRESH: Duration = Duration::from_millis(300);
/// Between two looks of whoever is first in line, should nobody tell it of a change.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// How long memory may take to be seen to be free once the budget has room. Systems tell what is left
/// only roughly, so after that the budget alone decides.
const SEEN_WAIT: Duration = Duration::from_secs(10);

/// One line of starts and one ledger of what runs.
#[derive(Debug)]
pub struct Admission {
    /// Bytes that all backends may use together.
    limit: u64,
    min_stay: Duration,
    gauge: Arc<Gauge>,
    ledger: Mutex<Ledger>,
    changed: Notify,
    /// Starts in line, read without the ledger's lock.
    waiting: AtomicUsize,
}

#[derive(Debug, Default)]
struct Ledger {
    next: u64,
    line: BTreeMap<u64, Arc<Slot>>,
    held: BTreeMap<u64, Held>,
}

/// A run that was let in, until nothing of it is left.
#[derive(Debug)]
struct Held {
    slot: Arc<Slot>,
    /// The run was told to end.
    stop: CancellationToken,
    need: u64,
    begun: Instant,
    ready: Option<Instant>,
}

/// The right to hold memory; dropped once the run has left nothing behind.
#[derive(Debug)]
pub struct Permit {
    admission: Arc<Admission>,
    ticket: u64,
}

/// A place in the line; dropped, the next one moves up.
struct Place<'a> {
    admission: &'a Admission,
    ticket: u64,
}

/// What one start wants.
struct Wish<'a> {
    slot: &'a Arc<Slot>,
    stop: &'a CancellationToken,
    need: u64,
    /// Memory is no longer waited for to be seen free.
    impatient: bool,
}

impl Admission {
    /// Shares `limit` bytes; a backend that became ready is left alone for `min_stay`.
    pub fn new(limit: u64, min_stay: Duration, gauge: Arc<Gauge>) -> Admission {
        Admission {
            limit,
            min_stay,
            gauge,
            ledger: Mutex::default(),
            changed: Notify::new(),
            waiting: AtomicUsize::new(0),
        }
    }

    /// Waits until a backend that needs `need` bytes may start; `held` is told what it waits for,
    /// each time that changes. Dropping the future gives the place up.
    pub async fn admit(
        self: &Arc<Self>,
        slot: &Arc<Slot>,
        stop: &CancellationToken,
        need: u64,
        held: impl Fn(Hold),
    ) -> Result<Permit, Shortage> {
        let place = self.line_up(slot);
        let (mut told, mut unseen) = (None, None);
        loop {
            self.gauge.look(FRESH).await;
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let now = Instant::now();
            let impatient = unseen.is_some_and(|since: Instant| now - since >= SEEN_WAIT);
            let hold = match self.step(&place, &Wish { slot, stop, need, impatient }, now) {
                Step::Admitted(permit) => return Ok(permit),
                Step::Refused(shortage) => return Err(shortage),
                Step::Wait(hold) => hold,
            };
            match hold {
                Hold::NotSeen => unseen = Some(unseen.unwrap_or(now)),
                _ => unseen = None,
            }
            if told.replace(std::mem::discriminant(&hold)) != Some(std::mem::discriminant(&hold)) {
                held(hold);
            }
            tokio::select! {
                () = changed => {}
                () = sleep(LOOK_AGAIN) => {}
            }
        }
    }

    /// Whether what needs so much could ever start as things are.
    pub fn never_fits(&self, need: u64) -> Option<Shortage> {
        let residents: Vec<Resident> = self.residents(&self.lock(), Instant::now()).1;
        decide::never_fits(need, &residents, self.limit)
    }

    /// Something changed that a start may wait for. Cheap when none does.
    pub fn poke(&self) {
        if self.waiting.load(Ordering::Acquire) > 0 {
            self.changed.notify_waiters();
        }
    }

    /// At critical pressure the idle backend that is missed least stops, one at a time.
    pub fn relieve(&self) {
        if self.gauge.machine().and_then(|machine| machine.pressure) != Some(Pressure::Critical) {
            return;
        }
        let ledger = self.lock();
        let (slots, residents) = self.residents(&ledger, Instant::now());
        if residents.iter().any(|resident| resident.standing == Standing::Leaving) {
            return;
        }
        if let Some(slot) = decide::least_valuable(&residents).and_then(|at| slots.get(at)) {
            tracing::warn!(backend.id = %slot.id, "Memory is critically short: an idle backend stops");
            slot.ask_to_go(Go::IfIdle);
        }
    }

    /// Bytes that all backends may use together.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Bytes promised to what runs and starts.
    pub fn promised(&self) -> u64 {
        let residents = self.residents(&self.lock(), Instant::now()).1;
        residents.iter().fold(0, |sum, resident| sum.saturating_add(resident.charge))
    }

    fn line_up(&self, slot: &Arc<Slot>) -> Place<'_> {
        let mut ledger = self.lock();
        let ticket = ledger.next;
        ledger.next += 1;
        ledger.line.insert(ticket, Arc::clone(slot));
        self.waiting.store(ledger.line.len(), Ordering::Release);
        Place { admission: self, ticket }
    }

    /// One look by one start in line. What it decides holds until the lock is let go, and is carried
    /// out or written down by then.
    fn step(self: &Arc<Self>, place: &Place<'_>, wish: &Wish<'_>, now: Instant) -> Step {
        let mut ledger = self.lock();
        let (slots, residents) = self.residents(&ledger, now);
        if ledger.first() != Some(place.ticket) {
            let refused = decide::never_fits(wish.need, &residents, self.limit);
            return refused.map_or(Step::Wait(Hold::Turn), Step::Refused);
        }
        let ask = |which: &[usize], go: Go| {
            for slot in which.iter().filter_map(|at| slots.get(*at)) {
                tracing::info!(backend.id = %slot.id, backend.makes_way_for = %wish.slot.id, "A backend makes way for another");
                slot.ask_to_go(go);
            }
            Step::Wait(Hold::Leaving)
        };
        match decide(wish.need, &residents, &self.room(wish.impatient)) {
            Decision::Start => {
                let (slot, stop) = (Arc::clone(wish.slot), wish.stop.clone());
                let held = Held { slot, stop, need: wish.need, begun: now, ready: None };
                ledger.held.insert(place.ticket, held);
                Step::Admitted(Permit { admission: Arc::clone(self), ticket: place.ticket })
            }
            Decision::Stop(which) => ask(&which, Go::IfIdle),
            Decision::Yield(which) => ask(&which, Go::WhenEmpty),
            Decision::Wait(hold) => Step::Wait(hold),
            Decision::Refuse(shortage) => Step::Refused(shortage),
        }
    }

    fn room(&self, impatient: bool) -> Room {
        let machine = self.gauge.machine().unwrap_or_default();
        Room {
            limit: self.limit,
            available: machine.memory_available.filter(|_| !impatient),
            critical: machine.pressure == Some(Pressure::Critical),
            min_stay: self.min_stay,
        }
    }

    fn residents<'a>(&self, ledger: &'a Ledger, now: Instant) -> (Vec<&'a Arc<Slot>>, Vec<Resident>) {
        ledger.held.values().map(|held| (&held.slot, held.resident(now))).unzip()
    }

    fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What came of one look.
enum Step {
    Admitted(Permit),
    Refused(Shortage),
    Wait(Hold),
}

impl Ledger {
    /// Whose turn it is: the start with the most urgent request waiting for it, else the oldest.
    fn first(&self) -> Option<u64> {
        let urgency = |(ticket, slot): &(&u64, &Arc<Slot>)| (slot.urgency(), Reverse(**ticket));
        self.line.iter().max_by_key(urgency).map(|(ticket, _)| *ticket)
    }
}

impl Held {
    fn resident(&self, now: Instant) -> Resident {
        let seen = self.slot.figures.load().as_ref().and_then(|figures| figures.memory_bytes);
        let charge = self.need.max(seen.unwrap_or(0));
        Resident { charge, standing: self.standing(now), pinned: self.slot.is_pinned() }
    }

    fn standing(&self, now: Instant) -> Standing {
        if self.stop.is_cancelled() {
            return Standing::Leaving;
        }
        let current = self.slot.current.load();
        let (Some(ready), Some(run)) = (self.ready, current.as_ref()) else { return Standing::Starting };
        if !run.gate.is_open() {
            return Standing::Leaving;
        }
        let busy = run.gate.count() > 0 || self.slot.queued() > 0;
        let unused_since = run.gate.last_left().unwrap_or(ready);
        Standing::Ready {
            age: now.saturating_duration_since(ready),
            idle: (!busy).then(|| now.saturating_duration_since(unused_since)),
            reload: ready.saturating_duration_since(self.begun),
        }
    }
}

impl Permit {
    /// The backend answers: its memory can be measured, and another may start.
    pub fn ready(&self) {
        if let Some(held) = self.admission.lock().held.get_mut(&self.ticket) {
            held.ready = Some(Instant::now());
        }
        self.admission.poke();
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.admission.lock().held.remove(&self.ticket);
        self.admission.poke();
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut ledger = self.admission.lock();
        ledger.line.remove(&self.ticket);
        self.admission.waiting.store(ledger.line.len(), Ordering::Release);
        drop(ledger);
        self.admission.poke();
    }
}

impl Hold {
    /// In words for those who wait.
    pub fn words(self) -> &'static str {
        match self {
            Hold::Turn => "waiting for memory: another model is before it",
            Hold::Starting => "waiting for memory: another model is starting",
            Hold::Leaving => "waiting for memory: other models are making way",
            Hold::Stay(_) => "waiting for memory: another model has just been started",
            Hold::NotSeen => "waiting for memory to be free",
            Hold::Pressure => "waiting for memory: the machine is critically short of it",
        }
    }
}

impl std::fmt::Display for Shortage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let gib = |bytes: u64| bytes as f64 / (1u64 << 30) as f64;
        write!(
            f,
            "it needs {:.2} GiB of memory and the budget has {:.2} GiB",
            gib(self.need),
            gib(self.limit)
        )?;
        if self.pinned > 0 {
            write!(f, ", of which pinned profiles hold {:.2} GiB", gib(self.pinned))?;
        }
        f.write_str(
            "; raise memory.budget, choose a smaller model or context_length, or set the profile's memory",
        )
    }
}

#[cfg(test)]
mod tests;
