//! A request that is read and authorised, and whose profile is known: passed through in one round, or handed on for
//! several.

use std::sync::{Arc, Mutex, PoisonError};

use http::{HeaderMap, Response};
use serde_json::{Map, Value};

use super::Proxy;
use super::answer::Answer;
use super::attempt::Attempt;
use super::estimate::Measured;
use super::failure::Failure;
use super::headers::Head;
use super::in_flight::refuse;
use super::plan::Plan;
use super::rounds::Rounds;
use super::upload::Rest;
use crate::auth::Caller;
use crate::backends::{Asker, Progress};
use crate::bodies::Weight;
use crate::config::Profile;
use crate::dialect::operation::Operation;
use crate::dialect::request::Scanned;
use crate::dialect::scan::Kind;
use crate::profiles::Entry;
use crate::usage::{Ledger, Live};

/// A request whose profile is known.
pub struct ResolvedRequest {
    pub(super) proxy: Arc<Proxy>,
    pub(super) entry: Entry,
    pub(super) scanned: Scanned,
    /// What is still arriving of a long form; locked, for a client's body is read by one alone.
    pub(super) rest: Option<Mutex<Rest>>,
    pub operation: Operation,
    pub(super) headers: HeaderMap,
    pub(super) ledger: Ledger,
    pub caller: Caller,
    /// What is known of its prompt's tokens.
    pub(super) measured: Measured,
}

impl ResolvedRequest {
    /// The profile that answers.
    pub fn profile(&self) -> &Profile {
        &self.entry.profile
    }

    /// Whether the client asked for a stream.
    pub fn wants_stream(&self) -> bool {
        self.scanned.wants_stream().unwrap_or(false)
    }

    /// The request's `tools`, where it has any.
    pub fn tools(&self) -> Option<Vec<Value>> {
        let member = self.scanned.scan.get("tools").filter(|member| member.kind == Kind::Array)?;
        let tools = self.scanned.body.read(member.value.clone());
        Weight::of(&tools).check().ok()?;
        serde_json::from_slice(&tools).ok()
    }

    /// Whether an engine of ours answers, whose ways are known.
    pub fn is_ours(&self) -> bool {
        self.entry.profile.launch.engine.runs_mlx()
    }

    /// A field of the request; none: absent or null.
    pub fn field(&self, key: &str) -> Result<Option<Value>, Failure> {
        Ok(self.scanned.json(key)?)
    }

    /// Whether the client's `tool_choice` binds, and the engine would not hold to it by itself.
    pub fn binds_tools(&self) -> bool {
        let bound = |choice: Value| choice.is_object() || choice == "required";
        self.is_ours() && self.scanned.json("tool_choice").ok().flatten().is_some_and(bound)
    }

    /// The whole request as a tree, which counts as one from now on until the rounds are over.
    pub fn body(&self) -> Result<Map<String, Value>, Failure> {
        let body = self.scanned.body.to_vec();
        let weight = Weight::of(&body).check()?;
        if let Some(held) = self.scanned.body.reservation() {
            held.add(weight)?;
        }
        serde_json::from_slice(&body)
            .map_err(|error| Failure::invalid(format!("the body cannot be read: {error}"), None))
    }

    /// Adds a warning to the record.
    pub fn warn(&self, warning: String) {
        self.ledger.warn(warning);
    }

    /// Returns the counters of the request.
    pub fn live(&self) -> &Arc<Live> {
        self.ledger.live()
    }

    /// Returns what the headers of its answer are made of.
    pub fn head(&self) -> Head {
        Head {
            profile: Arc::clone(&self.entry.name),
            arrived: self.ledger.live().started(),
            progress: Progress::new(),
            live: Some(Arc::clone(self.ledger.live())),
        }
    }

    /// Passes the request through, in one round.
    pub async fn answer(mut self: Box<Self>) -> Response<Answer> {
        let head = self.head();
        match self.plan() {
            Ok(plan) => {
                let ResolvedRequest { proxy, ledger, caller, .. } = *self;
                let (plan, asker) = (Arc::new(plan), asker(&caller));
                Box::new(Attempt { proxy, plan, ledger, asker, head, gone: None }).answer().await
            }
            Err(failure) => head.failed(&refuse(self.ledger, failure)),
        }
    }

    fn plan(&mut self) -> Result<Plan, Failure> {
        let headers = std::mem::take(&mut self.headers);
        let budget = self.caller.budget_left();
        let mut plan =
            Plan::new(&self.entry, &self.scanned, self.operation, headers, budget, &self.measured)?;
        if let Some(rest) = self.rest.take() {
            plan.followed_by(rest.into_inner().unwrap_or_else(PoisonError::into_inner));
        }
        plan.sees_servers = self.caller.sees_all();
        admit(&mut self.ledger, &self.caller, &plan)?;
        Ok(plan)
    }

    /// Ends the request before any backend is asked.
    pub fn refuse(self: Box<Self>, failure: Failure) -> Response<Answer> {
        let head = self.head();
        head.failed(&refuse(self.ledger, failure))
    }

    /// Returns the request for as many rounds as it takes, whose waits `progress` shows.
    pub fn rounds(self: Box<Self>, progress: Progress) -> Rounds {
        Rounds::new(*self, progress)
    }
}

/// Reserves the tokens of a request, or of its first round.
pub(super) fn admit(ledger: &mut Ledger, caller: &Caller, plan: &Plan) -> Result<(), Failure> {
    for warning in &plan.warnings {
        ledger.warn(warning.as_str());
    }
    // Checked now that the record exists: a key that is revoked from here on finds and ends it.
    if caller.has_ended() {
        return Err(Failure::revoked());
    }
    ledger.reserve(plan.estimate, plan.prompt_tokens).map_err(|error| Failure::rate_limited(&error))
}

pub(super) fn asker(caller: &Caller) -> Asker {
    Asker { lane: Arc::clone(&caller.fairness), priority: caller.priority }
}
