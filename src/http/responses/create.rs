//! Responses that are made: read, asked as a chat, told as items, and kept.

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, Method, Request, Response, header};
use http_body_util::{BodyExt, Full, Limited};
use serde_json::{Value, json};

use super::{background, gone_on_from, of};
use crate::auth::{Caller, Scope};
use crate::dialect::anthropic::estimated_tokens;
use crate::dialect::failure::UpstreamFailure;
use crate::dialect::operation::Operation;
use crate::dialect::responses::{self, End, Events, ResponsesError as Unfit};
use crate::dialect::scan::Scanner;
use crate::http::edge::Arrival;
use crate::http::error::ApiError;
use crate::http::openai::inference::{self, known, tools_asked};
use crate::http::state::Shared;
use crate::proxy::{self, Answer, BoxError, Failure, Inference, failed};
use crate::responses::{Responses, ResponsesError};

/// Bytes of a whole answer that is put into other words.
pub(super) const ANSWER_MAX: usize = 64 << 20;

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

/// A request that was understood, and the chat that it is.
pub(super) struct Understood {
    pub asked: responses::Asked,
    /// The items of the conversation so far.
    pub earlier: Vec<Value>,
    pub chat: Value,
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
    let kept = of(gateway, &caller);
    let stem = arrival.id.simple().to_string();
    let understood = match understand(gateway, &caller, &kept, body, &stem).await {
        Ok(understood) => understood,
        Err(failure) => {
            if asked == Asked::Response {
                let (path, id, client_id) = (asked.path(), arrival.id, arrival.client_id);
                gateway.proxy.refuse(path, &caller, id, client_id, &failure);
            }
            return failed(&failure);
        }
    };
    if asked == Asked::Tokens {
        let chat = &understood.chat;
        let counted = gateway.proxy.count_tokens(chat["model"].as_str().unwrap_or_default(), chat).await;
        let tokens = counted.unwrap_or_else(|| estimated_tokens(chat));
        return whole_of(&json!({"object": "response.input_tokens", "input_tokens": tokens}));
    }
    let tools = tools_asked(&parts.headers);
    let inference = Inference {
        operation: Operation::Chat,
        endpoint: asked.path(),
        caller,
        id: arrival.id,
        client_id: arrival.client_id,
        told_id: arrival.told_id,
        headers: parts.headers,
        body: Full::new(Bytes::from(understood.chat.to_string())),
    };
    if understood.asked.background {
        return Box::pin(background::begin(gateway, understood, kept, &stem, inference, tools)).await;
    }
    let response = inference::serve(gateway, inference, tools, true).await;
    if !response.status().is_success() {
        return response;
    }
    let telling = Telling::new(gateway, understood, kept, &stem, &response);
    if telling.streams { telling.stream(response) } else { telling.whole(response).await }
}

/// Reads a request, and what it goes on from.
async fn understand<B>(
    gateway: &Shared,
    caller: &Caller,
    kept: &Responses,
    body: B,
    stem: &str,
) -> Result<Understood, Failure>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    if !caller.has(Scope::Inference) {
        return Err(Failure::no_inference());
    }
    let bytes = inference::read(body, gateway.proxy.max_body).await?;
    // Finds what a tree would hide: keys that come twice.
    let mut scanner = Scanner::default();
    scanner.feed(&bytes)?;
    scanner.finish()?;
    let request: Value = serde_json::from_slice(&bytes)
        .map_err(|error| Failure::invalid(format!("the body is not valid JSON: {error}"), None))?;
    if let Some(model) = request["model"].as_str() {
        gateway.proxy.may_ask(caller, model)?;
    }
    let mut asked = responses::Asked::read(&request, stem).map_err(unfit)?;
    let earlier = match &asked.previous {
        Some(id) if gateway.making.is_under_way(&kept.owner, id) => {
            let words = format!("the response \"{id}\" is still being made; wait for its end");
            return Err(Failure::invalid(words, Some("previous_response_id".to_owned())));
        }
        Some(id) => kept.conversation(id).await.map_err(not_gone_on_from)?,
        None => Vec::new(),
    };
    let meant = kept.items(asked.references()).await.map_err(not_gone_on_from)?;
    asked.resolve(&meant).map_err(unfit)?;
    let chat = asked.chat(&earlier).map_err(unfit)?;
    Ok(Understood { asked, earlier, chat })
}

fn unfit(error: Unfit) -> Failure {
    let mut failure = Failure::invalid(error.message, Some(error.param));
    failure.code = error.code;
    failure
}

fn not_gone_on_from(error: ResponsesError) -> Failure {
    match error {
        ResponsesError::Store(error) => ApiError::from(error).0,
        error => gone_on_from(&error),
    }
}

/// A response that is being told.
struct Telling {
    gateway: Shared,
    events: Events,
    streams: bool,
    /// Where it is kept, and what was sent for it; none: the client keeps it.
    kept: Option<(Responses, Vec<Value>)>,
}

impl Telling {
    fn new(
        gateway: &Shared,
        understood: Understood,
        kept: Responses,
        stem: &str,
        answer: &Response<Answer>,
    ) -> Telling {
        let Understood { asked, earlier, chat } = understood;
        let profile = answer.headers().get("x-mlx-gateway-profile").and_then(|name| name.to_str().ok());
        let model = profile.or_else(|| chat["model"].as_str()).unwrap_or_default();
        let response = asked.response(&format!("resp_{stem}"), model, seconds(gateway));
        Telling {
            gateway: gateway.clone(),
            events: Events::new(response, stem, asked.manner(&earlier)),
            streams: asked.stream,
            kept: asked.store.then_some((kept, asked.input)),
        }
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
        let bytes = match Limited::new(body, ANSWER_MAX).collect().await {
            Ok(collected) => collected.to_bytes(),
            Err(error) => return failed(&Failure::backend(format!("the answer broke off: {error}"))),
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
        if let Some(error) = &end.error {
            return failed(&UpstreamFailure::from_event(error.to_string().as_bytes()).into());
        }
        head.headers.remove(header::CONTENT_LENGTH);
        Response::from_parts(head, Answer::Full(end.response.to_string().into()))
    }

    /// Keeps the response before its end is told, so that whoever hears of it can go on from it.
    async fn end(&mut self) -> End {
        let end = self.events.finish(seconds(&self.gateway));
        if let Some((kept, input)) = self.kept.take() {
            let now = self.gateway.proxy.clock.unix_ms();
            if let Err(error) = kept.keep(&end.response, &input, now).await {
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
