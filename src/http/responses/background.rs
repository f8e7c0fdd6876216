//! Responses that are made in the background: begun, made whether or not anybody listens, and told to those who do.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, stream};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};

use super::create::seconds;
use super::request::Begun;
use crate::backends::Progress;
use crate::dialect::assembled::Assembled;
use crate::http::error::ApiError;
use crate::http::openai::inference;
use crate::http::state::Shared;
use crate::logging::InRequest;
use crate::proxy::{self, Answer, Failure, Head, Inference, JSON, failed, refuse, with_rate_limits};
use crate::responses::{Job, Responses};
use crate::tools::chat::Wanted;

/// Silence after which a listener hears a comment, so that no proxy on the way gives up.
const COMMENT_EVERY: Duration = Duration::from_secs(10);

/// A response that is to be made in the background.
pub(super) struct Background {
    pub begun: Begun,
    pub model: String,
    pub stream: bool,
}

/// Begins a response, and answers with what there is of it: nothing yet, or its events as they come.
pub(super) async fn begin(
    gateway: &Shared,
    asked: Background,
    kept: Responses,
    stem: &str,
    inference: Inference<Full<Bytes>>,
    tools: Option<Wanted>,
) -> Response {
    let Background { mut begun, model, stream } = asked;
    let (id, arrived) = (format!("resp_{stem}"), std::time::Instant::now());
    let profile = gateway.proxy.profiles.load().entry(&model).map(|entry| entry.profile.name.clone());
    let profile = profile.unwrap_or(model);
    let events = begun.events(stem, &profile, seconds(gateway));
    let stored = match gateway.making.begin(&kept.owner, &id, events) {
        None => {
            Err(Failure::overloaded("so many responses are made in the background already; try again later"))
        }
        Some(job) => {
            let now = gateway.proxy.clock.unix_ms();
            let stored = kept.begin(&job.response(), begun.input.take().unwrap_or_default(), now).await;
            stored.map(|()| job).map_err(|error| ApiError::from(error).0)
        }
    };
    let job = match stored {
        Ok(job) => job,
        Err(failure) => {
            gateway.making.remove(&id);
            return failed(&refuse(inference.ledger, failure));
        }
    };
    let (response, caller) = (job.response(), inference.caller.clone());
    let head = Head { profile: profile.into(), arrived, progress: Progress::new(), live: None };
    let rate_limits = inference.ledger.live().rate_limits();
    let making = made(gateway.clone(), Arc::clone(&job), kept, inference, tools);
    gateway.tasks.spawn(InRequest::current(async move {
        making.await;
        drop(begun);
    }));
    let answer = match stream {
        true => head.stream(Answer::Events(proxy::Events::followed(&caller, told(job, 0)))),
        false => head.whole(JSON, Answer::Full(response.to_string().into())),
    };
    with_rate_limits(answer, rate_limits)
}

/// The events of a response from that number on, as they come.
pub(super) fn told(job: Arc<Job>, next: u64) -> impl Stream<Item = Bytes> + Send + 'static {
    stream::unfold((job, next), |(job, next)| async move {
        match tokio::time::timeout(COMMENT_EVERY, job.told(next)).await {
            Err(_elapsed) => Some((Bytes::from_static(b": in progress\n\n"), (job, next))),
            Ok(Ok(Some((events, next)))) => Some((events, (job, next))),
            Ok(Ok(None)) => None,
            Ok(Err(lost)) => {
                tracing::debug!(events.first = lost.first, "A listener fell behind a response");
                None
            }
        }
    })
}

/// Makes it, and keeps what came of it before that is told. Whoever cancels it leaves its chat as a client would.
async fn made(
    gateway: Shared,
    job: Arc<Job>,
    kept: Responses,
    inference: Inference<Full<Bytes>>,
    tools: Option<Wanted>,
) {
    tokio::select! {
        () = answered(&gateway, &job, inference, tools) => {}
        () = job.cancelled() => {}
    }
    let end = job.end(seconds(&gateway));
    if let Err(error) = kept.end(&end.response).await {
        tracing::error!(%error, "What came of a response could not be kept");
    }
    job.close(&end);
    gateway.making.prune();
}

/// Asks the chat and follows its answer to the end.
async fn answered(gateway: &Shared, job: &Job, inference: Inference<Full<Bytes>>, tools: Option<Wanted>) {
    let answer = inference::serve(gateway, inference, tools, true).await;
    let refused = !answer.status().is_success();
    let mut body = answer.into_body();
    if refused {
        let told = body.collected(Assembled::text()).await;
        let told = told.ok().and_then(|told| serde_json::from_slice::<Value>(&told).ok());
        let unknown = || json!({"message": "the request was refused", "type": "api_error"});
        return job.fail(&told.map_or_else(unknown, |mut told| told["error"].take()));
    }
    while let Some(frame) = body.frame().await {
        match frame.map(http_body::Frame::into_data) {
            Ok(Ok(bytes)) => {
                if let Err(exceeded) = job.feed(&bytes) {
                    return body.abort(&exceeded.into(), true);
                }
            }
            Ok(Err(_trailers)) => {}
            Err(error) => {
                tracing::debug!(%error, "A response broke off");
                return;
            }
        }
    }
}

type Response = http::Response<Answer>;
