//! Records and reports as they are shown: JSON with snake_case names, units in the names, and null
//! for what is unknown.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{AttemptRecord, RequestRecord};

/// A running request looks like any other, with its counters as of now.
pub type LiveView = RequestView;

/// A request, as the API tells it. Times are in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RequestView {
    pub id: String,
    /// The client's own `x-request-id`.
    pub client_request_id: Option<String>,
    /// running, completed, failed, refused, cancelled or interrupted.
    pub status: String,
    pub profile: Option<String>,
    pub model: Option<String>,
    pub requested_model: Option<String>,
    pub endpoint: String,
    pub streamed: bool,
    /// RFC 3339, UTC, with milliseconds.
    pub started_at: String,
    pub started_at_ms: i64,
    /// Cached ones included.
    pub prompt_tokens: Option<u64>,
    /// Reasoning included.
    pub completion_tokens: Option<u64>,
    pub total_tokens: Option<u64>,
    pub cached_tokens: Option<u64>,
    pub reasoning_tokens: Option<u64>,
    /// Counted as one token per delta, because the backend did not say.
    pub estimated: bool,
    pub queue_ms: Option<f64>,
    pub start_ms: Option<f64>,
    pub ttft_ms: Option<f64>,
    pub duration_ms: Option<f64>,
    pub decode_tokens_per_s: Option<f64>,
    pub http_status: Option<u16>,
    pub error_code: Option<String>,
    pub error_message: Option<String>,
    pub finish_reason: Option<String>,
    pub warnings: Vec<String>,
    pub attempts: Vec<AttemptView>,
    pub key: Option<String>,
    pub user: Option<String>,
}

/// A try at a backend, or a round of a chat with tools.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct AttemptView {
    pub number: u32,
    pub backend: String,
    pub status: String,
    pub started_at: String,
    pub started_at_ms: i64,
    pub duration_ms: f64,
    pub upstream_status: Option<u16>,
    pub error: Option<String>,
    pub prompt_tokens: Option<u64>,
    pub completion_tokens: Option<u64>,
    pub cached_tokens: Option<u64>,
    pub reasoning_tokens: Option<u64>,
    pub estimated: bool,
}

/// The answer to a usage query.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct UsageReport {
    /// RFC 3339, UTC; null: since the first record.
    pub from: Option<String>,
    /// Not included; null: up to now.
    pub to: Option<String>,
    pub tz: String,
    /// day, key, user, profile, model or none.
    pub group_by: String,
    pub total: UsageGroup,
    /// Days in order; anything else by tokens, most first.
    pub groups: Vec<UsageGroup>,
}

/// What a group of requests used. Sums leave out requests whose figure is unknown, and are null where
/// none is known.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct UsageGroup {
    /// The day (2025-06-15), or the name of what is grouped by; null where a request has none.
    pub group: Option<String>,
    /// What people call the key or account that is grouped by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub requests: u64,
    pub by_status: ByStatus,
    pub prompt_tokens: Option<u64>,
    pub completion_tokens: Option<u64>,
    pub total_tokens: Option<u64>,
    pub cached_tokens: Option<u64>,
    pub reasoning_tokens: Option<u64>,
    /// Of the requests with tokens, the part (0 to 1) whose tokens were estimated.
    pub estimated_share: Option<f64>,
    /// Percentiles are told to within one per cent.
    pub ttft_ms: Percentiles,
    pub decode_tokens_per_s: Percentiles,
    /// Of those that ended, refusals left out.
    pub avg_duration_ms: Option<f64>,
}

/// Requests by what became of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ByStatus {
    pub running: u64,
    pub completed: u64,
    pub failed: u64,
    pub refused: u64,
    pub cancelled: u64,
    pub interrupted: u64,
}

/// Half of the requests were at or below `p50`, all but one in twenty at or below `p95`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Percentiles {
    pub p50: Option<f64>,
    pub p95: Option<f64>,
}

