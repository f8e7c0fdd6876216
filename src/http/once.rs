//! `Idempotency-Key`: a change of the admin API that a client sends again, because it did not hear the
//! answer, happens once. What is remembered is [`super::replays`]'s to know.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, to_bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use http::{HeaderName, HeaderValue, Method, header};
use http_body::{Body as _, Frame};
use http_body_util::BodyExt;
use sha2::{Digest, Sha256};

use super::audit;
use super::caller::{identify, transport};
use super::error::ApiError;
use super::extract::ADMIN_BODY_LIMIT;
use super::replays::{ALL_MAX, ANSWER_MAX, CALLER_MAX, Name, Told, Verdict};
use super::state::Shared;
use crate::auth::Caller;
use crate::logging::InRequest;
use crate::proxy::Failure;

/// The header by which a client names a change.
pub const HEADER: HeaderName = HeaderName::from_static("idempotency-key");
/// Says of an answer that it was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
const KEY_MAX: usize = 255;

/// Stands around every route; acts on those that make or do something for a caller who is known.
pub async fn act_once(State(gateway): State<Shared>, request: Request, next: Next) -> Response {
    let matched = request.extensions().get::<MatchedPath>();
    let changes = *request.method() == Method::POST
        && matched.is_some_and(|path| path.as_str().starts_with(audit::PREFIX));
    let Some(key) = request.headers().get(&HEADER).filter(|_| changes) else {
        return next.run(request).await;
    };
    let key = match key.to_str() {
        Ok(key) if (1..=KEY_MAX).contains(&key.len()) => key.to_owned(),
        _ => {
            let words = format!("Idempotency-Key has 1 to {KEY_MAX} visible ASCII characters");
            return ApiError::bad_request(words, "Idempotency-Key").into_response();
        }
    };
    let transport = transport(request.extensions());
    // Strangers are answered as ever, and remembered by nobody.
    let Ok(caller) = identify(request.headers(), request.method(), transport, &gateway) else {
        return next.run(request).await;
    };
    let (parts, body) = request.into_parts();
    let body = match to_bytes(body, ADMIN_BODY_LIMIT).await {
        Ok(body) => body,
        Err(error) => return ApiError::of_body(error, ADMIN_BODY_LIMIT).into_response(),
    };
    let name = Name { caller: scope(&caller), key };
    let mut digest = Sha256::new();
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    digest.update((target.len() as u64).to_le_bytes());
    digest.update(target);
    digest.update(&body);
    match gateway.replays().begin(&name, digest.finalize().into(), gateway.uptime()) {
        Verdict::Act => {}
        Verdict::Again(told) => return again(told),
        Verdict::Running => return running(),
        Verdict::Full => {
            let words = format!(
                "{CALLER_MAX} changes with an Idempotency-Key are under way for this caller, or {ALL_MAX} in all; try \
                 again when some have been answered"
            );
            return ApiError::from(Failure::overloaded(words)).into_response();
        }
        Verdict::Reused => {
            let words =
                "this Idempotency-Key was sent with another request; give each change a key of its own";
            return refused(422, "idempotency_key_reused", words.to_owned());
        }
    }
    let request = Request::from_parts(parts, Body::from(body));
    let shared = gateway.clone();
    // Goes on when the client leaves: it is then that the answer is asked for again.
    let acting = gateway.tasks.spawn(InRequest::current(async move {
        let forget = Forget { gateway: &shared, name: &name };
        let answer = next.run(request).await;
        keep(&forget, answer).await
    }));
    acting.await.unwrap_or_else(|error| ApiError::internal("a change ended early", &error).into_response())
}

/// Forgets a change that was not done, or whose handler ended early.
struct Forget<'a> {
    gateway: &'a Shared,
    name: &'a Name,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.gateway.replays().forget_unanswered(self.name);
    }
}

