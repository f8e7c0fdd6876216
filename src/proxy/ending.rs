//! The one end of an attempt and of its request. Whoever holds an [`Ending`] either tells it, or its
//! drop tells that the client left.

use std::borrow::Cow;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use super::failure::Failure;
use super::rounds::Back;
use crate::backends::Lease;
use crate::dialect::facts::Facts;
use crate::usage::{AttemptRecord, Live, Ongoing, Outcome, Status, Tokens};

/// A request with an attempt under way; holds the lease until the end.
pub struct Ending {
    ongoing: Option<Ongoing>,
    lease: Lease,
    number: u32,
    started: Instant,
    started_at: i64,
    upstream_status: Option<u16>,
    /// Where the request goes when this attempt is a round that came to its end.
    back: Option<Back>,
}

impl Ending {
    /// `number`: of the attempt, from 0.
    pub fn new(mut ongoing: Ongoing, lease: Lease, number: u32, started_at: i64) -> Ending {
        ongoing.note_sent();
        let (ongoing, started) = (Some(ongoing), Instant::now());
        Ending { ongoing, lease, number, started, started_at, upstream_status: None, back: None }
    }

    /// Other rounds may follow on this one.
    pub fn goes_back(&mut self, back: Option<Back>) {
        self.back = back;
    }

    /// The attempt failed before anything was sent, and the request goes on with another.
    pub fn again(mut self, error: &str) -> Option<Ongoing> {
        let ongoing = self.ongoing.take()?;
        ongoing.push_attempt(self.record(Status::Failed, Tokens::default(), Some(error.to_owned())));
        Some(ongoing)
    }

    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    pub fn live(&self) -> Option<&Arc<Live>> {
        self.ongoing.as_ref().map(Ongoing::live)
    }

    /// When the answer has to have ended.
    pub fn ends_by(&self, at: Instant) {
        if let Some(live) = self.live() {
            live.set_deadline(at);
        }
    }

    /// The upstream has begun to answer.
    pub fn answered(&mut self, status: u16) {
        self.upstream_status = Some(status);
    }

    /// The status the client gets to see, told before the body goes out.
    pub fn responded(&self, status: u16) {
        if let Some(ongoing) = &self.ongoing {
            ongoing.responded(status);
        }
    }

    /// The answer went out whole.
    pub fn complete(mut self, facts: &Facts) {
        if let Some(back) = self.back.take()
            && let Some(mut ongoing) = self.ongoing.take()
        {
            ongoing.end_round(&tokens(facts));
            ongoing.push_attempt(self.record(Status::Completed, tokens(facts), None));
            *back.lock().unwrap_or_else(PoisonError::into_inner) = Some((ongoing, facts.clone()));
            return;
        }
        let mut outcome = Outcome::new(Status::Completed, 0);
        outcome.tokens = tokens(facts);
        outcome.finish_reason = facts.finish_reason.clone().map(Cow::Owned);
        self.end(outcome, None);
    }

    /// It failed; `begun`: the client already has a status and maybe part of the answer.
    pub fn fail(mut self, failure: &Failure, facts: &Facts, begun: bool) {
        let mut outcome = Outcome::new(failure.recorded, if begun { 0 } else { failure.status });
        outcome.tokens = tokens(facts);
        outcome.error_code = Some(Cow::Borrowed(failure.code));
        outcome.error_message = Some(failure.recorded_message());
        self.end(outcome, Some(failure.message.clone()));
    }

    fn end(&mut self, outcome: Outcome, error: Option<String>) {
        let Some(ongoing) = self.ongoing.take() else { return };
        ongoing.push_attempt(self.record(outcome.status, outcome.tokens, error));
        ongoing.finish(outcome);
    }
}

impl Ending {
    fn record(&self, status: Status, tokens: Tokens, error: Option<String>) -> AttemptRecord {
        AttemptRecord {
            number: self.number,
            backend: self.lease.backend_id().into(),
            started_at: self.started_at,
            duration_ms: self.started.elapsed().as_secs_f64() * 1000.0,
            status,
            upstream_status: self.upstream_status,
            error,
            tokens,
        }
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        if let Some(live) = self.live() {
            let outcome = Outcome::dropped(live);
            let error = outcome.error_message.clone();
            self.end(outcome, error);
        }
    }
}

/// A request that ended before any backend was asked.
pub fn refuse(ongoing: Ongoing, failure: &Failure) {
    unserved(ongoing, failure, false);
}

/// The same for one whose answer may have begun while it waited.
pub fn unserved(ongoing: Ongoing, failure: &Failure, has_begun: bool) {
    let status = if has_begun { 200 } else { failure.status };
    let mut outcome = Outcome::new(failure.recorded, status);
    outcome.error_code = Some(Cow::Borrowed(failure.code));
    outcome.error_message = Some(failure.recorded_message());
    ongoing.finish(outcome);
}

pub fn tokens(facts: &Facts) -> Tokens {
    let usage = facts.usage.unwrap_or_default();
    let reasoning = usage.reasoning.or((facts.reasoning_deltas > 0).then_some(facts.reasoning_deltas));
    Tokens {
        prompt: usage.prompt.or(facts.estimated_prompt),
        completion: usage.completion,
        cached: usage.cached,
        reasoning,
        estimated: usage.prompt.is_none() && facts.estimated_prompt.is_some(),
    }
}
