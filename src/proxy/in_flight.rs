//! A request that a backend works on: its ledger with an attempt under way, and the lease on the backend. Whoever
//! holds one ends it; dropped, the ledger records that the client left, and the lease frees its place.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use super::failure::Failure;
use crate::backends::Lease;
use crate::dialect::facts::Facts;
use crate::usage::{Ledger, Live, Outcome, Status, Tokens};

/// A request that a backend works on.
pub struct InFlight {
    // Dropped first: the record is complete before the place is free.
    ledger: Ledger,
    lease: Lease,
}

impl InFlight {
    /// Begins an attempt at the backend of `lease`.
    pub fn new(mut ledger: Ledger, lease: Lease) -> InFlight {
        ledger.begin_attempt(lease.backend_id());
        ledger.set_waits(lease.queue_ms(), lease.start_ms());
        InFlight { ledger, lease }
    }

    /// Returns the lease on the backend.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Returns the counters of the request.
    pub fn live(&self) -> &Arc<Live> {
        self.ledger.live()
    }

    /// Records when the answer has to have ended.
    pub fn set_deadline(&self, at: Instant) {
        self.live().set_deadline(at);
    }

    /// Records the status of the upstream's answer.
    pub fn set_upstream_status(&mut self, status: u16) {
        self.ledger.set_upstream_status(status);
    }

    /// Ends the request with a complete answer.
    pub fn complete(mut self, facts: &Facts) {
        self.lease.set_finished();
        let mut outcome = Outcome::new(Status::Completed, 0);
        outcome.tokens = tokens(facts);
        // The tokens of a stream were counted as they came; those of a whole answer are estimated at its end.
        if outcome.tokens.completion.is_none() && facts.deltas > 0 && self.ledger.counted() == 0 {
            (outcome.tokens.completion, outcome.tokens.estimated) = (Some(facts.deltas), true);
        }
        outcome.finish_reason = facts.finish_reason.clone().map(Cow::Owned);
        self.ledger.finish(outcome);
    }

    /// Ends the request with a failure.
    pub fn fail(self, failure: &Failure, facts: &Facts) {
        fail(self.end_attempt(failure, facts), failure);
    }

    /// Ends the attempt as completed and returns the ledger.
    pub fn complete_attempt(mut self, facts: &Facts) -> Ledger {
        self.lease.set_finished();
        self.ledger.end_attempt(Status::Completed, tokens(facts), None);
        self.ledger
    }

    /// Ends the attempt as failed and returns the ledger.
    pub fn end_attempt(mut self, failure: &Failure, facts: &Facts) -> Ledger {
        if failure.recorded != Status::Cancelled {
            self.lease.set_finished();
        }
        self.ledger.end_attempt(failure.recorded, tokens(facts), Some(failure.message.clone()));
        self.ledger
    }
}

/// Ends a request with a failure. The record has the status that the client got, if it got one before.
pub fn fail(ledger: Ledger, failure: &Failure) {
    let status = if ledger.live().has_responded() { 0 } else { failure.status };
    let mut outcome = Outcome::new(failure.recorded, status);
    outcome.error_code = Some(Cow::Borrowed(failure.code));
    outcome.error_message = Some(failure.recorded_message());
    ledger.finish(outcome);
}

/// Ends a request with a failure, and returns that with the rate-limit status of the caller's key.
pub fn refuse(ledger: Ledger, mut failure: Failure) -> Failure {
    failure.rate_limits.get_or_insert_with(|| Box::new(ledger.live().rate_limits()));
    fail(ledger, &failure);
    failure
}

fn tokens(facts: &Facts) -> Tokens {
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
