//! The door of one run of a backend: how many requests are inside, and whether more may enter. One
//! atomic word, so that entering and leaving a ready backend wakes nobody. Knows nothing of states.
//!
//! The actor is woken by a leaving request only when it asked for that: for every one while requests
//! queue, for the last one while it watches for idleness or drains.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

const COUNT: u64 = u32::MAX as u64;
/// Nobody enters any more.
const CLOSED: u64 = 1 << 32;
/// Requests queue: nobody enters past them, and every leave is told.
const QUEUED: u64 = 1 << 33;
/// The leave that empties the place is told.
const WATCHED: u64 = 1 << 34;

#[derive(Debug)]
pub struct Gate {
    word: AtomicU64,
    limit: AtomicU32,
    wake: Arc<Notify>,
    opened: Instant,
    /// Microseconds from `opened` to the newest leave, and one; 0: nobody has left yet.
    last_leave_us: AtomicU64,
}

/// A place inside; dropping it leaves.
#[derive(Debug)]
pub struct Pass(Arc<Gate>);

impl Gate {
    /// An open gate for at most `limit` (at least 1) at once, which wakes its actor through `wake`.
    pub fn new(limit: u32, wake: Arc<Notify>) -> Gate {
        Gate {
            word: AtomicU64::new(0),
            limit: AtomicU32::new(limit.max(1)),
            wake,
            opened: Instant::now(),
            last_leave_us: AtomicU64::new(0),
        }
    }

    /// A place, unless closed, full, or others queue for it.
    pub fn try_enter(self: &Arc<Gate>) -> Option<Pass> {
        self.enter_unless(CLOSED | QUEUED)
    }

    /// A place for the first of the queue.
    pub fn enter_from_queue(self: &Arc<Gate>) -> Option<Pass> {
        self.enter_unless(CLOSED)
    }

    /// From now on at most so many at once; those inside stay.
    pub fn set_limit(&self, limit: u32) {
        self.limit.store(limit.max(1), Ordering::Relaxed);
    }

    /// Wakes the actor.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Requests inside.
    pub fn count(&self) -> u32 {
        u32::try_from(self.word.load(Ordering::Acquire) & COUNT).unwrap_or(u32::MAX)
    }

    /// Whether it has not been closed; there need not be a free place.
    pub fn is_open(&self) -> bool {
        self.word.load(Ordering::Acquire) & CLOSED == 0
    }

    /// Whether requests queue. After setting it the actor looks for a free place once more, for one
    /// may have become free before the flag stood.
    pub fn set_queued(&self, queued: bool) {
        self.set(QUEUED, queued);
    }

    /// Whether the leave that empties the place is told.
    pub fn set_watched(&self, watched: bool) {
        self.set(WATCHED, watched);
    }

    /// Lets nobody in any more; the last to leave wakes the actor.
    pub fn close(&self) {
        self.set(CLOSED | WATCHED, true);
    }

