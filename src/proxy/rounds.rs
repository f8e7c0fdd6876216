//! A request that is read and resolved, and what may become of it: one answer, or several rounds
//! within one record. What the rounds are for is not known here.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, header};
use serde_json::{Map, Value};

use super::answer::Answer;
use super::attempt::Attempt;
use super::estimate::Measured;
use super::events::Events;
use super::failure::Failure;
use super::metered::Metered;
use super::plan::Plan;
use super::upload::Rest;
use super::upstream::UpstreamBody;
use super::{Proxy, ending, failed, headers};
use crate::auth::{Caller, Standing};
use crate::backends::{Asker, Progress};
use crate::bodies::{Held, Weight};
use crate::config::Profile;
use crate::dialect::facts::Facts;
use crate::dialect::operation::Operation;
use crate::dialect::request::Scanned;
use crate::dialect::rope::Rope;
use crate::dialect::scan::{Kind, Scanner};
use crate::profiles::Entry;
use crate::usage::{AttemptRecord, Live, Ongoing, Outcome, Status, Tokens};

/// A request whose profile is known.
pub struct Opened {
    pub(super) proxy: Arc<Proxy>,
    pub(super) entry: Entry,
    pub(super) scanned: Scanned,
    /// What is still arriving of a long form; locked, for a client's body is read by one alone.
    pub(super) rest: Option<Mutex<Rest>>,
    pub operation: Operation,
    pub(super) headers: HeaderMap,
    pub(super) ongoing: Ongoing,
    pub caller: Caller,
    pub arrived: Instant,
    /// What is known of its prompt's tokens.
    pub(super) measured: Measured,
}

const PROCESSING_MS: HeaderName = HeaderName::from_static("openai-processing-ms");

/// Where a round leaves its request for the next one.
pub(super) type Back = Arc<Mutex<Option<(Ongoing, Facts)>>>;

/// Several rounds of one request.
pub struct Rounds {
    proxy: Arc<Proxy>,
    entry: Entry,
    operation: Operation,
    headers: HeaderMap,
    caller: Caller,
    /// What is known of the first prompt's tokens.
    measured: Measured,
    live: Arc<Live>,
    /// Between rounds.
    ongoing: Option<Ongoing>,
    /// Within one.
    round: Option<(Box<Metered<UpstreamBody>>, Back)>,
    /// Of the next entry in the record.
    number: u32,
    /// The first round's, while it waits to begin.
    first: Option<Box<Plan>>,
    progress: Progress,
    /// The request as a tree takes that much of the bound, in whoever makes the rounds.
    _held: Option<Arc<Held>>,
}

impl Opened {
    /// The profile that answers.
    pub fn profile(&self) -> &Profile {
        &self.entry.profile
    }

    /// How the caller's key stood when the request was let in.
    pub fn standing(&self) -> Standing {
        self.ongoing.standing()
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

    /// Something that the record is to mention.
    pub fn warn(&self, warning: String) {
        self.ongoing.warn(warning);
    }

    /// Passed through, in one round.
    pub async fn answer(self) -> Response<Answer> {
        let Opened { proxy, entry, scanned, rest, operation, headers, ongoing, caller, arrived, measured } =
            self;
        let mut plan = match Plan::new(&entry, &scanned, operation, headers, caller.budget_left(), &measured)
        {
            Ok(plan) => plan,
            Err(failure) => {
                ending::refuse(ongoing, &failure);
                return failed(&failure);
            }
        };
        if let Some(rest) = rest {
            plan.followed_by(rest.into_inner().unwrap_or_else(PoisonError::into_inner));
        }
        for warning in &plan.warnings {
            ongoing.warn(warning.as_str());
        }
        let ongoing = match admitted(ongoing, &caller, &plan) {
            Ok((ongoing, standing)) => {
                plan.standing = standing;
                plan.sees_servers = caller.sees_all();
                ongoing
            }
            Err(failure) => return failed(&failure),
        };
        let attempt = Attempt::new(proxy, plan, ongoing, asker(&caller), Progress::new());
        timed(attempt.answer().await, arrived)
    }

    /// Ends it before any backend is asked.
    pub fn refuse(self, failure: &Failure) -> Response<Answer> {
        ending::refuse(self.ongoing, failure);
        failed(failure)
    }

    /// For as many rounds as it takes.
    pub fn rounds(self) -> Rounds {
        Rounds {
            live: Arc::clone(self.ongoing.live()),
            proxy: self.proxy,
            entry: self.entry,
            operation: self.operation,
            headers: self.headers,
            caller: self.caller,
            measured: self.measured,
            ongoing: Some(self.ongoing),
            round: None,
            number: 0,
            first: None,
            progress: Progress::new(),
            _held: self.scanned.body.reservation(),
        }
    }
}

impl Rounds {
    /// The counters of the one record that all rounds share.
    pub fn live(&self) -> Arc<Live> {
        Arc::clone(&self.live)
    }

