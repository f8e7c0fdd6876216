//! Everything that can go wrong with an inference request, as the client will be told: the one
//! table of status, type and code.

use std::borrow::Cow;
use std::error::Error;
use std::time::Duration;

use super::metered::BoxError;
use crate::auth::{LimitError, Standing};
use crate::backends::AcquireError;
use crate::bodies::{Full, ParseError};
use crate::dialect::failure::UpstreamFailure;
use crate::dialect::form::FormError;
use crate::dialect::request::BadRequest;
use crate::dialect::scan::ScanError;
use crate::usage::{Abort, CANCELLED, CANCELLED_CODE, Live, Status, without_server_log};

/// A failure with OpenAI's fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub status: u16,
    /// OpenAI's `type`.
    pub kind: &'static str,
    pub code: &'static str,
    pub message: String,
    /// More that only callers who may see servers read: the reason in full, lines of a backend's log.
    pub server_log: Option<Box<str>>,
    pub param: Option<Cow<'static, str>>,
    /// Seconds after which another try makes sense.
    pub retry_after_s: Option<u32>,
    /// Another try cannot help: told to SDKs that retry by themselves.
    pub no_retry: bool,
    /// How the record names the end.
    pub recorded: Status,
    /// The rate-limit status of the caller's key, as far as it is known.
    pub rate_limits: Option<Box<Standing>>,
}

/// A request's body came too slowly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the body comes too slowly: {arrived} bytes have arrived, and next to nothing in the last {} s; server.body_timeout allows more time",
    timeout.as_secs_f64()
)]
pub struct BodyTimeout {
    /// Bytes.
    pub arrived: u64,
    /// `server.body_timeout`.
    pub timeout: Duration,
}

impl Failure {
    /// A request that is wrong in itself.
    pub fn invalid(message: impl Into<String>, param: Option<String>) -> Failure {
        Failure {
            param: param.map(Cow::Owned),
            ..Failure::refused(400, "invalid_request_error", "invalid_request_error", message)
        }
    }

    /// A prompt that its model cannot hold.
    pub fn context_length(message: impl Into<String>) -> Failure {
        Failure {
            param: Some("messages".into()),
            ..Failure::refused(400, "invalid_request_error", "context_length_exceeded", message)
        }
    }

    /// 413: the body is larger than `limit` bytes.
    pub fn too_large(limit: u64) -> Failure {
        let message = format!("the body is larger than {limit} bytes; raise server.max_body to allow more");
        Failure::refused(413, "invalid_request_error", "request_too_large", message)
    }

    /// 413: the body is larger than the `limit` bytes of its route, which no setting changes.
    pub fn fixed_too_large(limit: u64) -> Failure {
        let message = format!(
            "the body is larger than {limit} bytes, the most that this route takes; send less at once"
        );
        Failure::refused(413, "invalid_request_error", "request_too_large", message)
    }

    /// 408: the body came too slowly.
    pub fn body_timeout(timeout: BodyTimeout) -> Failure {
        Failure::refused(408, "invalid_request_error", "request_timeout", timeout.to_string())
    }

    /// 503: all of the gateway's connections are in use; to be tried again soon.
    pub fn too_many_connections() -> Failure {
        Failure {
            retry_after_s: Some(1),
            ..Failure::refused(
                503,
                "server_error",
                "too_many_connections",
                "all connections are in use; close some, or try again later",
            )
        }
    }

