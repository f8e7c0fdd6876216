//! Anthropic's Messages API over chat completions: requests, whole answers, streams and errors.
//! Pure transforms; knows nothing of how a chat is served.

mod answer;
mod error;
mod request;
mod stream;

#[cfg(test)]
mod tests;

pub use answer::answer;
pub use error::error;
pub use request::{MessagesError, chat, estimated_tokens};
pub use stream::Events;

use serde_json::{Value, json};

use crate::dialect::facts::Usage;

/// Why a model stopped, in Anthropic's words, and the stop sequence it was, if it was one.
fn stop(finish_reason: &str, matched: Option<&str>) -> (&'static str, Value) {
    match (finish_reason, matched) {
        ("stop", Some(sequence)) => ("stop_sequence", sequence.into()),
        ("tool_calls", _) => ("tool_use", Value::Null),
        ("length", _) => ("max_tokens", Value::Null),
        ("content_filter", _) => ("refusal", Value::Null),
        _ => ("end_turn", Value::Null),
    }
}

/// OpenAI's usage as Anthropic counts: what came out of a cache apart.
fn usage(openai: &Value) -> Value {
    let usage = Usage::of(openai).unwrap_or_default();
    let cached = usage.cached.unwrap_or(0);
    json!({
        "input_tokens": usage.prompt.unwrap_or(0).saturating_sub(cached),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached,
        "output_tokens": usage.completion.unwrap_or(0),
    })
}

/// An id in Anthropic's form out of OpenAI's.
fn message_id(openai: Option<&str>) -> String {
    let id = openai.unwrap_or_default();
    let bare = id.strip_prefix("chatcmpl").unwrap_or(id).trim_start_matches(['-', '_']);
    format!("msg_{}", if bare.is_empty() { "0" } else { bare })
}
