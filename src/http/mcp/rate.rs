//! Tool calls over MCP count against the limits of their caller. A request is known to be a call only by its body, so
//! that is read here; whatever is not surely something else counts as a call.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, Method, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{MESSAGE_MAX, refuse};
use crate::auth::Caller;
use crate::proxy::{Failure, rate_limit_headers};

/// Code of our own for a refusal by a limit, in JSON-RPC's range for servers.
const RATE_LIMITED: i32 = -32_029;

/// The part of a message that says what it is. A key that comes twice is an error.
#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    method: Option<String>,
}

/// Lets a request pass if it calls no tool, or if the caller's limits admit a call; its permit is held as long as the
/// request. Returns how the caller's key stands then, as headers.
pub async fn admit(caller: &Caller, request: Request<Body>) -> Result<(Request<Body>, HeaderMap), Response> {
    if request.method() != Method::POST {
        return Ok((request, HeaderMap::new()));
    }
    let (mut parts, body) = request.into_parts();
    let Ok(bytes) = to_bytes(body, MESSAGE_MAX).await else {
        let message = format!("a message has at most {MESSAGE_MAX} bytes");
        return Err(refuse(StatusCode::PAYLOAD_TOO_LARGE, TOO_LARGE, &message));
    };
    let mut standing = HeaderMap::new();
    if is_call(&bytes) {
        let permit = caller.admit_work().map_err(|error| limited(&Failure::rate_limited(&error), &bytes))?;
        standing = rate_limit_headers(permit.standing());
        parts.extensions.insert(Arc::new(permit));
    }
    Ok((Request::from_parts(parts, Body::from(bytes)), standing))
}

/// JSON-RPC's code for a request that is none.
const TOO_LARGE: i32 = -32_600;

fn is_call(message: &[u8]) -> bool {
    match serde_json::from_slice::<Message>(message) {
        Ok(message) => message.method.is_some_and(|method| method == "tools/call"),
        Err(_) => true,
    }
}

/// The refusal of a call as its client expects it.
fn limited(failure: &Failure, message: &[u8]) -> Response {
    let id = serde_json::from_slice::<Value>(message)
        .map(|mut message| message.get_mut("id").map(Value::take).unwrap_or_default());
    let body = json!({
        "jsonrpc": "2.0",
        "id": id.unwrap_or_default(),
        "error": {"code": RATE_LIMITED, "message": failure.message, "data": {"code": failure.code}},
    });
    let mut answer = (StatusCode::TOO_MANY_REQUESTS, axum::Json(body)).into_response();
    let headers = answer.headers_mut();
    headers.extend(rate_limit_headers(failure.rate_limits.as_deref().copied().unwrap_or_default()));
    if let Some(seconds) = failure.retry_after_s {
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_call_accepts_nothing_that_hides_a_call() {
        for call in [
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#,
            r#"{"method":"tools\/call"}"#,
            r#"{"method":"ping","method":"tools/call"}"#,
            r#"[{"method":"tools/call"}]"#,
            "nonsense",
        ] {
            assert!(is_call(call.as_bytes()), "{call}");
        }
        for other in [r#"{"id":1,"method":"tools/list"}"#, r#"{"id":1,"result":{"method":"tools/call"}}"#] {
            assert!(!is_call(other.as_bytes()), "{other}");
        }
    }
}
