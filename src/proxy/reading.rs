//! Reads the body of an upstream's answer: whole, put together, its first piece, or as an error. Everything that is
//! kept is bounded; the limits of the request are its caller's, except where a piece does not come.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderValue, Response, header};
use http_body::Body;
use http_body_util::BodyExt;

use super::cpu_watch::CpuWatch;
use super::failure::Failure;
use super::flow::{EVENT_LIMIT, event_too_large};
use super::in_flight::InFlight;
use super::limits::Limits;
use super::plan::Plan;
use super::upstream::UpstreamBody;
use super::upstream_end::{Timeout, UpstreamEnd};
use crate::backends::Lease;
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

/// Puts a streamed answer together; the wait for each piece is bounded as it is for streams.
pub async fn aggregated(
    mut body: UpstreamBody,
    plan: &Plan,
    in_flight: &InFlight,
    facts: &mut Facts,
) -> Result<Bytes, Failure> {
    let mut aggregate = Aggregate::new(&plan.profile.name, plan.max_tokens).reading(&plan.stops);
    let (mut held, mut counted) = (bytes::BytesMut::new(), 0);
    loop {
        let timeouts = plan.timeouts();
        let (limit, timeout) = match counted {
            0 => (timeouts.first_token, Timeout::FirstToken),
            _ => (timeouts.idle, Timeout::Idle),
        };
        let frame = next_frame(&mut body, in_flight.lease(), limit, timeout).await?;
        let Some(frame) = frame else { break };
        let Ok(piece) = frame.into_data() else { continue };
        let searched = held.len();
        held.extend_from_slice(&piece);
        if let Some(end) = sse::last_boundary(&held, searched) {
            aggregate.feed(&held.split_to(end), facts);
        } else if held.len() > EVENT_LIMIT {
            return Err(event_too_large());
        }
        if facts.deltas > counted {
            in_flight.live().add_tokens(facts.deltas - counted);
            counted = facts.deltas;
        }
        if facts.failure.is_some() || facts.stopped {
            break;
        }
    }
    Ok(aggregate.finish(facts).map_err(Failure::from)?.into())
}

/// The next frame, or a failure when the backend is silent for `limit` without working.
async fn next_frame(
    body: &mut UpstreamBody,
    lease: &Lease,
    limit: Duration,
    timeout: Timeout,
) -> Result<Option<http_body::Frame<Bytes>>, Failure> {
    let mut watch = CpuWatch::default();
    loop {
        match tokio::time::timeout(limit, body.frame()).await {
            Ok(Some(frame)) => {
                return frame.map(Some).map_err(|error| UpstreamEnd::Died(error.to_string()).into());
            }
            Ok(None) => return Ok(None),
            Err(_) => {
                let is_working = watch.is_working(lease, Instant::now());
                if !is_working {
                    lease.suspect(format!("it was silent and did nothing for {} s", limit.as_secs_f64()));
                }
                if timeout == Timeout::FirstToken || !is_working {
                    return Err(UpstreamEnd::TimedOut(timeout, limit).into());
                }
            }
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

/// The failure that an error answer tells, with as much of its body as comes in time.
pub async fn error_answer(response: Response<UpstreamBody>, limits: &Limits) -> Failure {
    let status = response.status().as_u16();
    let retry_after =
        response.headers().get(header::RETRY_AFTER).and_then(|after| after.to_str().ok()?.parse().ok());
    let (mut body, mut told) = (response.into_body(), Vec::new());
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            let room = ERROR_LIMIT - told.len();
            let piece = frame.data_ref().map(Bytes::as_ref).unwrap_or_default();
            told.extend(piece.iter().take(room));
            if told.len() == ERROR_LIMIT {
                break;
            }
        }
    };
    if let Err(ended) = limits.run_for(ERROR_TIME, reading).await {
        return ended;
    }
    let mut failure = Failure::from(UpstreamEnd::Reported(UpstreamFailure::from_answer(status, &told)));
    failure.retry_after_s = retry_after.or(failure.retry_after_s);
    failure
}

/// The first piece of an answer's body; none: it is empty.
pub async fn first_piece(
    body: &mut UpstreamBody,
    lease: &Lease,
    limit: Duration,
) -> Result<Option<Bytes>, Failure> {
    while !body.is_end_stream() {
        let Some(frame) = next_frame(body, lease, limit, Timeout::FirstToken).await? else { break };
        match frame.into_data() {
            Ok(piece) if piece.is_empty() => {}
            Ok(piece) => return Ok(Some(piece)),
            Err(_trailers) => break,
        }
    }
    Ok(None)
}

/// An answer that has to be read, and cannot be.
pub fn encoded(encoding: &HeaderValue) -> Failure {
    let encoding = String::from_utf8_lossy(encoding.as_bytes());
    UpstreamEnd::Unusable(format!("the backend encoded its answer ({encoding}) although it was asked not to"))
        .into()
}

/// A whole answer; the wait for each piece is bounded as it is for streams.
pub async fn collect(
    mut body: UpstreamBody,
    plan: &Plan,
    lease: &Lease,
    kept: &mut Assembled,
) -> Result<Bytes, Failure> {
    let mut out = Vec::new();
    while let Some(frame) = next_frame(&mut body, lease, plan.timeouts().idle, Timeout::Idle).await? {
        if let Some(data) = frame.data_ref() {
            kept.extend(&mut out, data)?;
        }
    }
    Ok(out.into())
}