    /// A body that could not be read to its end.
    pub fn unread(error: impl Into<BoxError>) -> Failure {
        let error = error.into();
        let mut cause: Option<&(dyn Error + 'static)> = Some(error.as_ref());
        while let Some(inner) = cause {
            if let Some(timeout) = inner.downcast_ref::<BodyTimeout>() {
                return Failure::body_timeout(*timeout);
            }
            cause = inner.source();
        }
        let refused = Failure::invalid(format!("the body broke off: {error}"), None);
        Failure { recorded: Status::Cancelled, ..refused }
    }

    /// The client reads its answer too slowly, so that its connection ends. Only the record says so.
    pub fn unread_answer(message: impl Into<String>) -> Failure {
        let refused = Failure::refused(499, "invalid_request_error", "write_timeout", message);
        Failure { recorded: Status::Cancelled, ..refused }
    }

    /// 404: no profile and no alias of that name.
    pub fn model_not_found(model: &str) -> Failure {
        let message = format!(
            "no profile or alias is named \"{model}\"; GET /v1/models lists what there is, config.toml adds more"
        );
        Failure {
            param: Some("model".into()),
            ..Failure::refused(404, "invalid_request_error", "model_not_found", message)
        }
    }

    /// 403: this caller may not, for the reason in `message`.
    pub fn not_allowed(message: impl Into<String>) -> Failure {
        Failure::refused(403, "permission_error", "permission_denied", message)
    }

    /// Of a caller that may not ask models.
    pub fn no_inference() -> Failure {
        Failure::not_allowed("this key may not ask models; use one with the scope inference")
    }

    /// 503: the gateway is ending; to be tried again soon.
    pub fn shutting_down() -> Failure {
        Failure {
            retry_after_s: Some(5),
            ..Failure::refused(503, "server_error", "shutting_down", "the gateway is shutting down")
        }
    }

    /// 429: too many wait already; to be tried again in a second.
    pub fn overloaded(message: impl Into<String>) -> Failure {
        Failure { retry_after_s: Some(1), ..Failure::refused(429, "rate_limit_error", "queue_full", message) }
    }

    /// 504: something took longer than it may.
    pub fn timed_out(message: impl Into<String>) -> Failure {
        Failure { recorded: Status::Failed, ..Failure::refused(504, "server_error", "timeout", message) }
    }

    /// The backend could not be reached, broke off or answered nonsense.
    pub fn backend(message: impl Into<String>) -> Failure {
        UpstreamFailure::backend(message).into()
    }

    /// The caller's key has reached a limit.
    pub fn rate_limited(error: &LimitError) -> Failure {
        let seconds = error.retry_after.as_secs_f64().ceil().max(1.0);
        Failure {
            retry_after_s: Some(seconds as u32),
            rate_limits: Some(Box::new(error.standing)),
            ..Failure::refused(429, "rate_limit_error", "rate_limit_exceeded", error.to_string())
        }
    }

    /// The caller's key or session ended between two steps.
    pub fn revoked() -> Failure {
        let message = "the key was revoked, or the session has ended";
        Failure::refused(401, "authentication_error", "invalid_api_key", message)
    }

    /// Why a request that was cancelled ends: for a reason of the gateway's own, or from outside.
    pub fn of_cancelled(live: &Live) -> Failure {
        let Some(abort) = live.aborted() else { return Failure::cancelled() };
        let status = if abort.http_status > 0 { abort.http_status } else { 502 };
        Failure {
            recorded: abort.status,
            ..Failure::refused(status, abort.kind, abort.code, abort.message.as_str())
        }
    }

    /// For the record of a request that is ended with this failure; `begun`: its client was told a status already.
    pub fn to_abort(&self, begun: bool) -> Abort {
        Abort {
            status: self.recorded,
            http_status: if begun { 0 } else { self.status },
            code: self.code,
            kind: self.kind,
            message: self.message.clone(),
        }
    }

    /// It was cancelled from outside.
    pub fn cancelled() -> Failure {
        let refused = Failure::refused(499, "server_error", CANCELLED_CODE, CANCELLED);
        Failure { recorded: Status::Cancelled, ..refused }
    }

    /// The message as it is recorded. [`crate::usage::RequestView::for_owner`] takes from it what its reader may not see.
    pub fn recorded_message(&self) -> String {
        match &self.server_log {
            None => self.message.clone(),
            Some(log) => format!("{}\n{log}", self.message),
        }
    }

    /// The same for a caller that may see servers, or may not.
    pub fn for_caller(mut self, sees_servers: bool) -> Failure {
        if self.server_log.is_some() {
            self.message =
                if sees_servers { self.recorded_message() } else { without_server_log(&self.message) };
            self.server_log = None;
        }
        self
    }

    /// OpenAI's error object.
    pub fn as_json(&self) -> String {
        serde_json::json!({"error": {
            "message": self.message, "type": self.kind, "param": self.param, "code": self.code,
        }})
        .to_string()
    }

    /// The events that tell it in a stream that has begun, and end the stream.
    pub fn as_events(&self) -> String {
        format!("data: {}\n\ndata: [DONE]\n\n", self.as_json())
    }

    /// Any other refusal, with OpenAI's `type` (`kind`) and `code`.
    pub fn refused(
        status: u16,
        kind: &'static str,
        code: &'static str,
        message: impl Into<String>,
    ) -> Failure {
        Failure {
            status,
            kind,
            code,
            message: message.into(),
            server_log: None,
            param: None,
            retry_after_s: None,
            no_retry: false,
            recorded: Status::Refused,
            rate_limits: None,
        }
    }
}

impl From<Full> for Failure {
    fn from(full: Full) -> Self {
        Failure {
            retry_after_s: Some(1),
            ..Failure::refused(503, "server_error", "too_many_bodies", full.to_string())
        }
    }
}

impl From<ParseError> for Failure {
    fn from(error: ParseError) -> Self {
        match error {
            ParseError::TooManyValues(_) => {
                Failure::refused(413, "invalid_request_error", "request_too_large", error.to_string())
            }
            ParseError::Ended => Failure::backend(error.to_string()),
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl From<ScanError> for Failure {
    fn from(error: ScanError) -> Self {
        Failure::invalid(error.to_string(), None)
    }
}

impl From<FormError> for Failure {
    fn from(error: FormError) -> Self {
        Failure::invalid(error.to_string(), None)
    }
}

impl From<BadRequest> for Failure {
    fn from(error: BadRequest) -> Self {
        Failure::invalid(error.message, error.param)
    }
}

impl From<UpstreamFailure> for Failure {
    fn from(failure: UpstreamFailure) -> Self {
        Failure {
            status: failure.status,
            kind: failure.kind,
            code: failure.code,
            message: failure.message,
            server_log: None,
            param: failure.param.map(Cow::Owned),
            retry_after_s: (failure.status == 429).then_some(1),
            no_retry: false,
            recorded: Status::Failed,
            rate_limits: None,
        }
    }
}

impl From<AcquireError> for Failure {
    fn from(error: AcquireError) -> Self {
        let message = error.to_string();
        let failed = |message: String| Failure {
            recorded: Status::Failed,
            no_retry: true,
            ..Failure::refused(503, "server_error", "backend_failed", message)
        };
        match &error {
            AcquireError::Failed { profile, reason, log_tail } => Failure {
                server_log: server_log(Some(reason), log_tail),
                ..failed(format!("the backend of `{profile}` failed"))
            },
            AcquireError::Unavailable { .. } => failed(message),
            AcquireError::StartTimeout { log_tail, .. } => {
                Failure { server_log: server_log(None, log_tail), ..Failure::timed_out(message) }
            }
            AcquireError::QueueFull { wait, .. } => {
                let seconds = wait.map_or(1.0, |wait| wait.as_secs_f64().ceil());
                Failure {
                    retry_after_s: Some((seconds as u32).clamp(1, LONGEST_RETRY_S)),
                    ..Failure::overloaded(message)
                }
            }
            AcquireError::Memory { .. } => Failure {
                no_retry: true,
                ..Failure::refused(503, "server_error", "insufficient_memory", message)
            },
            AcquireError::QueueTimeout { .. } => {
                Failure { recorded: Status::Refused, ..Failure::timed_out(message) }
            }
            AcquireError::ShuttingDown => Failure::shutting_down(),
        }
    }
}

/// The longest wait that a full queue's `Retry-After` tells.
const LONGEST_RETRY_S: u32 = 600;
/// Lines of a backend's log that an error quotes.
const QUOTED_LINES: usize = 8;

/// The part of a message that only callers who may see servers read.
fn server_log(reason: Option<&String>, log: &[String]) -> Option<Box<str>> {
    let tail = log.get(log.len().saturating_sub(QUOTED_LINES)..).unwrap_or_default();
    let lines = (!tail.is_empty()).then(|| format!("last log lines:\n{}", tail.join("\n")));
    let all: Vec<String> = reason.cloned().into_iter().chain(lines).collect();
    (!all.is_empty()).then(|| all.join("\n").into())
}