    /// What they wait for now, and what their waits came to.
    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// Reserves the caller's limits for the first round, whose body this is, before anything is done for the request.
    /// A failure has ended the request's record.
    pub fn admit(&mut self, body: &Value) -> Result<(), Failure> {
        let (ongoing, plan) = self.plan(body)?;
        for warning in &plan.warnings {
            ongoing.warn(warning.as_str());
        }
        // All rounds are one request to the caller's limits.
        let (ongoing, _) = admitted(ongoing, &self.caller, &plan)?;
        (self.ongoing, self.first) = (Some(ongoing), Some(Box::new(plan)));
        Ok(())
    }

    /// Asks the backend. A failure has ended the request's record.
    pub async fn begin(&mut self, body: &Value) -> Result<(), Failure> {
        if self.number == 0 && self.first.is_none() {
            self.admit(body)?;
        }
        let (ongoing, mut plan) = match (self.first.take(), self.ongoing.take()) {
            (Some(plan), Some(ongoing)) => (ongoing, *plan),
            (_, ongoing) => {
                self.ongoing = ongoing;
                let (mut ongoing, plan) = self.plan(body)?;
                if let Err(error) = ongoing.reserve(plan.estimate, plan.prompt_tokens) {
                    let failure = Failure::rate_limited(&error);
                    ending::refuse(ongoing, &failure);
                    return Err(failure);
                }
                (ongoing, plan)
            }
        };
        plan.sees_servers = self.caller.sees_all();
        let back = Back::default();
        let (proxy, progress) = (Arc::clone(&self.proxy), self.progress.clone());
        let attempt = Attempt::new(proxy, plan, ongoing, asker(&self.caller), progress);
        let metered = attempt.round(self.number, Arc::clone(&back)).await?;
        self.number += 1;
        self.round = Some((Box::new(metered), back));
        Ok(())
    }

    /// What is to be done for a round.
    fn plan(&mut self, body: &Value) -> Result<(Ongoing, Plan), Failure> {
        let Some(ongoing) = self.ongoing.take() else {
            return Err(Failure::backend("a round was begun within another"));
        };
        let planned = scanned(body).and_then(|scanned| {
            let (headers, budget) = (self.headers.clone(), self.caller.budget_left());
            Plan::new(&self.entry, &scanned, self.operation, headers, budget, &self.measured)
        });
        match planned {
            Ok(plan) => Ok((ongoing, plan)),
            Err(failure) => {
                ending::refuse(ongoing, &failure);
                Err(failure)
            }
        }
    }

    /// Something that the record is to mention; between rounds alone.
    pub fn warn(&self, warning: String) {
        if let Some(ongoing) = &self.ongoing {
            ongoing.warn(warning);
        }
    }

    /// The next bytes of the round's event stream.
    pub async fn next(&mut self) -> Option<Bytes> {
        let (metered, _) = self.round.as_mut()?;
        std::future::poll_fn(|cx| metered.poll_bytes(cx)).await
    }

