//! Reads the body of an upstream's answer: whole, put together, piece by piece, or as an error. Everything that is
//! kept is bounded.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderValue, Response, header};
use http_body::Body;
use http_body_util::BodyExt;

use super::deadlines::Deadlines;
use super::failure::Failure;
use super::flow::{EVENT_LIMIT, event_too_large};
use super::in_flight::InFlight;
use super::limits::Limits;
use super::plan::Plan;
use super::upstream::UpstreamBody;
use super::upstream_end::UpstreamEnd;
use crate::dialect::aggregate::Aggregate;
use crate::dialect::assembled::Assembled;
use crate::dialect::edit::Edits;
use crate::dialect::embeddings::{EmbeddingError, Wish};
use crate::dialect::facts::Facts;
use crate::dialect::failure::UpstreamFailure;
use crate::dialect::rope::Rope;
use crate::dialect::scan::Scanner;
use crate::dialect::sse;

/// Bytes of an error answer that are read, and how long they may take.
const ERROR_LIMIT: usize = 64 << 10;
const ERROR_TIME: Duration = Duration::from_secs(2);

/// Puts a streamed answer together.
pub async fn aggregated(
    body: &mut UpstreamBody,
    plan: &Plan,
    in_flight: &InFlight,
    deadlines: &mut Deadlines,
    facts: &mut Facts,
) -> Result<Bytes, Failure> {
    let mut aggregate = Aggregate::new(&plan.profile.name, plan.max_tokens).reading(&plan.stops);
    let (mut held, mut counted) = (bytes::BytesMut::new(), 0);
    while let Some(piece) = next_piece(body, in_flight, deadlines).await? {
        let searched = held.len();
        held.extend_from_slice(&piece);
        if let Some(end) = sse::last_boundary(&held, searched) {
            aggregate.feed(&held.split_to(end), facts);
        } else if held.len() > EVENT_LIMIT {
            return Err(event_too_large());
        }
        let new = facts.deltas - std::mem::replace(&mut counted, facts.deltas);
        deadlines.progressed(Instant::now(), new > 0);
        if new > 0 {
            in_flight.live().add_tokens(new);
        }
        if facts.failure.is_some() || facts.stopped {
            break;
        }
    }
    Ok(aggregate.finish(facts).map_err(Failure::from)?.into())
}

/// Returns the next piece of an answer, within its deadlines; none: it is over.
pub async fn next_piece(
    body: &mut UpstreamBody,
    in_flight: &InFlight,
    deadlines: &mut Deadlines,
) -> Result<Option<Bytes>, Failure> {
    loop {
        let frame = poll_fn(|cx| match Pin::new(&mut *body).poll_frame(cx) {
            Poll::Ready(frame) => Poll::Ready(Ok(frame)),
            Poll::Pending => Poll::Ready(Err(ready!(deadlines.poll_failed(cx, in_flight)))),
        })
        .await?;
        deadlines.check(in_flight.live(), Instant::now())?;
        let Some(frame) = frame else { return Ok(None) };
        match frame.map_err(|error| UpstreamEnd::Died(error.to_string()))?.into_data() {
            Ok(piece) if piece.is_empty() => {}
            Ok(piece) => return Ok(Some(piece)),
            Err(_trailers) => return Ok(None),
        }
    }
}

/// Embeddings as the client asked for them.
pub fn embedded(answer: &[u8], plan: &Plan, wish: &Wish, facts: &mut Facts) -> Result<Bytes, Failure> {
    let made = wish.fulfil(&plan.profile.name, answer, facts);
    made.map(Bytes::from).map_err(|error| match error {
        EmbeddingError::TooFew { .. } => Failure::invalid(error.to_string(), Some("dimensions".to_owned())),
        EmbeddingError::Unreadable(_) => Failure::backend(error.to_string()),
    })
}

/// A whole answer with the profile's name in it.
pub fn renamed(bytes: Bytes, plan: &Plan, facts: &mut Facts) -> Result<Bytes, Failure> {
    let mut tap = super::tap::WholeTap::default();
    tap.feed(&bytes);
    tap.finish(facts);
    let mut scanner = Scanner::default();
    let scan = scanner.feed(&bytes).and_then(|()| scanner.finish());
    let Ok(scan) = scan else {
        return Err(UpstreamEnd::Unusable("the backend's answer is not a JSON object".to_owned()).into());
    };
    let mut edits = Edits::default();
    if let Some(model) = scan.get("model") {
        edits.replace(model.value.clone(), serde_json::Value::from(plan.profile.name.as_str()).to_string());
    }
    Ok(edits.apply(&Rope::from(bytes), &scan).to_vec().into())
}

/// The failure that an error answer tells, if its body comes in time. Half a message is not passed on.
pub async fn error_answer(response: Response<UpstreamBody>, limits: &Limits) -> Failure {
    let status = response.status().as_u16();
    let retry_after =
        response.headers().get(header::RETRY_AFTER).and_then(|after| after.to_str().ok()?.parse().ok());
    let (mut body, mut told) = (response.into_body(), Vec::new());
    let reading = async {
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else { return false };
            let room = ERROR_LIMIT - told.len();
            let piece = frame.data_ref().map(Bytes::as_ref).unwrap_or_default();
            told.extend(piece.iter().take(room));
            if told.len() == ERROR_LIMIT {
                break;
            }
        }
        true
    };
    let is_whole = match limits.run_for(ERROR_TIME, reading).await {
        Ok(is_whole) => is_whole.unwrap_or(false),
        Err(ended) => return ended,
    };
    if !is_whole && serde_json::from_slice::<serde::de::IgnoredAny>(&told).is_err() {
        let message = format!("the backend answered {status}, and its message broke off");
        told = serde_json::json!({"error": {"message": message}}).to_string().into_bytes();
    }
    let mut failure = Failure::from(UpstreamEnd::Reported(UpstreamFailure::from_answer(status, &told)));
    failure.retry_after_s = retry_after.or(failure.retry_after_s);
    failure
}

/// An answer that has to be read, and cannot be.
pub fn encoded(encoding: &HeaderValue) -> Failure {
    let encoding = String::from_utf8_lossy(encoding.as_bytes());
    UpstreamEnd::Unusable(format!("the backend encoded its answer ({encoding}) although it was asked not to"))
        .into()
}

/// Reads a whole answer.
pub async fn collect(
    body: &mut UpstreamBody,
    in_flight: &InFlight,
    deadlines: &mut Deadlines,
    kept: &mut Assembled,
) -> Result<Bytes, Failure> {
    let mut out = Vec::new();
    while let Some(piece) = next_piece(body, in_flight, deadlines).await? {
        kept.extend(&mut out, &piece)?;
        deadlines.progressed(Instant::now(), true);
    }
    Ok(out.into())
}
