//! One running request, shared between the data plane that counts, the writer that renders its row,
//! and the operator who may cancel it. Counting costs a few relaxed atomics.

use std::borrow::Cow;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;
use uuid::Uuid;

use super::ledger::{NewRequest, Outcome};
use super::throughput::{Meter, Throughput};
use super::{AttemptRecord, Clock, RequestRecord, Status, Tokens, figures};
use crate::auth::Standing;
use crate::metrics::{Ended, Metrics};
use crate::store::requests::RowSource;

/// Bytes of a text that came from outside.
const TEXT_BYTES_MAX: usize = 256;
const MESSAGE_BYTES_MAX: usize = 2048;
const WARNINGS_MAX: usize = 32;
/// Retries and tool rounds of one request.
const ATTEMPTS_MAX: usize = 128;

/// A request while it runs: counters that are written without a lock, and what is told of it from outside.
pub struct Live {
    id: Uuid,
    request: NewRequest,
    started_at_unix_ms: i64,
    started: Instant,
    clock: Arc<dyn Clock>,
    /// Set once, when the profile is known.
    meter: OnceLock<Arc<Meter>>,
    completion: AtomicU64,
    /// Nanoseconds after `started`; 0: no token yet.
    first_token: AtomicU64,
    /// Nanoseconds after `started`; `u64::MAX`: none.
    deadline: AtomicU64,
    cancelled: AtomicBool,
    /// Why the gateway itself ends it.
    abort: OnceLock<Abort>,
    waker: AtomicWaker,
    rendering: Rendering,
    detail: Mutex<Detail>,
}

/// Why the gateway ends a request by itself, as its record is to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Abort {
    pub status: Status,
    /// 0: the client was told one already.
    pub http_status: u16,
    pub code: &'static str,
    /// OpenAI's `type` of the error.
    pub kind: &'static str,
    pub message: String,
}

/// How the row in the store compares to what is known here.
#[derive(Default)]
struct Rendering {
    /// In the store's queue, and not rendered since.
    queued: AtomicBool,
    /// The writer knows of it, so that it can't be lost any more.
    known: AtomicBool,
    /// The detail has changed since.
    stale: AtomicBool,
    completion: AtomicU64,
    ended: AtomicBool,
}

/// What changes seldom.
#[derive(Default)]
pub(super) struct Detail {
    requested_model: Option<Arc<str>>,
    streamed: bool,
    profile: Option<Arc<str>>,
    model: Option<Arc<str>>,
    pub(super) queue_ms: Option<f64>,
    pub(super) start_ms: Option<f64>,
    http_status: u16,
    rate_limits: Standing,
    warnings: Vec<String>,
    attempts: Vec<AttemptRecord>,
    /// Tokens of the attempts that have ended.
    sum: Tokens,
    /// Tokens that were counted until then.
    counted: u64,
    end: Option<End>,
}

struct End {
    outcome: Outcome,
    duration_ms: f64,
}

impl Live {
    pub(super) fn new(
        id: Uuid,
        started_at_unix_ms: i64,
        mut request: NewRequest,
        clock: Arc<dyn Clock>,
    ) -> Live {
        shorten(&mut request.client_request_id);
        shorten(&mut request.requested_model);
        let detail = Detail {
            requested_model: request.requested_model.take(),
            streamed: request.streamed,
            ..Detail::default()
        };
        Live {
            id,
            request,
            started_at_unix_ms,
            started: clock.now(),
            clock,
            meter: OnceLock::new(),
            completion: AtomicU64::new(0),
            first_token: AtomicU64::new(0),
            deadline: AtomicU64::new(u64::MAX),
            cancelled: AtomicBool::new(false),
            abort: OnceLock::new(),
            waker: AtomicWaker::new(),
            rendering: Rendering::default(),
            detail: Mutex::new(detail),
        }
    }

