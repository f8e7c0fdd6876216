//! Headers that cross the gateway, in either direction. All others are dropped: credentials, cookies, hop-by-hop
//! headers, and anything that a backend might take for a setting.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::response::Parts;
use http::{Response, StatusCode};

use super::answer::Answer;
use super::failure::Failure;
use crate::auth::{Rate, Standing};
use crate::backends::{Progress, QueuePlace, Waits};
use crate::usage::Live;

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
    // Answers are read on their way, and without the header a server may compress them.
    out.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    for name in &UPSTREAM {
        if let Some(value) = client.get(name) {
            out.insert(name.clone(), value.clone());
        }
    }
    out.insert(HeaderName::from_static("x-request-id"), request_id.clone());
    out
}

/// Content types of answers that are put together here.
pub const JSON: HeaderValue = HeaderValue::from_static("application/json");
pub const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

const PROFILE: HeaderName = HeaderName::from_static("x-mlx-gateway-profile");
const QUEUE_MS: HeaderName = HeaderName::from_static("x-mlx-gateway-queue-ms");
const START_MS: HeaderName = HeaderName::from_static("x-mlx-gateway-start-ms");
const QUEUE_POSITION: HeaderName = HeaderName::from_static("x-mlx-gateway-queue-position");
const QUEUE_WAIT_MS: HeaderName = HeaderName::from_static("x-mlx-gateway-queue-wait-ms");
const PROCESSING_MS: HeaderName = HeaderName::from_static("openai-processing-ms");

/// What the headers of an answer are made of. All answers to inference requests get their headers here.
#[derive(Clone)]
pub struct Head {
    pub profile: Arc<str>,
    /// When the request arrived.
    pub arrived: Instant,
    /// What the request waits or waited for.
    pub progress: Progress,
    /// Holds the rate-limit status of the caller's key; none: of an answer that is no request of its own.
    pub live: Option<Arc<Live>>,
}

impl Head {
    /// Returns an event stream.
    pub fn stream(&self, answer: Answer) -> Response<Answer> {
        let mut response = self.response(answer);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
        response
    }

    /// Returns one whole answer.
    pub fn whole(&self, content_type: HeaderValue, answer: Answer) -> Response<Answer> {
        let mut response = self.response(answer);
        response.headers_mut().insert(header::CONTENT_TYPE, content_type);
        response
    }

    /// Returns an upstream's answer under its own status and content type.
    pub fn passed(&self, mut upstream: Parts, is_empty: bool, answer: Answer) -> Response<Answer> {
        let mut response = self.response(answer);
        *response.status_mut() = upstream.status;
        if is_empty {
            return response;
        }
        for name in [header::CONTENT_TYPE, header::CONTENT_ENCODING] {
            if let Some(value) = upstream.headers.remove(&name) {
                response.headers_mut().insert(name, value);
            }
        }
        response.headers_mut().entry(header::CONTENT_TYPE).or_insert(JSON);
        response
    }

    /// Returns an error.
    pub fn failed(&self, failure: &Failure) -> Response<Answer> {
        let mut response = self.response(Answer::Full(failure.as_json().into()));
        add_failure(&mut response, failure);
        response
    }

    fn response(&self, answer: Answer) -> Response<Answer> {
        let rate_limits = self.live.as_ref().map(|live| live.rate_limits()).unwrap_or_default();
        let mut response = response(rate_limits, answer);
        let out = response.headers_mut();
        if let Ok(profile) = HeaderValue::from_str(&self.profile) {
            out.insert(PROFILE, profile);
        }
        let waits = self.progress.first_waits();
        if let Some(Waits { queue_ms, start_ms }) = waits {
            out.insert(QUEUE_MS, HeaderValue::from(queue_ms as u64));
            out.insert(START_MS, HeaderValue::from(start_ms as u64));
        }
        // An answer that begins while its request still waits has the present place, all others the first.
        let present = if waits.is_none() { self.progress.place() } else { None };
        if let Some(QueuePlace { position, wait }) = present.or_else(|| self.progress.first_place()) {
            out.insert(QUEUE_POSITION, HeaderValue::from(position));
            if let Some(wait) = wait {
                out.insert(QUEUE_WAIT_MS, milliseconds(wait));
            }
        }
        out.insert(PROCESSING_MS, milliseconds(self.arrived.elapsed()));
        response
    }
}

