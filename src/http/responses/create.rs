//! Responses that are made: read, asked as a chat, told as items, and kept.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use http_body_util::{BodyExt, Full};
use serde_json::Value;

use super::background::{self, Background};
use super::of;
use super::request::{self, Begun, Understood, understand};
use crate::auth::Caller;
use crate::dialect::assembled::Assembled;
use crate::dialect::failure::UpstreamFailure;
use crate::dialect::operation::Operation;
use crate::dialect::responses::{End, Events};
use crate::http::edge::Arrival;
use crate::http::openai::inference::{self, admit, admit_work, known, tools_asked};
use crate::http::state::Shared;
use crate::proxy::{self, Answer, BoxError, Failure, Inference, failed, refuse, with_rate_limits};
use crate::responses::Responses;

/// What is asked for; both are POSTs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    Response,
    Tokens,
}

impl Asked {
    pub const ALL: [Asked; 2] = [Asked::Response, Asked::Tokens];

    pub fn path(self) -> &'static str {
        match self {
            Asked::Response => "/v1/responses",
            Asked::Tokens => "/v1/responses/input_tokens",
        }
    }

    pub fn of(method: &Method, path: &str) -> Option<Asked> {
        Asked::ALL.into_iter().find(|asked| asked.path() == path).filter(|_| method == Method::POST)
    }
}

/// Answers with a response, or with how many tokens one would begin with.
pub async fn answer<B>(
    gateway: &Shared,
    asked: Asked,
    arrival: Arrival,
    request: Request<B>,
) -> Response<Answer>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    let (parts, body) = request.into_parts();
    let caller = match known(gateway, &arrival, &parts) {
        Ok(caller) => caller,
        Err(failure) => return failed(&failure),
    };
    match asked {
        Asked::Response => respond(gateway, arrival, caller, parts.headers, body).await,
        Asked::Tokens => count(gateway, &caller, body).await,
    }
}

/// Answers with the number of tokens that a response would begin with.
async fn count<B>(gateway: &Shared, caller: &Caller, body: B) -> Response<Answer>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    let (permit, body) = match admit_work(gateway, caller, body).await {
        Ok(admitted) => admitted,
        Err(failure) => return failed(&failure),
    };
    let response = match understand(gateway, caller, body, "").await {
        Ok(understood) => {
            let counted = gateway.proxy.count_tokens(caller, &understood.model, understood.chat).await;
            whole_of(&request::counted(counted.unwrap_or(understood.tokens)))
        }
        Err(failure) => failed(&failure),
    };
    with_rate_limits(response, permit.standing())
}

async fn respond<B>(
    gateway: &Shared,
    arrival: Arrival,
    caller: Caller,
    headers: HeaderMap,
    body: B,
) -> Response<Answer>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    let (ledger, body) = match admit(gateway, Asked::Response.path(), &caller, &arrival, body).await {
        Ok(admitted) => admitted,
        Err(failure) => return failed(&failure),
    };
    let (kept, stem) = (of(gateway, &caller), arrival.id.simple().to_string());
    let understood = match understand(gateway, &caller, body, &stem).await {
        Ok(understood) => understood,
        Err(failure) => return failed(&refuse(ledger, failure)),
    };
    let Understood { chat, held, model, stream, background, telling: begun, .. } = understood;
    let tools = tools_asked(&headers);
    let inference = Inference {
        operation: Operation::Chat,
        ledger,
        caller,
        told_id: arrival.told_id,
        headers,
        body: Full::new(chat),
        held: Some(Arc::new(held)),
    };
    if background {
        let asked = Background { begun, model, stream };
        return Box::pin(background::begin(gateway, asked, kept, &stem, inference, tools)).await;
    }
    let response = inference::serve(gateway, inference, tools, true).await;
    if !response.status().is_success() {
        return response;
    }
    let telling = Telling::new(gateway, begun, kept, &stem, &model, &response);
    if stream { telling.stream(response) } else { telling.whole(response).await }
}

