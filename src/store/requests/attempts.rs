//! How attempts and warnings lie in their columns: compact JSON, absent when there are none.

use serde::{Deserialize, Serialize};

use super::{AttemptRecord, Status, Tokens};

/// The stored form, apart from the record so that neither binds the other.
#[derive(Serialize, Deserialize)]
struct Stored<S> {
    number: u32,
    backend: S,
    started_at: i64,
    duration_ms: f64,
    status: S,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    upstream_status: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<S>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    prompt: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    completion: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cached: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reasoning: Option<u64>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    estimated: bool,
}

pub(super) fn encode(attempts: &[AttemptRecord]) -> Option<String> {
    let stored: Vec<Stored<&str>> = attempts.iter().map(to_stored).collect();
    if stored.is_empty() { None } else { serde_json::to_string(&stored).ok() }
}

/// What cannot be read is left out: a row with odd attempts is still a row.
pub(super) fn decode(text: Option<&str>) -> Vec<AttemptRecord> {
    let stored: Option<Vec<Stored<String>>> = text.and_then(|text| serde_json::from_str(text).ok());
    stored.into_iter().flatten().map(from_stored).collect()
}

pub(super) fn encode_warnings(warnings: &[String]) -> Option<String> {
    if warnings.is_empty() { None } else { serde_json::to_string(warnings).ok() }
}

pub(super) fn decode_warnings(text: Option<&str>) -> Vec<String> {
    text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

fn to_stored(attempt: &AttemptRecord) -> Stored<&str> {
    Stored {
        number: attempt.number,
        backend: &attempt.backend,
        started_at: attempt.started_at,
        duration_ms: attempt.duration_ms,
        status: attempt.status.name(),
        upstream_status: attempt.upstream_status,
        error: attempt.error.as_deref(),
        prompt: attempt.tokens.prompt,
        completion: attempt.tokens.completion,
        cached: attempt.tokens.cached,
        reasoning: attempt.tokens.reasoning,
        estimated: attempt.tokens.estimated,
    }
}

fn from_stored(stored: Stored<String>) -> AttemptRecord {
    AttemptRecord {
        number: stored.number,
        backend: stored.backend,
        started_at: stored.started_at,
        duration_ms: stored.duration_ms,
        status: Status::from_name(&stored.status).unwrap_or(Status::Failed),
        upstream_status: stored.upstream_status,
        error: stored.error,
        tokens: Tokens {
            prompt: stored.prompt,
            completion: stored.completion,
            cached: stored.cached,
            reasoning: stored.reasoning,
            estimated: stored.estimated,
        },
    }
}
