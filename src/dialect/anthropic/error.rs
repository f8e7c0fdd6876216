//! Errors in Anthropic's shape.

use serde_json::{Value, json};

/// OpenAI's error object with the status it comes with.
pub fn error(status: u16, openai: &Value, request_id: Option<&str>) -> Value {
    let inner = openai.get("error").unwrap_or(openai);
    let message = inner.get("message").and_then(Value::as_str).unwrap_or("something went wrong");
    json!({
        "type": "error",
        "error": {"type": kind(status), "message": message},
        "request_id": request_id,
    })
}

fn kind(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        504 => "timeout_error",
        503 | 529 => "overloaded_error",
        400..=499 => "invalid_request_error",
        _ => "api_error",
    }
}
