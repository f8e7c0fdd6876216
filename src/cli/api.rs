//! The admin API's answers, as far as the commands show them. Tolerant on purpose: a figure that is
//! missing or null is shown as `-`, so that this program and a gateway of another version get along.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// `{"error": {…}}`, as every refusal is worded.
#[derive(Debug, Clone, Deserialize)]
pub struct ErrorBody {
    pub error: ApiError,
}

#[derive(Debug, Clone, Default, Deserialize)]
pub struct ApiError {
    #[serde(default)]
    pub message: String,
    pub code: Option<Value>,
    /// The HTTP status that goes with an error in the middle of a stream, when it is told.
    pub status: Option<u16>,
    /// What the backend wrote last, where a backend is the reason.
    #[serde(default, deserialize_with = "or_default")]
    pub log_tail: Vec<String>,
}

impl ApiError {
    pub fn new(message: impl Into<String>) -> ApiError {
        ApiError { message: message.into(), ..ApiError::default() }
    }
}

/// `GET /api/v1/system`.
#[derive(Debug, Deserialize)]
pub struct System {
    pub version: Option<String>,
    pub uptime_s: Option<f64>,
    pub pid: Option<u32>,
    pub data_dir: Option<String>,
    pub config_file: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub listen: Vec<String>,
    pub auth: Option<Value>,
    /// How many backends are in which state.
    #[serde(default, deserialize_with = "or_default")]
    pub backends: Map<String, Value>,
    pub records_lost: Option<u64>,
    pub unwritten_revocations: Option<UnwrittenRevocations>,
    pub memory: Option<Memory>,
    pub cpu_percent: Option<f64>,
    pub gpu: Option<Gpu>,
    pub thermal: Option<String>,
}

/// Revocations that wait for the store.
#[derive(Debug, Deserialize)]
pub struct UnwrittenRevocations {
    pub waiting: Option<u64>,
    pub until_restart: Option<u64>,
}

#[derive(Debug, Deserialize)]
pub struct Gpu {
    pub percent: Option<f64>,
}

#[derive(Debug, Deserialize)]
pub struct Memory {
    pub budget_bytes: Option<u64>,
    pub used_bytes: Option<u64>,
    pub total_bytes: Option<u64>,
    pub promised_bytes: Option<u64>,
    pub available_bytes: Option<u64>,
    pub pressure: Option<String>,
}

/// `GET /api/v1/servers`.
#[derive(Debug, Deserialize)]
pub struct Servers {
    pub servers: Vec<Server>,
}

/// One backend; also the answer to start, stop and restart.
#[derive(Debug, Default, Deserialize)]
pub struct Server {
    #[serde(default, deserialize_with = "or_default")]
    pub id: String,
    #[serde(default, deserialize_with = "or_default")]
    pub profiles: Vec<String>,
    pub engine: Option<String>,
    pub model: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub state: String,
    #[serde(alias = "step")]
    pub detail: Option<String>,
    pub pid: Option<u32>,
    pub port: Option<u16>,
    pub uptime_s: Option<f64>,
    pub idle_stop_in_s: Option<f64>,
    pub in_flight: Option<u64>,
    pub queued: Option<u64>,
    pub cpu_percent: Option<f64>,
    pub memory_bytes: Option<u64>,
    pub memory_expected_bytes: Option<u64>,
    pub tokens_per_s: Option<f64>,
    pub total_tokens: Option<u64>,
    pub error: Option<Words>,
    #[serde(default, deserialize_with = "or_default")]
    pub log_tail: Vec<String>,
}

impl Server {
    pub fn serves(&self, profile: &str) -> bool {
        self.id == profile || self.profiles.iter().any(|name| name == profile)
    }
}

/// A reason, alone or inside an error object.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Words {
    Plain(String),
    Object { message: String },
}

impl Words {
    pub fn text(&self) -> &str {
        match self {
            Words::Plain(text) | Words::Object { message: text } => text,
        }
    }
}

/// `GET /api/v1/usage`.
#[derive(Debug, Deserialize)]
pub struct Usage {
    #[serde(default, deserialize_with = "or_default")]
    pub groups: Vec<UsageGroup>,
    pub total: UsageGroup,
}

#[derive(Debug, Default, Deserialize)]
pub struct UsageGroup {
    /// Null where a record has none: no key, no user.
    pub group: Option<String>,
    pub requests: Option<u64>,
    #[serde(default, deserialize_with = "or_default")]
    pub by_status: ByStatus,
    /// The same, where it does not stand in an object of its own.
    #[serde(flatten)]
    pub statuses: ByStatus,
    pub prompt_tokens: Option<u64>,
    pub completion_tokens: Option<u64>,
    pub cached_tokens: Option<u64>,
    pub reasoning_tokens: Option<u64>,
    pub estimated_requests: Option<f64>,
    pub estimated_share: Option<f64>,
    pub ttft_ms: Option<Percentiles>,
    pub decode_tokens_per_s: Option<Percentiles>,
}

/// How many requests ended how.
#[derive(Debug, Default, Deserialize)]
pub struct ByStatus {
    pub failed: Option<u64>,
    pub refused: Option<u64>,
    pub cancelled: Option<u64>,
    pub interrupted: Option<u64>,
}

