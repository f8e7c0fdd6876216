//! Several rounds of one request: attempts of one ledger, each with the body that its round driver gives. A round that
//! ends well or badly leaves the ledger here; the driver ends it.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use serde_json::Value;

use super::Proxy;
use super::attempt::Attempt;
use super::estimate::Measured;
use super::failure::Failure;
use super::headers::Head;
use super::in_flight;
use super::metered::Metered;
use super::plan::Plan;
use super::resolved::{ResolvedRequest, admit, asker};
use super::upstream::UpstreamBody;
use crate::auth::Caller;
use crate::backends::Progress;
use crate::bodies::Held;
use crate::dialect::chat_stream::{self, Event};
use crate::dialect::facts::Facts;
use crate::dialect::operation::Operation;
use crate::dialect::request::Scanned;
use crate::dialect::rope::Rope;
use crate::dialect::scan::Scanner;
use crate::profiles::Entry;
use crate::usage::{Ledger, Outcome, Status};

/// Rounds of one request.
pub struct Rounds {
    proxy: Arc<Proxy>,
    entry: Entry,
    operation: Operation,
    headers: HeaderMap,
    caller: Caller,
    /// What is known of the first prompt's tokens.
    measured: Measured,
    head: Head,
    /// Between rounds.
    ledger: Option<Ledger>,
    /// Within one.
    round: Option<Box<Metered<UpstreamBody>>>,
    /// Events of the round that were parsed and not returned yet.
    events: VecDeque<Event>,
    /// The first round's plan, while it waits to begin.
    first: Option<Box<Plan>>,
    has_begun: bool,
    /// The request as a tree takes that much of the bound, in whoever makes the rounds.
    _held: Option<Arc<Held>>,
}

impl Rounds {
    pub(super) fn new(request: ResolvedRequest, progress: Progress) -> Rounds {
        Rounds {
            head: Head { progress, ..request.head() },
            proxy: request.proxy,
            entry: request.entry,
            operation: request.operation,
            headers: request.headers,
            caller: request.caller,
            measured: request.measured,
            ledger: Some(request.ledger),
            round: None,
            events: VecDeque::new(),
            first: None,
            has_begun: false,
            _held: request.scanned.body.reservation(),
        }
    }

    /// Reserves the caller's limits for the first round, whose body this is, before anything is done for the request.
    ///
    /// # Errors
    /// If the body cannot be sent, or the caller has not enough left.
    pub fn admit(&mut self, body: &Value) -> Result<(), Failure> {
        let plan = self.plan(body)?;
        let Some(ledger) = &mut self.ledger else { return Err(overlapping()) };
        admit(ledger, &self.caller, &plan)?;
        (self.first, self.has_begun) = (Some(Box::new(plan)), true);
        Ok(())
    }

    /// Begins a round.
    ///
    /// # Errors
    /// If no backend answers it; the request may be ended by [`Rounds::fail`] only.
    pub async fn begin(&mut self, body: &Value) -> Result<(), Failure> {
        if !self.has_begun {
            self.admit(body)?;
        }
        let (plan, ledger) = match self.first.take() {
            Some(plan) => (plan, self.ledger.take()),
            None => {
                let plan = self.plan(body)?;
                let mut ledger = self.ledger.take().ok_or_else(overlapping)?;
                if let Err(error) = ledger.reserve(plan.estimate, plan.prompt_tokens) {
                    self.ledger = Some(ledger);
                    return Err(Failure::rate_limited(&error));
                }
                (Box::new(plan), Some(ledger))
            }
        };
        let attempt = Box::new(Attempt {
            proxy: Arc::clone(&self.proxy),
            plan: Arc::new(*plan),
            ledger: ledger.ok_or_else(overlapping)?,
            asker: asker(&self.caller),
            head: self.head.clone(),
            gone: None,
        });
        match attempt.round().await {
            Ok(metered) => {
                self.round = Some(Box::new(metered));
                Ok(())
            }
            Err(unanswered) => {
                self.ledger = Some(unanswered.ledger);
                Err(unanswered.failure)
            }
        }
    }

    fn plan(&self, body: &Value) -> Result<Plan, Failure> {
        let (scanned, headers) = (scanned(body)?, self.headers.clone());
        let budget = self.caller.budget_left();
        Plan::new(&self.entry, &scanned, self.operation, headers, budget, &self.measured)
    }

    /// Adds a warning to the record.
    pub fn warn(&self, warning: String) {
        if let Some(live) = &self.head.live {
            live.warn(warning);
        }
    }

    /// Returns the next event of the round; none at its end.
    ///
    /// # Errors
    /// If an event is not JSON.
    pub async fn next(&mut self) -> Result<Option<Event>, Failure> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(Some(event));
            }
            let Some(metered) = &mut self.round else { return Ok(None) };
            let Some(bytes) = poll_fn(|cx| metered.poll_bytes(cx)).await else { return Ok(None) };
            chat_stream::parse(&bytes, &mut self.events)?;
        }
    }

    /// Ends the round, and returns what its answer reported.
    ///
    /// # Errors
    /// If the round failed.
    pub fn end_round(&mut self) -> Result<Facts, Failure> {
        let end = self.round.take().and_then(|metered| metered.end_round());
        let Some((ledger, end)) = end.map(|end| *end) else {
            return Err(Failure::backend("a round was ended before its end"));
        };
        self.ledger = Some(ledger);
        end
    }

    /// Records a tool call between two rounds.
    pub fn push_tool_call(&self, tool: &str, duration: Duration, error: Option<String>) {
        if let Some(ledger) = &self.ledger {
            ledger.push_tool_call(tool, duration, error);
        }
    }

    /// Ends the request with a complete answer.
    pub fn complete(&mut self, finish_reason: String) {
        if let Some(ledger) = self.ledger.take() {
            let mut outcome = Outcome::new(Status::Completed, 200);
            outcome.finish_reason = Some(Cow::Owned(finish_reason));
            ledger.finish(outcome);
        }
    }

    /// Ends the request with a failure, between rounds or within one. Returns what its caller may read of it.
    pub fn fail(&mut self, failure: Failure) -> Failure {
        if let Some(metered) = self.round.take() {
            self.ledger = metered.fail_round(&failure);
        }
        let failure = match self.ledger.take() {
            Some(ledger) => in_flight::refuse(ledger, failure),
            None => failure,
        };
        failure.for_caller(self.caller.sees_all())
    }
}

fn overlapping() -> Failure {
    Failure::backend("a round was begun within another")
}

fn scanned(body: &Value) -> Result<Scanned, Failure> {
    let bytes = Bytes::from(body.to_string());
    let mut scanner = Scanner::default();
    scanner.feed(&bytes)?;
    let mut rope = Rope::default();
    rope.push(bytes);
    Ok(Scanned::new(rope, scanner.finish()?))
}
