//! The ledger of one request: attempts, tokens, reservation, warnings and outcome, from arrival to end. It ends
//! exactly once; one that is dropped records why nobody could finish it.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::live::Live;
use super::recorder::Recorder;
use super::{AttemptRecord, Status, Tokens};
use crate::auth::{Estimate, LimitError, Permit, Right};

/// Error code of a request that was ended from outside.
pub const CANCELLED_CODE: &str = "cancelled";
/// Its message, in records and answers.
pub const CANCELLED: &str =
    "the request was cancelled: by an operator, or because its caller lost the right to it";

/// What is known of a request when it begins.
#[derive(Debug, Clone, Default)]
pub struct NewRequest {
    /// The id already told to the client, one of [`Recorder::new_id`]; never the client's own. None: a
    /// new one is made.
    pub id: Option<Uuid>,
    /// The client's own `x-request-id`, when it sent a valid one.
    pub client_request_id: Option<Arc<str>>,
    pub endpoint: &'static str,
    pub requested_model: Option<Arc<str>>,
    /// Known now, or set by [`Ledger::set_profile`].
    pub profile: Option<Arc<str>>,
    pub model: Option<Arc<str>>,
    pub key: Option<Arc<str>>,
    pub user: Option<Arc<str>>,
    /// What it goes on by: [`Recorder::cancel_ended`] ends it after that.
    pub right: Right,
    pub streamed: bool,
}

/// How a request ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    pub status: Status,
    /// The client's status; 0: the one that was recorded when the headers went out, if any.
    pub http_status: u16,
    pub error_code: Option<Cow<'static, str>>,
    /// Our own words, never the prompt's or the answer's.
    pub error_message: Option<String>,
    pub finish_reason: Option<Cow<'static, str>>,
    /// Tokens that the backend reported for the attempt under way. [`Ledger`] estimates unknown ones.
    pub tokens: Tokens,
}

impl Outcome {
    /// Returns an outcome with that status and no details.
    pub fn new(status: Status, http_status: u16) -> Outcome {
        Outcome {
            status,
            http_status,
            error_code: None,
            error_message: None,
            finish_reason: None,
            tokens: Tokens::default(),
        }
    }
}

/// The ledger of a request that has begun.
pub struct Ledger {
    live: Arc<Live>,
    recorder: Recorder,
    /// The caller's reservation.
    permit: Permit,
    /// Tokens of the prompt of the attempt under way, in case the backend reports none.
    prompt_estimate: u64,
    attempt: Option<Attempt>,
    has_ended: bool,
}

/// An attempt under way.
struct Attempt {
    backend: String,
    started: Instant,
    started_at: i64,
    upstream_status: Option<u16>,
    /// Tokens that were counted before it began.
    counted_before: u64,
}

impl Ledger {
    pub(super) fn new(live: Arc<Live>, recorder: Recorder) -> Ledger {
        Ledger {
            live,
            recorder,
            permit: Permit::unlimited(),
            prompt_estimate: 0,
            attempt: None,
            has_ended: false,
        }
    }

    /// Returns the gateway's own id of the request.
    pub fn id(&self) -> Uuid {
        self.live.id()
    }

    /// Returns the counters of the request, and its cancellation.
    pub fn live(&self) -> &Arc<Live> {
        &self.live
    }

    /// Sets what the body asks for: a model, and whether its answer is to be streamed.
    pub fn set_requested(&self, model: Option<Arc<str>>, streamed: bool) {
        self.live.set_requested(model, streamed);
    }

    /// Sets the profile that the requested model resolved to.
    pub fn set_profile(&self, profile: &Arc<str>, model: Option<&Arc<str>>) {
        self.live.set_profile(profile, model, self.recorder.throughput());
    }

    /// Records the waits for a place and for the backend's start, in milliseconds.
    pub fn set_waits(&self, queue_ms: f64, start_ms: f64) {
        self.live.change(|detail| (detail.queue_ms, detail.start_ms) = (Some(queue_ms), Some(start_ms)));
    }

    /// Adds a warning to the record, such as a field that was dropped.
    pub fn warn(&self, warning: impl Into<String>) {
        self.live.warn(warning.into());
    }

    /// Keeps the caller's reservation until the end, which settles it.
    pub fn hold(&mut self, permit: Permit) {
        self.live.set_rate_limits(permit.standing());
        self.permit = permit;
    }

    /// Whether the caller's tokens are limited.
    pub fn has_token_limits(&self) -> bool {
        self.permit.has_tokens()
    }

    /// Reserves the tokens of the request, or of its next round. `prompt`: tokens of the prompt, in case the backend
    /// reports none.
    ///
    /// # Errors
    /// If the caller's budget has less left.
    pub fn reserve(&mut self, estimate: Estimate, prompt: u64) -> Result<(), LimitError> {
        self.permit.reserve(estimate)?;
        self.live.set_rate_limits(self.permit.standing());
        self.prompt_estimate = prompt;
        Ok(())
    }