    /// Our own id, a UUIDv7 of the time it began.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// When the request began, for durations.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// So many non-empty deltas (content, reasoning or tool calls) have gone through.
    pub fn add_tokens(&self, tokens: u64) {
        self.add_tokens_at(tokens, self.clock.now());
    }

    /// The same for a caller that has the time at hand.
    pub fn add_tokens_at(&self, tokens: u64, now: Instant) {
        if self.first_token.load(Ordering::Relaxed) == 0 {
            self.first_token_at(now);
        }
        self.completion.fetch_add(tokens, Ordering::Relaxed);
        if let Some(meter) = self.meter.get() {
            meter.add(tokens, now);
        }
    }

    /// The first delta with content has come; only the first call counts.
    pub fn first_token_at(&self, now: Instant) {
        let nanos = now.saturating_duration_since(self.started).as_nanos().max(1) as u64;
        if self.first_token.compare_exchange(0, nanos, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.rendering.stale.store(true, Ordering::Relaxed);
        }
    }

    /// Tokens counted so far.
    pub fn completion_tokens(&self) -> u64 {
        self.completion.load(Ordering::Relaxed)
    }

    /// Sets when the answer has to have ended; the earliest one counts.
    pub fn set_deadline(&self, at: Instant) {
        let nanos = at.saturating_duration_since(self.started).as_nanos();
        self.deadline.fetch_min(u64::try_from(nanos).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Returns when the answer has to have ended.
    pub fn deadline(&self) -> Option<Instant> {
        let nanos = self.deadline.load(Ordering::Relaxed);
        if nanos == u64::MAX { None } else { self.started.checked_add(Duration::from_nanos(nanos)) }
    }

    /// Whether somebody has asked for its end.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    /// Ready once an operator has ended the request. One waiter at a time: the newest is woken.
    pub fn poll_cancelled(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_cancelled() {
            return Poll::Ready(());
        }
        self.waker.register(cx.waker());
        // Once more: it may have been cancelled just before the waker was there.
        if self.is_cancelled() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// The same as a future.
    pub async fn cancelled(&self) {
        poll_fn(|cx| self.poll_cancelled(cx)).await;
    }

    /// Whether its caller may no longer go on with it.
    pub(super) fn has_lost_right(&self) -> bool {
        self.request.right.has_ended()
    }

    /// Whether it was ended from outside, or its caller lost the right to it.
    pub(super) fn was_ended(&self) -> bool {
        self.is_cancelled() || self.has_lost_right()
    }

    pub(super) fn user(&self) -> Option<&Arc<str>> {
        self.request.user.as_ref()
    }

    pub(super) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Ends it for a reason of the gateway's own; the first one counts. Whoever serves it finds it cancelled, and a
    /// request that is dropped from here on did not lose its client.
    pub fn abort(&self, abort: Abort) {
        self.abort.get_or_init(|| abort);
        self.cancel();
    }

    /// Why the gateway ends it by itself.
    pub fn aborted(&self) -> Option<&Abort> {
        self.abort.get()
    }

    pub(super) fn set_profile(&self, profile: &Arc<str>, model: Option<&Arc<str>>, throughput: &Throughput) {
        if self.meter.get().is_none()
            && let Some(meter) = throughput.meter(profile)
        {
            self.meter.get_or_init(|| meter);
        }
        self.change(|detail| {
            detail.profile = Some(Arc::clone(profile));
            detail.model = model.cloned();
        });
    }

    pub(super) fn set_requested(&self, mut model: Option<Arc<str>>, streamed: bool) {
        shorten(&mut model);
        self.change(|detail| (detail.requested_model, detail.streamed) = (model, streamed));
    }

    /// Adds a warning to the record.
    pub fn warn(&self, mut warning: String) {
        warning.truncate(warning.floor_char_boundary(MESSAGE_BYTES_MAX));
        self.change(|detail| {
            if detail.warnings.len() < WARNINGS_MAX {
                detail.warnings.push(warning);
            }
        });
    }

    /// Records the status that the client gets, before the headers go out.
    pub fn responded(&self, http_status: u16) {
        self.change(|detail| detail.http_status = http_status);
    }

    /// Whether the client got a status.
    pub fn has_responded(&self) -> bool {
        self.detail().http_status > 0
    }

    /// Returns the rate-limit status of the caller's key when it was last asked.
    pub fn rate_limits(&self) -> Standing {
        self.detail().rate_limits
    }

    pub(super) fn set_rate_limits(&self, rate_limits: Standing) {
        self.detail().rate_limits = rate_limits;
    }

    /// Adds an attempt, which is numbered by its position.
    pub(super) fn push_attempt(&self, mut attempt: AttemptRecord) {
        let counted = self.completion_tokens();
        self.change(|detail| {
            detail.add(&attempt.tokens, counted);
            if detail.attempts.len() < ATTEMPTS_MAX {
                attempt.number = u32::try_from(detail.attempts.len()).unwrap_or(u32::MAX);
                detail.attempts.push(attempt);
            }
        });
    }

    /// Adds tokens that belong to no attempt.
    pub(super) fn add_reported(&self, tokens: Tokens) {
        if tokens.completion.is_some() || tokens.prompt.is_some() {
            let counted = self.completion_tokens();
            self.change(|detail| detail.add(&tokens, counted));
        }
    }

    pub(super) fn now(&self) -> Instant {
        self.clock.now()
    }

    pub(super) fn unix_ms(&self) -> i64 {
        self.clock.unix_ms()
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Detail)) {
        change(&mut self.detail());
        self.rendering.stale.store(true, Ordering::Relaxed);
    }

    /// Ends the request; called once by its [`Ledger`](super::Ledger). Returns the tokens of all attempts.
    pub(super) fn end(&self, mut outcome: Outcome) -> Tokens {
        if let Some(message) = &mut outcome.error_message {
            message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX));
        }
        if let Some(Cow::Owned(reason)) = &mut outcome.finish_reason {
            reason.truncate(reason.floor_char_boundary(TEXT_BYTES_MAX));
        }
        let now = self.clock.now();
        let counted = self.completion_tokens();
        let tokens = self.detail().tokens(counted);
        if let Some(meter) = self.meter.get() {
            meter.settle(counted, tokens.completion.unwrap_or(0), now);
        }
        let duration_ms = now.saturating_duration_since(self.started).as_secs_f64() * 1000.0;
        self.change(|detail| {
            (detail.sum, detail.counted) = (tokens, counted);
            detail.end = Some(End { outcome, duration_ms });
        });
        tokens
    }