/// Returns the answer to a request that fails before its profile is known.
pub fn failed(failure: &Failure) -> Response<Answer> {
    let mut response = response(Standing::default(), Answer::Full(failure.as_json().into()));
    add_failure(&mut response, failure);
    response
}

/// Adds the status and the headers of a failure.
fn add_failure(response: &mut Response<Answer>, failure: &Failure) {
    *response.status_mut() = StatusCode::from_u16(failure.status).unwrap_or(StatusCode::BAD_GATEWAY);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, JSON);
    if let Some(rate_limits) = failure.rate_limits.as_deref() {
        headers.extend(rate_limit_headers(*rate_limits));
    }
    if let Some(seconds) = failure.retry_after_s {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if failure.status == 401 {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if failure.no_retry {
        headers.insert("x-should-retry", HeaderValue::from_static("false"));
    }
}

/// Returns an answer with the rate-limit status of a key, and room for the headers that it will get.
fn response(rate_limits: Standing, answer: Answer) -> Response<Answer> {
    let mut response = Response::new(answer);
    if let Some(headers) = prehashed(rate_limits) {
        *response.headers_mut() = headers;
    }
    response.headers_mut().reserve(ANSWERS);
    response
}

/// Adds the rate-limit status of a key to an answer that is no chat.
pub fn with_rate_limits(mut response: Response<Answer>, rate_limits: Standing) -> Response<Answer> {
    response.headers_mut().extend(rate_limit_headers(rate_limits));
    response
}

/// Returns the headers with the rate-limit status of a key.
pub fn rate_limit_headers(rate_limits: Standing) -> HeaderMap {
    prehashed(rate_limits).unwrap_or_default()
}

fn milliseconds(duration: Duration) -> HeaderValue {
    HeaderValue::from(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

/// The names of one rate's headers: its limit, what remains, and when it is whole again.
type RateNames = [HeaderName; 3];

const REQUESTS: RateNames = [
    HeaderName::from_static("x-ratelimit-limit-requests"),
    HeaderName::from_static("x-ratelimit-remaining-requests"),
    HeaderName::from_static("x-ratelimit-reset-requests"),
];
const TOKENS: RateNames = [
    HeaderName::from_static("x-ratelimit-limit-tokens"),
    HeaderName::from_static("x-ratelimit-remaining-tokens"),
    HeaderName::from_static("x-ratelimit-reset-tokens"),
];

/// The headers of keys with either rate and with both, values still to be written: a copy of a map has its long names
/// hashed already, which inserting them does byte by byte.
static OF_REQUESTS: LazyLock<HeaderMap> = LazyLock::new(|| unwritten(&[REQUESTS]));
static OF_TOKENS: LazyLock<HeaderMap> = LazyLock::new(|| unwritten(&[TOKENS]));
static OF_BOTH: LazyLock<HeaderMap> = LazyLock::new(|| unwritten(&[REQUESTS, TOKENS]));

/// Room for the six values of two rates, about.
const STANDING: usize = 64;

/// Returns `x-ratelimit-*` for a key with limits. All values share one allocation: every answer has them.
fn prehashed(Standing { requests, tokens }: Standing) -> Option<HeaderMap> {
    let mut headers = HeaderMap::clone(match (requests, tokens) {
        (None, None) => return None,
        (Some(_), None) => &OF_REQUESTS,
        (None, Some(_)) => &OF_TOKENS,
        (Some(_), Some(_)) => &OF_BOTH,
    });
    let mut buffer = BytesMut::with_capacity(STANDING);
    let mut values = headers.values_mut();
    for Rate { limit, remaining, reset } in [requests, tokens].into_iter().flatten() {
        number(&mut buffer, limit);
        write(values.next(), &mut buffer);
        number(&mut buffer, remaining);
        write(values.next(), &mut buffer);
        span(&mut buffer, reset);
        write(values.next(), &mut buffer);
    }
    Some(headers)
}

fn unwritten(rates: &[RateNames]) -> HeaderMap {
    rates.iter().flatten().map(|name| (name.clone(), HeaderValue::from_static(""))).collect()
}

/// Takes what `buffer` holds for a header's value.
fn write(value: Option<&mut HeaderValue>, buffer: &mut BytesMut) {
    let written = HeaderValue::from_maybe_shared(buffer.split().freeze());
    if let (Some(value), Ok(written)) = (value, written) {
        *value = written;
    }
}

fn number(buffer: &mut BytesMut, number: u64) {
    buffer.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// As OpenAI writes spans: `6m0s`, `1.5s`, `20ms`.
fn span(buffer: &mut BytesMut, span: Duration) {
    let ms = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let (minutes, seconds) = (ms / 60_000, ms % 60_000 / 1000);
    match ms {
        0..1000 => {
            number(buffer, ms);
            buffer.extend_from_slice(b"ms");
        }
        1000..60_000 => {
            number(buffer, seconds);
            if let thousandths @ 1.. = ms % 1000 {
                // As three digits: what stands before the last three of the sum is a 1.
                buffer.extend_from_slice(b".");
                buffer.extend_from_slice(&itoa::Buffer::new().format(1000 + thousandths).as_bytes()[1..]);
            }
            buffer.extend_from_slice(b"s");
        }
        _ => {
            number(buffer, minutes);
            buffer.extend_from_slice(b"m");
            number(buffer, seconds);
            buffer.extend_from_slice(b"s");
        }
    }
}

/// How an answer is encoded, if it is: `gzip` and the like.
pub fn encoding(headers: &HeaderMap) -> Option<&HeaderValue> {
    let encoding = headers.get(header::CONTENT_ENCODING)?;
    (!encoding.as_bytes().eq_ignore_ascii_case(b"identity")).then_some(encoding)
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
        assert_eq!(out["accept-encoding"], "identity");
        assert_eq!(names, ["accept", "accept-encoding", "content-type", "traceparent", "x-request-id"]);
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
        let written = [0, 20, 1000, 1005, 1500, 60_000, 366_999].map(|ms| {
            let mut buffer = BytesMut::new();
            span(&mut buffer, Duration::from_millis(ms));
            buffer
        });
        assert_eq!(written, ["0ms", "20ms", "1s", "1.005s", "1.500s", "1m0s", "6m6s"]);
    }

    #[test]
    fn only_limits_that_there_are_are_told_and_each_value_under_its_name() {
        let rate =
            |limit, remaining, seconds| Some(Rate { limit, remaining, reset: Duration::from_secs(seconds) });
        let told = |requests, tokens| {
            let headers = response(Standing { requests, tokens }, Answer::Done).into_parts().0.headers;
            let mut lines: Vec<String> =
                headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
            lines.sort_unstable();
            lines
        };
        let requests = ["limit-requests: 60", "remaining-requests: 59", "reset-requests: 1s"]
            .map(|x| format!("x-ratelimit-{x}"));
        let tokens = ["limit-tokens: 9000", "remaining-tokens: 0", "reset-tokens: 1m0s"]
            .map(|x| format!("x-ratelimit-{x}"));
        let mut both = [requests.clone(), tokens.clone()].concat();
        both.sort_unstable();
        assert_eq!(told(rate(60, 59, 1), None), requests);
        assert_eq!(told(None, rate(9000, 0, 60)), tokens);
        assert_eq!(told(rate(60, 59, 1), rate(9000, 0, 60)), both);
        assert!(told(None, None).is_empty());
    }
}
