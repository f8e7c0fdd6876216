//! `Idempotency-Key`: a change of the admin API that a client sends again, because it did not hear the
//! answer, happens once. What is remembered is [`super::replays`]'s to know.

use axum::body::{Body, to_bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, Method, header};
use sha2::{Digest, Sha256};

use super::audit;
use super::caller::{identify, transport};
use super::error::ApiError;
use super::extract::ADMIN_BODY_LIMIT;
use super::replays::{ANSWER_MAX, Name, Told, Verdict};
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
    let Ok(body) = to_bytes(body, ADMIN_BODY_LIMIT).await else {
        let words =
            format!("a request with an Idempotency-Key has a body of at most {ADMIN_BODY_LIMIT} bytes");
        return refused(413, "request_too_large", words);
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

/// Remembers what has been done; what was refused may be tried again.
async fn keep(of: &Forget<'_>, answer: Response) -> Response {
    if !answer.status().is_success() {
        return answer;
    }
    let (parts, body) = answer.into_parts();
    let Ok(body) = to_bytes(body, usize::MAX).await else {
        return ApiError::conflict("the answer was lost", "answer_lost").into_response();
    };
    let kept = (body.len() <= ANSWER_MAX).then(|| body.clone());
    let told = Told { status: parts.status, headers: parts.headers.clone(), body: kept };
    of.gateway.replays().done(of.name, told);
    Response::from_parts(parts, Body::from(body))
}

fn again(told: Told) -> Response {
    let Some(body) = told.body else {
        let words =
            "this was done before, and its answer is too large to be given again; look at what is there";
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