    /// Tells monitoring of the end.
    pub(super) fn count(&self, metrics: &Metrics) {
        let detail = self.detail();
        let Some(End { outcome, duration_ms }) = &detail.end else { return };
        let tokens = detail.sum;
        metrics.observe(&Ended {
            endpoint: self.request.endpoint,
            profile: detail.profile.as_deref(),
            status: outcome.status.name(),
            error_code: outcome.error_code.as_deref(),
            duration_ms: *duration_ms,
            ttft_ms: self.first_token_ms(),
            prompt_tokens: tokens.prompt,
            completion_tokens: tokens.completion,
        });
    }

    fn first_token_ms(&self) -> Option<f64> {
        let nanos = self.first_token.load(Ordering::Relaxed);
        (nanos > 0).then(|| nanos as f64 / 1e6)
    }

    /// True: it is to be put into the store's queue, where it is not yet.
    pub(super) fn enqueue(&self) -> bool {
        !self.rendering.queued.swap(true, Ordering::AcqRel)
    }

    /// The store's queue did not take it. True when that loses the record.
    pub(super) fn not_queued(&self) -> bool {
        self.rendering.queued.store(false, Ordering::Release);
        !self.rendering.known.load(Ordering::Acquire)
    }

    /// The record as it stands, with the time so far for one that runs.
    pub(super) fn record(&self) -> RequestRecord {
        let detail = self.detail();
        let counted = self.completion_tokens();
        let mut record = RequestRecord {
            id: self.id.hyphenated().to_string(),
            client_request_id: self.request.client_request_id.clone(),
            started_at: self.started_at_unix_ms,
            endpoint: Cow::Borrowed(self.request.endpoint),
            requested_model: detail.requested_model.clone(),
            profile: detail.profile.clone(),
            model: detail.model.clone(),
            key: self.request.key.clone(),
            user: self.request.user.clone(),
            streamed: detail.streamed,
            status: Status::Running,
            http_status: detail.http_status,
            error_code: None,
            error_message: None,
            finish_reason: None,
            tokens: detail.tokens(counted),
            queue_ms: detail.queue_ms,
            start_ms: detail.start_ms,
            ttft_ms: self.first_token_ms(),
            duration_ms: None,
            decode_tps: None,
            warnings: detail.warnings.clone(),
            attempts: detail.attempts.clone(),
        };
        if let Some(end) = &detail.end {
            end.write_to(&mut record);
        }
        record
    }