    /// Closes if nobody is inside and nobody queues.
    pub fn close_if_idle(&self) -> bool {
        let close = |word: u64| (word & (COUNT | QUEUED) == 0).then_some(word | CLOSED | WATCHED);
        self.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, close).is_ok()
    }

    /// When the place was last left; `None`: nobody has been inside yet.
    pub fn last_left(&self) -> Option<Instant> {
        let us = self.last_leave_us.load(Ordering::Acquire).checked_sub(1)?;
        Some(self.opened + Duration::from_micros(us))
    }

    /// When the last one left, or when it was opened if nobody was ever inside.
    pub fn idle_since(&self) -> Option<Instant> {
        (self.count() == 0).then(|| self.last_left().unwrap_or(self.opened))
    }

    fn enter_unless(self: &Arc<Gate>, refusing: u64) -> Option<Pass> {
        let limit = u64::from(self.limit.load(Ordering::Relaxed));
        let enter = |word: u64| {
            let free = word & refusing == 0 && word & COUNT < limit;
            free.then_some(word + 1)
        };
        self.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, enter).ok()?;
        Some(Pass(Arc::clone(self)))
    }

    fn set(&self, flags: u64, on: bool) {
        if on {
            self.word.fetch_or(flags, Ordering::AcqRel);
        } else {
            self.word.fetch_and(!flags, Ordering::AcqRel);
        }
    }

    fn leave(&self) {
        // Before the count falls, so that whoever sees the place empty sees this time as well.
        let us = u64::try_from(self.opened.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.last_leave_us.fetch_max(us.saturating_add(1), Ordering::AcqRel);
        let before = self.word.fetch_sub(1, Ordering::AcqRel);
        let last = before & COUNT == 1;
        if before & QUEUED != 0 || (last && before & WATCHED != 0) {
            self.wake.notify_one();
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.0.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    fn gate(limit: u32) -> (Arc<Gate>, Arc<Notify>) {
        let wake = Arc::new(Notify::new());
        (Arc::new(Gate::new(limit, Arc::clone(&wake))), wake)
    }

    fn was_woken(wake: &Arc<Notify>) -> bool {
        use futures_util::FutureExt;
        wake.notified().now_or_never().is_some()
    }

    #[test]
    fn as_many_enter_as_the_limit_says() {
        let (gate, _) = gate(2);
        let first = gate.try_enter().unwrap();
        let second = gate.try_enter().unwrap();
        assert!(gate.try_enter().is_none());
        drop(first);
        assert!(gate.try_enter().is_some());
        drop(second);
        assert_eq!(gate.count(), 0);
    }

    #[test]
    fn leaving_wakes_nobody_who_did_not_ask() {
        let (gate, wake) = gate(2);
        drop(gate.try_enter());
        assert!(!was_woken(&wake));
        assert!(gate.last_left().is_some());
    }

    #[test]
    fn while_requests_queue_nobody_slips_past_and_every_leave_is_told() {
        let (gate, wake) = gate(2);
        let first = gate.try_enter().unwrap();
        let second = gate.try_enter().unwrap();
        gate.set_queued(true);
        drop(first);
        assert!(was_woken(&wake));
        assert!(gate.try_enter().is_none());
        let queued = gate.enter_from_queue().unwrap();
        gate.set_queued(false);
        drop(queued);
        assert!(!was_woken(&wake));
        drop(second);
    }

    #[test]
    fn a_closed_gate_tells_only_of_the_last_to_leave() {
        let (gate, wake) = gate(4);
        let first = gate.try_enter().unwrap();
        let second = gate.try_enter().unwrap();
        gate.close();
        assert!(gate.try_enter().is_none() && gate.enter_from_queue().is_none());
        drop(first);
        assert!(!was_woken(&wake));
        drop(second);
        assert!(was_woken(&wake));
    }

    #[test]
    fn only_an_idle_gate_is_closed_for_idleness() {
        let (gate, _) = gate(1);
        let inside = gate.try_enter().unwrap();
        assert!(!gate.close_if_idle());
        drop(inside);
        gate.set_queued(true);
        assert!(!gate.close_if_idle());
        gate.set_queued(false);
        assert!(gate.close_if_idle());
        assert!(gate.try_enter().is_none());
    }

    /// Threads hammer the gate while the actor's side flips flags and waits: the limit always
    /// holds, and each wait for a leave ends.
    #[test]
    fn under_load_the_limit_holds_and_no_wake_up_is_lost() {
        const LIMIT: u32 = 3;
        const ROUNDS: u32 = 2_000;
        let (gate, wake) = gate(LIMIT);
        let inside = Arc::new(AtomicU32::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let (gate, inside, stop) = (gate.clone(), inside.clone(), stop.clone());
                std::thread::spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        if let Some(pass) = gate.try_enter() {
                            assert!(inside.fetch_add(1, Ordering::SeqCst) < LIMIT);
                            inside.fetch_sub(1, Ordering::SeqCst);
                            drop(pass);
                        }
                    }
                })
            })
            .collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            for _ in 0..ROUNDS {
                gate.set_queued(true);
                let pass = loop {
                    match gate.enter_from_queue() {
                        Some(pass) => break pass,
                        None => tokio::time::timeout(Duration::from_secs(10), wake.notified())
                            .await
                            .expect("a leave was not told"),
                    }
                };
                gate.set_queued(false);
                drop(pass);
            }
            gate.close();
            while gate.count() > 0 {
                tokio::time::timeout(Duration::from_secs(10), wake.notified())
                    .await
                    .expect("the last leave was not told");
            }
        });
        stop.store(true, Ordering::Relaxed);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(gate.count(), 0);
    }
}
