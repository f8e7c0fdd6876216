//! What an actor does for those who wait and those who are inside: turns, progress, idleness,
//! draining. Each duty says when it has to be looked at again.

use super::super::error::AcquireError;
use super::super::progress::Waiting;
use super::super::state::{Event, State};
use super::super::waiters::Waiter;
use super::{Actor, UNUSED_STAY, later, tell};
use std::time::Duration;
use tokio::time::Instant;

impl Actor {
    /// Gives places to those who wait, in order; says when the next of them has waited too long.
    pub(super) fn serve_queue(&mut self, now: Instant) -> Option<Instant> {
        let current = self.slot.current.load_full()?;
        let spec = self.slot.spec.load();
        let (timeout, ready) = (spec.queue.timeout, self.ready_since);
        let turn_by = |waiter: &Waiter| later(waiter.since.max(ready), timeout);
        let late = self.slot.with_queue(|queue| queue.take_if(|waiter| turn_by(waiter) <= now));
        for waiter in late {
            let profile = spec.id.clone();
            tell(waiter.answer, Err(AcquireError::QueueTimeout { profile, after: timeout }));
        }
        loop {
            let served = self.slot.with_queue(|queue| {
                current.gate.set_queued(!queue.is_empty());
                if queue.is_empty() {
                    return None;
                }
                let pass = current.gate.enter_from_queue()?;
                queue.pop().map(|waiter| (waiter, pass))
            });
            let Some((waiter, pass)) = served else { break };
            let queue_ms = ms(now.saturating_duration_since(waiter.since.max(ready)));
            let start_ms = ms(ready.saturating_duration_since(waiter.since));
            // A client that has just left drops the lease, and with it the place, right here.
            tell(waiter.answer, Ok(current.lease(pass, queue_ms, start_ms)));
        }
        self.slot.with_queue(|queue| queue.iter().map(turn_by).min())
    }

    /// Stops the backend when nobody has used it for long enough; says when to look again. While it
    /// is in use nothing is timed: the last to leave wakes the actor.
    pub(super) fn see_to_idleness(&mut self, now: Instant) -> Option<Instant> {
        let limit = self.slot.spec.load().idle_limit()?;
        let current = self.slot.current.load_full()?;
        current.gate.set_watched(true);
        if current.gate.count() > 0 {
            return None;
        }
        let due = match current.gate.last_left() {
            Some(left) => later(left, limit),
            None => later(self.ready_since, limit.max(UNUSED_STAY)),
        };
        if due > now {
            current.gate.set_watched(false);
            return Some(due);
        }
        if current.gate.close_if_idle() {
            self.apply(Event::Idle);
        }
        None
    }

    /// Ends the run once nobody is inside any more, or the grace is over.
    pub(super) fn see_to_draining(&mut self, now: Instant) -> Option<Instant> {
        let inside = self.slot.current.load().as_ref().map_or(0, |run| run.gate.count());
        if inside > 0 && now < self.drain_until {
            return Some(self.drain_until);
        }
        if inside > 0 {
            tracing::warn!(backend.id = %self.slot.id, backend.in_flight = inside, "A backend is stopped in mid-request: the grace is over");
        }
        self.apply(Event::Drained);
        None
    }

    /// Tells all who wait what they wait for.
    pub(super) fn tell_progress(&self) {
        let same = match &self.machine.state {
            State::Preparing { what } => Some(Waiting::Preparing { what: what.clone() }),
            State::Loading => Some(Waiting::Loading { since: self.loading_since.into_std() }),
            State::Draining | State::Stopping => {
                Some(Waiting::Preparing { what: "waiting for the previous run to stop".into() })
            }
            _ => None,
        };
        self.slot.with_queue(|queue| {
            for (ahead, waiter) in queue.iter().enumerate() {
                let queued = || Waiting::Queued { position: ahead + 1 };
                waiter.progress.set(same.clone().unwrap_or_else(queued));
            }
        });
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}
