//! A request on its way: what the data plane tells about it, until exactly one end is told.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::live::Live;
use super::recorder::Recorder;
use super::{AttemptRecord, Status, Tokens};
use crate::auth::{Estimate, LimitError, Permit, Right, Standing};

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
    /// Known now, or told by [`Ongoing::set_profile`].
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
    /// What the client was answered; 0: what [`Ongoing::responded`] was told, if anything.
    pub http_status: u16,
    pub error_code: Option<Cow<'static, str>>,
    /// Our own words, never the prompt's or the answer's.
    pub error_message: Option<String>,
    pub finish_reason: Option<Cow<'static, str>>,
    /// As the backend reported them. What is unknown here is taken from what [`Live`] counted.
    pub tokens: Tokens,
    /// None: from the first tokens that [`Live`] was told of.
    pub ttft: Option<Duration>,
}

impl Outcome {
    /// An end with that status, as the client was told it.
    pub fn new(status: Status, http_status: u16) -> Outcome {
        Outcome {
            status,
            http_status,
            error_code: None,
            error_message: None,
            finish_reason: None,
            tokens: Tokens::default(),
            ttft: None,
        }
    }

    /// The end of a request that is dropped: its client has left, unless the gateway ends it by itself.
    pub fn dropped(live: &Live) -> Outcome {
        let Some(abort) = live.aborted() else { return Outcome::new(Status::Cancelled, 0) };
        Outcome {
            error_code: Some(Cow::Borrowed(abort.code)),
            error_message: Some(abort.message.clone()),
            ..Outcome::new(abort.status, abort.http_status)
        }
    }
}

/// A request that has begun. Dropped without [`finish`](Ongoing::finish), it is recorded as cancelled
/// with the tokens that went through.
pub struct Ongoing {
    live: Arc<Live>,
    recorder: Recorder,
    ended: bool,
    /// What the caller's key has reserved, and tokens of the prompts, about.
    permit: Option<(Permit, u64)>,
    /// Whether a backend has got the request.
    is_sent: bool,
}

impl Ongoing {
    pub(super) fn new(live: Arc<Live>, recorder: Recorder) -> Ongoing {
        Ongoing { live, recorder, ended: false, permit: None, is_sent: false }
    }

    /// Our own id.
    pub fn id(&self) -> Uuid {
        self.live.id()
    }

    /// For the metered body: counters and the wish to cancel.
    pub fn live(&self) -> &Arc<Live> {
        &self.live
    }

    /// What the requested model resolved to.
    pub fn set_profile(&self, profile: &Arc<str>, model: Option<&Arc<str>>) {
        self.live.set_profile(profile, model, self.recorder.throughput());
    }

    /// Milliseconds spent waiting for a turn.
    pub fn set_queue_ms(&self, queue_ms: f64) {
        self.live.change(|detail| detail.queue_ms = Some(queue_ms));
    }

    /// Milliseconds spent waiting for the backend to start.
    pub fn set_start_ms(&self, start_ms: f64) {
        self.live.change(|detail| detail.start_ms = Some(start_ms));
    }

    /// The status sent to the client, for the case that the request ends without an outcome.
    pub fn responded(&self, http_status: u16) {
        self.live.change(|detail| detail.http_status = http_status);
    }

    /// Something that the record is to mention, such as a field that was dropped.
    pub fn warn(&self, warning: impl Into<String>) {
        self.live.warn(warning.into());
    }

    /// Adds a try at a backend, or a round, to the record.
    pub fn push_attempt(&self, attempt: AttemptRecord) {
        self.live.push_attempt(attempt);
    }

    /// Holds what the caller's key has admitted until the end.
    pub fn hold(&mut self, permit: Permit) {
        self.permit = Some((permit, 0));
    }

    /// How the caller's key stood when it was asked last.
    pub fn standing(&self) -> Standing {
        self.permit.as_ref().map(|(permit, _)| permit.standing()).unwrap_or_default()
    }

    /// Whether the caller's key limits tokens.
    pub fn has_token_limits(&self) -> bool {
        self.permit.as_ref().is_some_and(|(permit, _)| permit.has_tokens())
    }

    /// A backend gets the request, and begins to read its prompt.
    pub fn note_sent(&mut self) {
        self.is_sent = true;
    }

    /// Reserves the tokens of the request or of its next round, and returns how the key stands then. `prompt`: tokens of
    /// the prompt, about, for the case that the backend does not come to tell.
    pub fn reserve(&mut self, estimate: Estimate, prompt: u64) -> Result<Standing, LimitError> {
        let Some((permit, prompts)) = &mut self.permit else { return Ok(Standing::default()) };
        permit.reserve(estimate)?;
        *prompts = prompts.saturating_add(prompt);
        Ok(permit.standing())
    }

    /// A round has ended, others may follow. What the backend does not tell stays reserved.
    pub fn end_round(&mut self, tokens: &Tokens) {
        if let (Some((permit, _)), Some(prompt), Some(completion)) =
            (&mut self.permit, tokens.prompt, tokens.completion)
        {
            permit.end_round(prompt.saturating_add(completion));
        }
    }

    /// The end, told once.
    pub fn finish(mut self, outcome: Outcome) {
        self.end(outcome);
    }

    /// Says why a request had to end that was dropped before anybody could.
    fn explain(&self, outcome: &mut Outcome) {
        if outcome.status != Status::Cancelled || outcome.error_code.is_some() {
            return;
        }
        if self.live.was_ended() {
            outcome.error_code = Some(Cow::Borrowed(CANCELLED_CODE));
            outcome.error_message = Some(CANCELLED.to_owned());
        } else if self.live.deadline().is_some_and(|deadline| Instant::now() >= deadline) {
            outcome.status = Status::Failed;
            outcome.error_code = Some(Cow::Borrowed("timeout"));
            outcome.error_message = Some("timeouts.total has passed".to_owned());
        }
    }

    fn end(&mut self, mut outcome: Outcome) {
        if !std::mem::replace(&mut self.ended, true) {
            self.explain(&mut outcome);
            let was_left = outcome.status == Status::Cancelled && self.is_sent;
            let tokens = self.recorder.end(&self.live, outcome);
            if let Some((permit, prompt)) = self.permit.take() {
                // A prompt that failed without a single token is not known to have been computed; one whose client
                // left is.
                let completion = tokens.completion.unwrap_or(0);
                let is_read = completion > 0 || was_left;
                let prompt = tokens.prompt.unwrap_or(if is_read { prompt } else { 0 });
                permit.settle(prompt.saturating_add(completion));
            }
        }
    }
}

impl Drop for Ongoing {
    fn drop(&mut self) {
        if !self.ended {
            self.end(Outcome::dropped(&self.live));
        }
    }
}
