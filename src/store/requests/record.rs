//! What is kept of a request once it has begun: content-free figures, one record per request with
//! its attempts. Unknown is `None`, never 0.

use std::borrow::Cow;
use std::sync::Arc;

/// How a request stands or ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    Running,
    Completed,
    Failed,
    /// Turned away before any backend saw it.
    Refused,
    /// The client left, or an operator ended it.
    Cancelled,
    /// The gateway died while it ran.
    Interrupted,
}

impl Status {
    /// As the store and the API write it.
    pub fn name(self) -> &'static str {
        match self {
            Status::Running => "running",
            Status::Completed => "completed",
            Status::Failed => "failed",
            Status::Refused => "refused",
            Status::Cancelled => "cancelled",
            Status::Interrupted => "interrupted",
        }
    }

    /// The status of that name; `None` for any other.
    pub fn from_name(name: &str) -> Option<Status> {
        [
            Status::Running,
            Status::Completed,
            Status::Failed,
            Status::Refused,
            Status::Cancelled,
            Status::Interrupted,
        ]
        .into_iter()
        .find(|status| status.name() == name)
    }
}

/// Tokens of one request or attempt, as the backend reported them or as they were counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Cached ones included.
    pub prompt: Option<u64>,
    /// Reasoning included.
    pub completion: Option<u64>,
    pub cached: Option<u64>,
    pub reasoning: Option<u64>,
    /// Counted as one per non-empty delta because the backend did not say.
    pub estimated: bool,
}

/// One request, from its arrival to its end.
#[derive(Debug, Clone, PartialEq)]
pub struct RequestRecord {
    /// UUIDv7 of ours.
    pub id: String,
    /// The client's own `x-request-id`, when it sent a valid one.
    pub client_request_id: Option<Arc<str>>,
    /// Milliseconds since 1970, UTC.
    pub started_at: i64,
    /// `/v1/chat/completions` and the like.
    pub endpoint: Cow<'static, str>,
    /// What the client wrote into `model`.
    pub requested_model: Option<Arc<str>>,
    /// The profile it resolved to.
    pub profile: Option<Arc<str>>,
    /// The model that profile serves.
    pub model: Option<Arc<str>>,
    pub key: Option<Arc<str>>,
    pub user: Option<Arc<str>>,
    /// Whether the client asked for a stream.
    pub streamed: bool,
    pub status: Status,
    /// What the client was answered; 0 while that is unknown.
    pub http_status: u16,
    pub error_code: Option<Cow<'static, str>>,
    /// Our own words, never the prompt's or the answer's.
    pub error_message: Option<String>,
    pub finish_reason: Option<Cow<'static, str>>,
    pub tokens: Tokens,
    /// Milliseconds spent waiting for a turn.
    pub queue_ms: Option<f64>,
    /// Milliseconds spent waiting for the backend to start.
    pub start_ms: Option<f64>,
    /// Milliseconds from arrival to the first delta with content, reasoning or a tool call.
    pub ttft_ms: Option<f64>,
    /// Milliseconds from arrival to the end.
    pub duration_ms: Option<f64>,
    /// Tokens per second after the first token; none for fewer than two tokens.
    pub decode_tps: Option<f64>,
    /// Fields dropped from the request and the like.
    pub warnings: Vec<String>,
    pub attempts: Vec<AttemptRecord>,
}

/// One try at a backend on behalf of a request.
#[derive(Debug, Clone, PartialEq)]
pub struct AttemptRecord {
    /// From 0.
    pub number: u32,
    /// The backend that served it.
    pub backend: String,
    /// Milliseconds since 1970, UTC.
    pub started_at: i64,
    pub duration_ms: f64,
    pub status: Status,
    /// The upstream's HTTP status, when it got that far.
    pub upstream_status: Option<u16>,
    pub error: Option<String>,
    pub tokens: Tokens,
}