    fn detail(&self) -> MutexGuard<'_, Detail> {
        self.detail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl End {
    fn write_to(&self, record: &mut RequestRecord) {
        let outcome = &self.outcome;
        record.status = outcome.status;
        if outcome.http_status > 0 {
            record.http_status = outcome.http_status;
        }
        record.error_code = outcome.error_code.clone();
        record.error_message = outcome.error_message.clone();
        record.finish_reason = outcome.finish_reason.clone();
        record.duration_ms = Some(self.duration_ms);
        record.decode_tps =
            figures::decode_tokens_per_s(record.tokens.completion, record.ttft_ms, self.duration_ms);
    }
}

impl RowSource for Live {
    fn row(&self) -> RequestRecord {
        let rendering = &self.rendering;
        rendering.known.store(true, Ordering::Release);
        // Before reading: what changes from here on queues the request again.
        rendering.queued.swap(false, Ordering::AcqRel);
        rendering.stale.swap(false, Ordering::AcqRel);
        rendering.completion.store(self.completion_tokens(), Ordering::Relaxed);
        let record = self.record();
        rendering.ended.store(record.status != Status::Running, Ordering::Release);
        record
    }

    fn changed(&self) -> bool {
        let rendering = &self.rendering;
        rendering.stale.load(Ordering::Acquire)
            || rendering.completion.load(Ordering::Relaxed) != self.completion_tokens()
    }

    fn ended(&self) -> bool {
        self.rendering.ended.load(Ordering::Acquire)
    }
}

impl Detail {
    /// Adds the tokens of an attempt that ended when so many were `counted`.
    fn add(&mut self, tokens: &Tokens, counted: u64) {
        self.sum = sum(&self.sum, tokens);
        self.counted = counted;
    }

    /// Returns the tokens of all attempts; of the one under way, those that were counted.
    fn tokens(&self, counted: u64) -> Tokens {
        match counted.saturating_sub(self.counted) {
            0 => self.sum,
            more => sum(&self.sum, &Tokens { completion: Some(more), estimated: true, ..Tokens::default() }),
        }
    }
}

fn sum(one: &Tokens, other: &Tokens) -> Tokens {
    let add = |one: Option<u64>, other: Option<u64>| match (one, other) {
        (Some(one), Some(other)) => Some(one.saturating_add(other)),
        (one, other) => one.or(other),
    };
    Tokens {
        prompt: add(one.prompt, other.prompt),
        completion: add(one.completion, other.completion),
        cached: add(one.cached, other.cached),
        reasoning: add(one.reasoning, other.reasoning),
        estimated: one.estimated || other.estimated,
    }
}

fn shorten(text: &mut Option<Arc<str>>) {
    if let Some(long) = text.as_ref().filter(|text| text.len() > TEXT_BYTES_MAX) {
        let (kept, _) = long.split_at(long.floor_char_boundary(TEXT_BYTES_MAX));
        *text = Some(Arc::from(kept));
    }
}
