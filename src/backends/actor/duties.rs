//! What an actor does for those who wait and those who are inside: turns, progress, idleness,
//! draining. Each duty says when it has to be looked at again.

use super::super::awake;
use super::super::error::AcquireError;
use super::super::progress::Waiting;
use super::super::state::{Event, Failure, State};
use super::super::waiters::{Go, Waiter};
use super::{Actor, FAR, UNUSED_STAY, later, tell};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

impl Actor {
    /// Gives places to those who wait, in order; says when the next of them has waited too long.
    pub(super) fn serve_queue(&mut self, now: Instant) -> Option<Instant> {
        let current = self.slot.current.load_full()?;
        let spec = self.slot.spec.load();
        let (timeout, ready) = (spec.queue.timeout, self.ready_since);
        let turn_by = |waiter: &Waiter| later(waiter.since.max(ready), timeout);
        self.turn_away(timeout, |waiter| turn_by(waiter) <= now);
        let vouched = current.is_vouched(self.sleeps);
        loop {
            let served = self.slot.with_queue(|queue| {
                current.gate.set_queued(!queue.is_empty());
                if queue.is_empty() || !vouched {
                    return None;
                }
                let pass = current.gate.enter_from_queue()?;
                queue.pop().map(|waiter| (waiter, pass))
            });
            let Some((waiter, pass)) = served else { break };
            // What was waited for memory was waited for a turn, the rest for the start.
            let held = self.held_since.map_or(Duration::ZERO, |since| {
                self.held_until.saturating_duration_since(since.max(waiter.since))
            });
            let queue_ms = ms(now.saturating_duration_since(waiter.since.max(ready)) + held);
            let start_ms = ms(ready.saturating_duration_since(waiter.since).saturating_sub(held));
            if !waiter.answer.is_closed() {
                self.note_turn(now, waiter.since.max(ready), current.take_unfinished());
            }
            // A client that has just left drops the lease, and with it the place, right here.
            tell(waiter.answer, Ok(current.lease(pass, queue_ms, start_ms)));
        }
        self.slot.with_queue(|queue| queue.iter().map(turn_by).min())
    }

    /// Learns from two turns in a row how long the next ones will take. Counts only those between which somebody waited
    /// all the time, and no request was left by its client: that says nothing about how long one takes.
    fn note_turn(&mut self, now: Instant, since: Instant, is_unfinished: bool) {
        let before = self.last_turn.replace(now);
        if let Some(before) = before.filter(|before| since <= *before && !is_unfinished) {
            self.slot.note_pace(now.saturating_duration_since(before));
        }
    }

    /// Tells those who have waited too long.
    fn turn_away(&self, timeout: Duration, late: impl Fn(&Waiter) -> bool) {
        for waiter in self.slot.with_queue(|queue| queue.take_if(late)) {
            let profile = self.slot.id.to_string();
            tell(waiter.answer, Err(AcquireError::QueueTimeout { profile, after: timeout }));
        }
    }

    /// A start that waits for memory waits for its turn: not for ever, and not for nobody.
    pub(super) fn see_to_the_held(&mut self, now: Instant) -> Option<Instant> {
        let timeout = self.slot.spec.load().queue.timeout;
        self.turn_away(timeout, |waiter| later(waiter.since, timeout) <= now);
        self.starters.retain(|starter| !starter.is_closed());
        if self.slot.queued() == 0 && self.starters.is_empty() {
            self.apply(Event::Abandoned);
            return None;
        }
        self.slot.with_queue(|queue| queue.iter().map(|waiter| later(waiter.since, timeout)).min())
    }

    /// Does what another backend, or a request that found this one stuck, asks for.
    pub(super) fn see_to_wishes(&mut self) {
        let Some(current) = self.slot.current.load_full() else { return };
        if let Some(why) = current.suspicion.get()
            && matches!(self.machine.state, State::Ready | State::Draining)
        {
            tracing::warn!(backend.id = %self.slot.id, error.reason = %why, "A backend is stuck and is ended");
            self.apply(Event::Wedged(Failure::because(why.clone())));
            return;
        }
        match self.slot.take_wish() {
            Some(Go::IfIdle) if self.slot.queued() == 0 && current.gate.close_if_idle() => {
                self.apply(Event::Idle);
            }
            Some(Go::WhenEmpty) if self.machine.state == State::Ready => self.make_way(),
            _ => {}
        }
    }

    /// Has the run asked once more when the machine has slept; until it answers nobody gets in.
    pub(super) fn see_to_sleep(&mut self) {
        self.sleeps = self.tools.sleeps.count();
        if let Some(current) = self.slot.current.load_full()
            && current.is_to_be_asked(self.sleeps)
        {
            self.tools.tracker.spawn(awake::ask(current, self.sleeps));
        }
    }

    /// Goes by new launch settings as soon as nobody is inside any more.
    pub(super) fn see_to_settings(&mut self) {
        let spec = self.slot.spec.load_full();
        if let Some(current) = self.slot.current.load().as_ref() {
            current.gate.set_limit(spec.max_concurrent);
        }
        let launched = self.run.as_ref().map_or(&self.settled, |run| &run.spec);
        if Arc::ptr_eq(launched, &spec) || launched.settings == spec.settings {
            return;
        }
        match self.machine.state {
            State::Ready => {
                tracing::info!(backend.id = %self.slot.id, "A backend's launch settings changed: it starts again once its requests have finished");
                self.relaunch = spec.preload || spec.pinned;
                self.make_way();
            }
            State::Preparing { .. } | State::Loading => self.apply(Event::Restart),
            State::Failed { .. } => {
                self.settled = spec;
                self.apply(Event::Renewed);
            }
            State::Stopped | State::Draining | State::Stopping => {}
        }
    }

    /// Lets nobody else in, and those inside take their time.
    fn make_way(&mut self) {
        self.drain_until = later(Instant::now(), FAR);
        self.apply(Event::Yield);
    }

    /// Stops the backend when nobody has used it for long enough; says when to look again. While it
    /// is in use nothing is timed: the last to leave wakes the actor.
    pub(super) fn see_to_idleness(&mut self, now: Instant) -> Option<Instant> {
        let limit = self.slot.idle_limit()?;
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
        let pace = self.slot.pace();
        self.slot.with_queue(|queue| {
            for (ahead, waiter) in queue.iter().enumerate() {
                let position = ahead + 1;
                let wait = pace.map(|pace| pace.saturating_mul(u32::try_from(position).unwrap_or(u32::MAX)));
                let queued = || Waiting::Queued { position, wait };
                waiter.progress.set(same.clone().unwrap_or_else(queued));
            }
        });
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}