impl From<RequestRecord> for RequestView {
    fn from(record: RequestRecord) -> RequestView {
        let tokens = record.tokens;
        RequestView {
            id: record.id,
            client_request_id: owned(record.client_request_id),
            status: record.status.name().to_owned(),
            profile: owned(record.profile),
            model: owned(record.model),
            requested_model: owned(record.requested_model),
            endpoint: record.endpoint.into_owned(),
            streamed: record.streamed,
            started_at: rfc3339(record.started_at),
            started_at_ms: record.started_at,
            prompt_tokens: tokens.prompt,
            completion_tokens: tokens.completion,
            total_tokens: total(tokens.prompt, tokens.completion),
            cached_tokens: tokens.cached,
            reasoning_tokens: tokens.reasoning,
            estimated: tokens.estimated,
            queue_ms: record.queue_ms.map(rounded),
            start_ms: record.start_ms.map(rounded),
            ttft_ms: record.ttft_ms.map(rounded),
            duration_ms: record.duration_ms.map(rounded),
            decode_tokens_per_s: record.decode_tps.map(rounded),
            http_status: (record.http_status > 0).then_some(record.http_status),
            error_code: record.error_code.map(Into::into),
            error_message: record.error_message,
            finish_reason: record.finish_reason.map(Into::into),
            warnings: record.warnings,
            attempts: record.attempts.into_iter().map(AttemptView::from).collect(),
            key: owned(record.key),
            user: owned(record.user),
        }
    }
}

/// Codes of errors whose messages have lines for those who may see servers behind their first one.
const WITH_SERVER_LOG: [&str; 2] = ["backend_failed", "timeout"];

/// Returns the part of such a message that every caller may read, and where the rest can be seen.
pub fn without_server_log(message: &str) -> String {
    let first = message.lines().next().unwrap_or_default();
    format!("{first}; an administrator sees its log under Servers")
}

impl RequestView {
    /// The same for the account that made the request, which may not see servers.
    pub fn for_owner(mut self) -> RequestView {
        let has_log = self.error_code.as_deref().is_some_and(|code| WITH_SERVER_LOG.contains(&code));
        if let Some(message) = self.error_message.as_mut().filter(|text| has_log && text.contains('\n')) {
            *message = without_server_log(message);
        }
        self
    }
}

impl From<AttemptRecord> for AttemptView {
    fn from(attempt: AttemptRecord) -> AttemptView {
        AttemptView {
            number: attempt.number,
            backend: attempt.backend,
            status: attempt.status.name().to_owned(),
            started_at: rfc3339(attempt.started_at),
            started_at_ms: attempt.started_at,
            duration_ms: rounded(attempt.duration_ms),
            upstream_status: attempt.upstream_status,
            error: attempt.error,
            prompt_tokens: attempt.tokens.prompt,
            completion_tokens: attempt.tokens.completion,
            cached_tokens: attempt.tokens.cached,
            reasoning_tokens: attempt.tokens.reasoning,
            estimated: attempt.tokens.estimated,
        }
    }
}

/// The sum of what is known; none when neither is.
pub(super) fn total(prompt: Option<u64>, completion: Option<u64>) -> Option<u64> {
    match (prompt, completion) {
        (None, None) => None,
        (prompt, completion) => Some(prompt.unwrap_or(0).saturating_add(completion.unwrap_or(0))),
    }
}

/// Three decimals: microseconds of a millisecond figure.
pub(super) fn rounded(figure: f64) -> f64 {
    (figure * 1000.0).round() / 1000.0
}

/// RFC 3339, UTC, with milliseconds.
pub fn rfc3339(unix_ms: i64) -> String {
    let clamped = unix_ms.clamp(Timestamp::MIN.as_millisecond(), Timestamp::MAX.as_millisecond());
    Timestamp::from_millisecond(clamped).map_or_else(|_| String::new(), |time| format!("{time:.3}"))
}

fn owned(text: Option<Arc<str>>) -> Option<String> {
    text.map(|text| text.as_ref().to_owned())
}