    /// Ends the round; false: the request has ended with it.
    pub fn completed(&mut self) -> bool {
        let Some((metered, back)) = self.round.take() else { return false };
        drop(metered);
        let left = back.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((ongoing, _facts)) = left else { return false };
        self.ongoing = Some(ongoing);
        true
    }

    /// Something that was done between rounds, for the record.
    pub fn note(&mut self, what: String, duration_ms: f64, error: Option<String>) {
        let Some(ongoing) = &self.ongoing else { return };
        ongoing.push_attempt(AttemptRecord {
            number: self.number,
            backend: what,
            started_at: self.proxy.clock.unix_ms() - duration_ms as i64,
            duration_ms,
            status: if error.is_none() { Status::Completed } else { Status::Failed },
            upstream_status: None,
            error,
            tokens: Tokens::default(),
        });
        self.number += 1;
    }

    /// The request has been answered, with this use of tokens.
    pub fn finish(&mut self, facts: &Facts) {
        if let Some(ongoing) = self.ongoing.take() {
            let mut outcome = Outcome::new(Status::Completed, 200);
            outcome.tokens = ending::tokens(facts);
            outcome.finish_reason = facts.finish_reason.clone().map(std::borrow::Cow::Owned);
            ongoing.finish(outcome);
        }
    }

    /// The request failed, between rounds or within one.
    pub fn fail(&mut self, failure: &Failure) {
        if let Some((mut metered, _)) = self.round.take() {
            metered.abort(failure);
        }
        match self.ongoing.take() {
            Some(ongoing) => ending::refuse(ongoing, failure),
            None => self.live.abort(failure.to_abort(false)),
        }
    }
}

/// An answer out of rounds, with what is known of their waits. One that goes out while it waits tells its
/// present place, all others the first.
pub fn waited(mut response: Response<Answer>, progress: &Progress) -> Response<Answer> {
    let out = response.headers_mut();
    if let Some(waits) = progress.first_waits() {
        headers::waits(out, waits.queue_ms, waits.start_ms);
    }
    headers::place(out, progress.place().or_else(|| progress.first_place()));
    response
}

/// An answer as an event stream of its own.
pub fn streamed(events: Events, profile: &str, arrived: Instant) -> Response<Answer> {
    let mut response = Response::new(Answer::Events(events));
    headers::event_stream(response.headers_mut());
    headers::profile(response.headers_mut(), profile);
    timed(response, arrived)
}

/// An answer as one JSON object.
pub fn collected(json: Vec<u8>, profile: &str, arrived: Instant) -> Response<Answer> {
    let mut response = Response::new(Answer::Full(json.into()));
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    headers::profile(response.headers_mut(), profile);
    timed(response, arrived)
}

/// The request with its tokens reserved; a refused one has ended.
fn admitted(mut ongoing: Ongoing, caller: &Caller, plan: &Plan) -> Result<(Ongoing, Standing), Failure> {
    // Asked only now that the record runs: a key revoked from here on finds and ends it.
    let reserved = match caller.has_ended() {
        true => Err(Failure::revoked()),
        false => {
            ongoing.reserve(plan.estimate, plan.prompt_tokens).map_err(|error| Failure::rate_limited(&error))
        }
    };
    match reserved {
        Ok(standing) => Ok((ongoing, standing)),
        Err(failure) => {
            ending::refuse(ongoing, &failure);
            Err(failure)
        }
    }
}

fn asker(caller: &Caller) -> Asker {
    Asker { lane: Arc::clone(&caller.fairness), priority: caller.priority }
}

fn timed(mut answer: Response<Answer>, arrived: Instant) -> Response<Answer> {
    let took = HeaderValue::from(u64::try_from(arrived.elapsed().as_millis()).unwrap_or(u64::MAX));
    answer.headers_mut().insert(PROCESSING_MS, took);
    answer
}

fn scanned(body: &Value) -> Result<Scanned, Failure> {
    let bytes = Bytes::from(body.to_string());
    let mut scanner = Scanner::default();
    scanner.feed(&bytes)?;
    let mut rope = Rope::default();
    rope.push(bytes);
    Ok(Scanned::new(rope, scanner.finish()?))
}