/// Remembers the answer to a change that was made; one that was refused may be tried again. An answer larger than
/// [`ANSWER_MAX`] passes on as it comes and is not kept.
async fn keep(of: &Forget<'_>, answer: Response) -> Response {
    if !answer.status().is_success() {
        return answer;
    }
    let (parts, body) = answer.into_parts();
    let (kept, body) = read_up_to(body, ANSWER_MAX).await;
    let told = Told { status: parts.status, headers: parts.headers.clone(), body: kept };
    of.gateway.replays().done(of.name, told);
    Response::from_parts(parts, body)
}

/// Reads a body of at most `limit` bytes. A longer one, or one that breaks off, is returned as a stream that begins with
/// what was read of it.
async fn read_up_to(body: Body, limit: usize) -> (Option<Bytes>, Body) {
    if body.size_hint().lower() > limit as u64 {
        return (None, body);
    }
    let (mut rest, mut read) = (body, BytesMut::new());
    while let Some(frame) = rest.frame().await {
        let whole =
            frame.as_ref().ok().and_then(Frame::data_ref).filter(|piece| read.len() + piece.len() <= limit);
        let Some(piece) = whole else {
            let begun = VecDeque::from([Ok(Frame::data(read.freeze())), frame]);
            return (None, Body::new(Begun { begun, rest }));
        };
        read.extend_from_slice(piece);
    }
    let whole = read.freeze();
    (Some(whole.clone()), Body::from(whole))
}

/// A body of which the beginning was read.
struct Begun {
    begun: VecDeque<Result<Frame<Bytes>, axum::Error>>,
    rest: Body,
}

impl http_body::Body for Begun {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        match self.begun.pop_front() {
            Some(frame) => Poll::Ready(Some(frame)),
            None => Pin::new(&mut self.rest).poll_frame(cx),
        }
    }
}

fn again(told: Told) -> Response {
    let Some(body) = told.body else {
        let words = "this was done before, and its answer is no longer kept or was too large to be; read what is there instead";
        return ApiError::conflict(words, "already_done").into_response();
    };
    let mut response = Response::new(Body::from(body));
    (*response.status_mut(), *response.headers_mut()) = (told.status, told.headers);
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    response
}

fn running() -> Response {
    let words = "the first request with this Idempotency-Key has not been answered yet; try again shortly";
    let mut response = ApiError::conflict(words, "idempotency_key_in_use").into_response();
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

fn refused(status: u16, code: &'static str, words: String) -> Response {
    ApiError::from(Failure::refused(status, "invalid_request_error", code, words)).into_response()
}

/// Callers by their credential: an answer may hold a secret that another key of the same person must
/// not see.
fn scope(caller: &Caller) -> String {
    let who = caller.key.as_deref().or(caller.user.as_deref()).unwrap_or(&caller.name);
    format!("{} {who}", caller.via.name())
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    fn body(pieces: usize, bytes: usize) -> Body {
        let piece = Bytes::from(vec![b'x'; bytes]);
        Body::from_stream(stream::iter((0..pieces).map(move |_| Ok::<_, axum::Error>(piece.clone()))))
    }

    #[tokio::test]
    async fn read_up_to_keeps_small_answers_and_passes_large_ones_on_whole() {
        let (kept, whole) = read_up_to(body(4, 25), 100).await;
        assert_eq!(kept.unwrap().len(), 100);
        assert_eq!(to_bytes(whole, usize::MAX).await.unwrap().len(), 100);
        let (kept, whole) = read_up_to(body(5, 25), 100).await;
        assert!(kept.is_none());
        assert_eq!(to_bytes(whole, usize::MAX).await.unwrap().len(), 125);
    }

    #[tokio::test]
    async fn read_up_to_takes_no_more_of_an_endless_answer_than_its_limit() {
        let taken = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counted = std::sync::Arc::clone(&taken);
        let endless = stream::repeat_with(move || {
            counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Ok::<_, axum::Error>(Bytes::from_static(&[b'x'; 10]))
        });
        let (kept, _body) = read_up_to(Body::from_stream(endless), 100).await;
        assert_eq!((kept, taken.load(std::sync::atomic::Ordering::Relaxed)), (None, 11));
    }
}