    /// Begins an attempt at a backend, which gets the request now.
    pub fn begin_attempt(&mut self, backend: &str) {
        self.attempt = Some(Attempt {
            backend: backend.to_owned(),
            started: self.live.now(),
            started_at: self.live.unix_ms(),
            upstream_status: None,
            counted_before: self.live.completion_tokens(),
        });
    }

    /// Records the status of the upstream's answer.
    pub fn set_upstream_status(&mut self, status: u16) {
        if let Some(attempt) = &mut self.attempt {
            attempt.upstream_status = Some(status);
        }
    }

    /// Returns how many tokens were counted in the attempt under way.
    pub fn counted(&self) -> u64 {
        let before = self.attempt.as_ref().map_or(0, |attempt| attempt.counted_before);
        self.live.completion_tokens() - before
    }

    /// Ends the attempt under way; another one may follow. A completed one settles the reservation of its round if the
    /// backend reported all tokens; otherwise they stay reserved until the request ends.
    pub fn end_attempt(&mut self, status: Status, reported: Tokens, error: Option<String>) {
        let tokens = self.push_attempt(status, reported, error);
        if let (Status::Completed, false, Some(prompt), Some(completion)) =
            (status, tokens.estimated, tokens.prompt, tokens.completion)
        {
            self.permit.end_round(prompt.saturating_add(completion));
        }
    }

    /// Records a tool call between two rounds.
    pub fn push_tool_call(&self, tool: &str, duration: Duration, error: Option<String>) {
        let duration_ms = duration.as_secs_f64() * 1000.0;
        self.live.push_attempt(AttemptRecord {
            number: 0,
            backend: format!("tool:{tool}"),
            started_at: self.live.unix_ms() - duration_ms as i64,
            duration_ms,
            status: if error.is_none() { Status::Completed } else { Status::Failed },
            upstream_status: None,
            error,
            tokens: Tokens::default(),
        });
    }

    /// Ends the request.
    pub fn finish(mut self, outcome: Outcome) {
        self.end(outcome);
    }

    /// Records the attempt under way and returns its tokens.
    fn push_attempt(&mut self, status: Status, reported: Tokens, error: Option<String>) -> Tokens {
        let Some(attempt) = self.attempt.take() else { return Tokens::default() };
        let counted = self.live.completion_tokens() - attempt.counted_before;
        let tokens = attempt_tokens(status, reported, counted, self.prompt_estimate);
        self.live.push_attempt(AttemptRecord {
            number: 0,
            backend: attempt.backend,
            started_at: attempt.started_at,
            duration_ms: self.live.now().saturating_duration_since(attempt.started).as_secs_f64() * 1000.0,
            status,
            upstream_status: attempt.upstream_status,
            error,
            tokens,
        });
        tokens
    }

    fn end(&mut self, mut outcome: Outcome) {
        if std::mem::replace(&mut self.has_ended, true) {
            return;
        }
        let reported = std::mem::take(&mut outcome.tokens);
        match self.attempt {
            Some(_) => drop(self.push_attempt(outcome.status, reported, outcome.error_message.clone())),
            None => self.live.add_reported(reported),
        }
        let used = self.recorder.end(&self.live, outcome);
        std::mem::take(&mut self.permit)
            .settle(used.prompt.unwrap_or(0).saturating_add(used.completion.unwrap_or(0)));
    }

    /// Returns why a request ends that is dropped: the gateway or an operator ended it, its time has passed, or its
    /// client has left.
    fn dropped(&self) -> Outcome {
        // The status that the client gets, unless it got one before.
        let unanswered = |status| if self.live.has_responded() { 0 } else { status };
        let outcome = |status, http_status, code, message: &str| Outcome {
            error_code: Some(Cow::Borrowed(code)),
            error_message: Some(message.to_owned()),
            ..Outcome::new(status, http_status)
        };
        if let Some(abort) = self.live.aborted() {
            outcome(abort.status, abort.http_status, abort.code, &abort.message)
        } else if self.live.was_ended() {
            outcome(Status::Cancelled, unanswered(499), CANCELLED_CODE, CANCELLED)
        } else if self.live.deadline().is_some_and(|deadline| Instant::now() >= deadline) {
            outcome(Status::Failed, unanswered(504), "timeout", "timeouts.total has passed")
        } else {
            Outcome::new(Status::Cancelled, 0)
        }
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        if !self.has_ended {
            let outcome = self.dropped();
            self.end(outcome);
        }
    }
}

/// Returns the tokens of an attempt: as reported, or else one per delta that was `counted`, and the estimate of the
/// prompt. A prompt counts as read if an answer began or its client left; one that failed before does not.
fn attempt_tokens(status: Status, reported: Tokens, counted: u64, prompt_estimate: u64) -> Tokens {
    let mut tokens = reported;
    if tokens.completion.is_none() && counted > 0 {
        (tokens.completion, tokens.estimated) = (Some(counted), true);
    }
    let is_read = tokens.completion.is_some_and(|tokens| tokens > 0) || status == Status::Cancelled;
    if tokens.prompt.is_none() && is_read && prompt_estimate > 0 {
        (tokens.prompt, tokens.estimated) = (Some(prompt_estimate), true);
    }
    tokens
}