impl UsageGroup {
    /// Requests without an answer that came to its end.
    pub fn unsuccessful(&self) -> u64 {
        let ByStatus { failed, refused, cancelled, interrupted } = &self.by_status;
        let flat = &self.statuses;
        [
            failed.or(flat.failed),
            refused.or(flat.refused),
            cancelled.or(flat.cancelled),
            interrupted.or(flat.interrupted),
        ]
        .into_iter()
        .flatten()
        .sum()
    }

    /// Whether some tokens were counted by the gateway because the backend did not.
    pub fn partly_estimated(&self) -> bool {
        [self.estimated_requests, self.estimated_share].into_iter().flatten().any(|n| n > 0.0)
    }
}

#[derive(Debug, Deserialize)]
pub struct Percentiles {
    pub p50: Option<f64>,
    pub p95: Option<f64>,
}

/// `GET /api/v1/requests`.
#[derive(Debug, Deserialize)]
pub struct Requests {
    pub requests: Vec<Request>,
}

/// One request; `GET /api/v1/requests/{id}` adds its attempts.
#[derive(Debug, Deserialize)]
pub struct Request {
    #[serde(default, deserialize_with = "or_default")]
    pub id: String,
    pub client_request_id: Option<String>,
    #[serde(default, deserialize_with = "instant")]
    pub started_at: Option<i64>,
    pub endpoint: Option<String>,
    pub requested_model: Option<String>,
    pub profile: Option<String>,
    pub model: Option<String>,
    pub key: Option<String>,
    pub user: Option<String>,
    pub streamed: Option<bool>,
    #[serde(default, deserialize_with = "or_default")]
    pub status: String,
    pub http_status: Option<u16>,
    pub error_code: Option<String>,
    pub error_message: Option<String>,
    pub finish_reason: Option<String>,
    pub prompt_tokens: Option<u64>,
    pub completion_tokens: Option<u64>,
    pub cached_tokens: Option<u64>,
    pub reasoning_tokens: Option<u64>,
    pub estimated: Option<bool>,
    pub queue_ms: Option<f64>,
    pub start_ms: Option<f64>,
    pub ttft_ms: Option<f64>,
    pub duration_ms: Option<f64>,
    pub decode_tokens_per_s: Option<f64>,
    #[serde(default, deserialize_with = "or_default")]
    pub warnings: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub attempts: Vec<Attempt>,
}

#[derive(Debug, Deserialize)]
pub struct Attempt {
    pub number: Option<u32>,
    pub backend: Option<String>,
    pub duration_ms: Option<f64>,
    pub status: Option<String>,
    pub upstream_status: Option<u16>,
    pub error: Option<String>,
}

/// `GET /api/v1/engines`.
#[derive(Debug, Deserialize)]
pub struct Engines {
    pub engines: Vec<Engine>,
}

#[derive(Debug, Deserialize)]
pub struct Engine {
    #[serde(default, deserialize_with = "or_default")]
    pub name: String,
    pub managed: Option<bool>,
    pub state: Option<String>,
    pub version: Option<String>,
    pub current: Option<String>,
    pub previous: Option<String>,
    pub latest: Option<String>,
    pub path: Option<String>,
}

/// One line of the stream that an installation answers with.
#[derive(Debug, Deserialize)]
pub struct EngineStep {
    pub step: Option<String>,
    pub detail: Option<String>,
    pub done: Option<bool>,
    pub version: Option<String>,
    pub error: Option<ApiError>,
}

/// Reads null as what an absent value would be.
fn or_default<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}

/// Reads an instant as milliseconds since 1970 from just that, or from RFC 3339.
fn instant<'de, D: Deserializer<'de>>(from: D) -> Result<Option<i64>, D::Error> {
    Ok(match Option::<Value>::deserialize(from)? {
        Some(Value::Number(ms)) => ms.as_i64(),
        Some(Value::String(text)) => text.parse::<Timestamp>().ok().map(Timestamp::as_millisecond),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_or_null_or_unknown_does_no_harm() -> serde_json::Result<()> {
        let server: Server = serde_json::from_str(r#"{"id":"a","profiles":null,"pid":null,"new":[1]}"#)?;
        assert!(server.serves("a") && server.pid.is_none());
        let empty: Server = serde_json::from_str("{}")?;
        assert_eq!(empty.state, "");
        Ok(())
    }

    #[test]
    fn a_reason_may_stand_alone_or_in_an_object() -> serde_json::Result<()> {
        for text in [r#""gone""#, r#"{"message":"gone","code":"x"}"#] {
            let words: Words = serde_json::from_str(text)?;
            assert_eq!(words.text(), "gone");
        }
        Ok(())
    }

    #[test]
    fn an_instant_may_be_milliseconds_or_rfc_3339() -> serde_json::Result<()> {
        for text in [r#"{"started_at":1500}"#, r#"{"started_at":"1970-01-01T00:00:01.5Z"}"#] {
            let request: Request = serde_json::from_str(text)?;
            assert_eq!(request.started_at, Some(1500));
        }
        Ok(())
    }
}
