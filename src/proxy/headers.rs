//! Which headers cross the gateway, in either direction. Everything else stays where it came from:
//! credentials, cookies, hop-by-hop headers, and whatever a backend might take for a setting.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// What a client's header may tell a backend.
const UPSTREAM: [HeaderName; 4] = [
    header::ACCEPT,
    header::USER_AGENT,
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
];

/// The headers of a request as it goes to a backend.
pub fn upstream(client: &HeaderMap, request_id: &HeaderValue) -> HeaderMap {
    let mut out = HeaderMap::with_capacity(8);
    out.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for name in &UPSTREAM {
        if let Some(value) = client.get(name) {
            out.insert(name.clone(), value.clone());
        }
    }
    out.insert(HeaderName::from_static("x-request-id"), request_id.clone());
    out
}

/// The headers of an event stream as it goes to a client.
pub fn event_stream(out: &mut HeaderMap) {
    out.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    out.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    out.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
}

/// The profile that serves the client.
pub fn profile(out: &mut HeaderMap, profile: &str) {
    if let Ok(profile) = HeaderValue::from_str(profile) {
        out.insert(HeaderName::from_static("x-mlx-gateway-profile"), profile);
    }
}

/// How long the request waited for a turn and for the backend's start, in milliseconds.
pub fn waits(out: &mut HeaderMap, queue_ms: f64, start_ms: f64) {
    out.insert(HeaderName::from_static("x-mlx-gateway-queue-ms"), HeaderValue::from(queue_ms as u64));
    out.insert(HeaderName::from_static("x-mlx-gateway-start-ms"), HeaderValue::from(start_ms as u64));
}

/// Whether an answer is an event stream.
pub fn is_event_stream(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/event-stream"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_and_cookies_stay_here() {
        let mut client = HeaderMap::new();
        for name in
            ["authorization", "cookie", "x-api-key", "connection", "accept-encoding", "accept", "traceparent"]
        {
            client.insert(HeaderName::from_static(name), HeaderValue::from_static("x"));
        }
        let out = upstream(&client, &HeaderValue::from_static("id"));
        let mut names: Vec<&str> = out.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["accept", "content-type", "traceparent", "x-request-id"]);
    }

    #[test]
    fn event_streams_are_known_by_their_type() {
        let of = |kind: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
            is_event_stream(&headers)
        };
        assert!(of("text/event-stream") && of("Text/Event-Stream; charset=utf-8"));
        assert!(!of("application/json") && !is_event_stream(&HeaderMap::new()));
    }
}