/// A response that is being told.
struct Telling {
    gateway: Shared,
    events: Events,
    kept: Responses,
    begun: Begun,
}

impl Telling {
    fn new(
        gateway: &Shared,
        mut begun: Begun,
        kept: Responses,
        stem: &str,
        model: &str,
        answer: &Response<Answer>,
    ) -> Telling {
        let profile = answer.headers().get("x-mlx-gateway-profile").and_then(|name| name.to_str().ok());
        let events = begun.events(stem, profile.unwrap_or(model), seconds(gateway));
        Telling { gateway: gateway.clone(), events, kept, begun }
    }

    /// The chat's events as the response's.
    fn stream(self, response: Response<Answer>) -> Response<Answer> {
        let (head, body) = response.into_parts();
        let told = |body: Answer| {
            stream::unfold(Some((self, body)), |state| async move {
                let (mut telling, mut body) = state?;
                loop {
                    match body.frame().await.map(|frame| frame.map(http_body::Frame::into_data)) {
                        Some(Ok(Ok(bytes))) => {
                            let told = telling.events.feed(&bytes);
                            if let Some(reason) = telling.events.abort_reason() {
                                body.abort(&reason.clone().into(), true);
                                drop(body);
                                let end = telling.end().await.events;
                                return Some(([told, end].concat().into(), None));
                            }
                            if !told.is_empty() {
                                return Some((Bytes::from(told), Some((telling, body))));
                            }
                        }
                        Some(Ok(Err(_trailers))) => {}
                        Some(Err(error)) => {
                            tracing::debug!(%error, "A response broke off");
                            return Some((telling.end().await.events.into(), None));
                        }
                        None => return Some((telling.end().await.events.into(), None)),
                    }
                }
            })
        };
        Response::from_parts(head, Answer::Events(proxy::Events::rewritten(body, told)))
    }

    /// The response as one object.
    async fn whole(mut self, response: Response<Answer>) -> Response<Answer> {
        let (mut head, body) = response.into_parts();
        let bytes = match body.collected(Assembled::events()).await {
            Ok(bytes) => bytes,
            Err(failure) => return failed(&failure),
        };
        let json = HeaderValue::from_static("application/json");
        if head.headers.insert(header::CONTENT_TYPE, json).is_some_and(|kind| is_events(&kind)) {
            self.events.feed(&bytes);
        } else {
            match serde_json::from_slice(&bytes) {
                Ok(completion) => self.events.take(&completion),
                Err(error) => {
                    return failed(&Failure::backend(format!("the answer is not valid JSON: {error}")));
                }
            }
        }
        let end = self.end().await;
        if let Some(reason) = self.events.abort_reason() {
            return failed(&reason.clone().into());
        }
        if let Some(error) = &end.error {
            return failed(&UpstreamFailure::from_event(error.to_string().as_bytes()).into());
        }
        head.headers.remove(header::CONTENT_LENGTH);
        Response::from_parts(head, Answer::Full(end.response.to_string().into()))
    }

    /// Keeps the response before its end is told, so that whoever hears of it can go on from it.
    async fn end(&mut self) -> End {
        let end = self.events.finish(seconds(&self.gateway));
        if let Some(input) = self.begun.input.take() {
            let now = self.gateway.proxy.clock.unix_ms();
            if let Err(error) = self.kept.keep(&end.response, input, now).await {
                tracing::error!(%error, "A response could not be kept; nobody can go on from it");
            }
        }
        end
    }
}

pub(super) fn seconds(gateway: &Shared) -> i64 {
    gateway.proxy.clock.unix_ms() / 1000
}

fn is_events(kind: &HeaderValue) -> bool {
    kind.as_bytes().starts_with(b"text/event-stream")
}

pub(super) fn whole_of(value: &Value) -> Response<Answer> {
    let mut response = Response::new(Answer::Full(value.to_string().into()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
