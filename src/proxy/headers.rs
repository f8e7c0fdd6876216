//! Which headers cross the gateway, in either direction. Everything else stays where it came from:
//! credentials, cookies, hop-by-hop headers, and whatever a backend might take for a setting.

use std::fmt::{self, Write as _};
use std::time::Duration;

use bytes::BytesMut;
use http::Response;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::auth::{Rate, Standing};
use crate::backends::QueuePlace;

/// Headers that an answer has in the end, about: room for them is made once.
const ANSWERS: usize = 16;

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

/// An answer with room for the headers that it will get.
pub fn response<B>(body: B) -> Response<B> {
    let mut response = Response::new(body);
    response.headers_mut().reserve(ANSWERS);
    response
}

/// The headers of an event stream as it goes to a client.
pub fn event_stream(out: &mut HeaderMap) {
    out.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    out.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    out.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
}

const PROFILE: HeaderName = HeaderName::from_static("x-mlx-gateway-profile");
const QUEUE_MS: HeaderName = HeaderName::from_static("x-mlx-gateway-queue-ms");
const START_MS: HeaderName = HeaderName::from_static("x-mlx-gateway-start-ms");

/// The profile that serves the client.
pub fn profile(out: &mut HeaderMap, profile: &str) {
    if let Ok(profile) = HeaderValue::from_str(profile) {
        out.insert(PROFILE, profile);
    }
}

/// How long the request waited for a turn and for the backend's start, in milliseconds.
pub fn waits(out: &mut HeaderMap, queue_ms: f64, start_ms: f64) {
    out.insert(QUEUE_MS, HeaderValue::from(queue_ms as u64));
    out.insert(START_MS, HeaderValue::from(start_ms as u64));
}

/// A place in the queue, and how long that was foreseen to take.
pub fn place(out: &mut HeaderMap, place: Option<QueuePlace>) {
    let Some(QueuePlace { position, wait }) = place else { return };
    out.insert(HeaderName::from_static("x-mlx-gateway-queue-position"), HeaderValue::from(position));
    if let Some(wait) = wait {
        let ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        out.insert(HeaderName::from_static("x-mlx-gateway-queue-wait-ms"), HeaderValue::from(ms));
    }
}

/// The names of one rate's headers: its limit, what remains, and when it is whole again.
type RateNames = [HeaderName; 3];

static REQUESTS: RateNames = [
    HeaderName::from_static("x-ratelimit-limit-requests"),
    HeaderName::from_static("x-ratelimit-remaining-requests"),
    HeaderName::from_static("x-ratelimit-reset-requests"),
];
static TOKENS: RateNames = [
    HeaderName::from_static("x-ratelimit-limit-tokens"),
    HeaderName::from_static("x-ratelimit-remaining-tokens"),
    HeaderName::from_static("x-ratelimit-reset-tokens"),
];

/// Room for the six values of two rates, about.
const STANDING: usize = 64;

/// Tells how a key stands: `x-ratelimit-*`. All values share one allocation: every answer to a key with limits has
/// them.
pub fn standing(headers: &mut HeaderMap, standing: Standing) {
    let rates = [(&REQUESTS, standing.requests), (&TOKENS, standing.tokens)];
    if rates.iter().all(|(_, rate)| rate.is_none()) {
        return;
    }
    let mut values = BytesMut::with_capacity(STANDING);
    for (names, rate) in rates {
        let Some(Rate { limit, remaining, reset }) = rate else { continue };
        let [limit_name, remaining_name, reset_name] = names;
        tell(headers, limit_name, written(&mut values, format_args!("{limit}")));
        tell(headers, remaining_name, written(&mut values, format_args!("{remaining}")));
        tell(headers, reset_name, span(&mut values, reset));
    }
}

fn tell(headers: &mut HeaderMap, name: &HeaderName, value: BytesMut) {
    if let Ok(value) = HeaderValue::from_maybe_shared(value.freeze()) {
        headers.insert(name.clone(), value);
    }
}

/// What was written, taken off the front of `buffer`.
fn written(buffer: &mut BytesMut, text: fmt::Arguments<'_>) -> BytesMut {
    // Writing to memory does not fail; what could not be written would be no value, which is left out.
    match buffer.write_fmt(text) {
        Ok(()) | Err(fmt::Error) => buffer.split(),
    }
}

/// As OpenAI writes spans: `6m0s`, `1.5s`, `20ms`.
fn span(buffer: &mut BytesMut, span: Duration) -> BytesMut {
    let ms = span.as_millis();
    match ms {
        0..1000 => written(buffer, format_args!("{ms}ms")),
        1000..60_000 if ms.is_multiple_of(1000) => written(buffer, format_args!("{}s", ms / 1000)),
        1000..60_000 => written(buffer, format_args!("{}.{:03}s", ms / 1000, ms % 1000)),
        _ => written(buffer, format_args!("{}m{}s", ms / 60_000, ms % 60_000 / 1000)),
    }
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

    #[test]
    fn spans_are_written_as_openai_writes_them() {
        let written = [0, 20, 1000, 1500, 60_000, 366_000]
            .map(|ms| span(&mut BytesMut::new(), Duration::from_millis(ms)));
        assert_eq!(written, ["0ms", "20ms", "1s", "1.500s", "1m0s", "6m6s"]);
    }

    #[test]
    fn only_limits_that_there_are_are_told() {
        let mut headers = HeaderMap::new();
        let rate = Rate { limit: 60, remaining: 59, reset: Duration::from_secs(1) };
        super::standing(&mut headers, Standing { requests: Some(rate), tokens: None });
        let told = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        assert_eq!(told("x-ratelimit-limit-requests"), Some("60"));
        assert_eq!(told("x-ratelimit-remaining-requests"), Some("59"));
        assert_eq!(told("x-ratelimit-reset-requests"), Some("1s"));
        assert_eq!(headers.len(), 3);
    }
}
