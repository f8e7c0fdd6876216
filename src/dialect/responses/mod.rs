//! OpenAI's Responses API over chat completions: requests, items, streams and whole answers. Pure
//! transforms; knows nothing of how a chat is served or what is kept.

mod fields;
mod items;
mod messages;
mod object;
mod output;
mod request;
mod stream;
mod thought;
mod tools;

#[cfg(test)]
mod tests;

pub use output::Manner;
pub use request::Asked;
pub use stream::{End, Events};

use serde_json::Value;

/// Why a request cannot be served as it is; always the client's to mend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ResponsesError {
    pub message: String,
    /// The field at fault.
    pub param: String,
    pub code: &'static str,
}

type Result<T> = std::result::Result<T, ResponsesError>;

fn fault<T>(param: impl Into<String>, words: impl AsRef<str>) -> Result<T> {
    fault_of("invalid_request_error", param, words)
}

fn fault_of<T>(code: &'static str, param: impl Into<String>, words: impl AsRef<str>) -> Result<T> {
    let param = param.into();
    Err(ResponsesError { message: format!("\"{param}\" {}", words.as_ref()), param, code })
}

/// What stands in a value's `type`.
fn kind(value: &Value) -> &str {
    text(value, "type")
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}
