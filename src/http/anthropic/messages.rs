//! Messages and their tokens: read, asked as a chat, and answered in Anthropic's shape.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};

use crate::auth::Caller;
use crate::bodies::Held;
use crate::dialect::anthropic::{self, Events, chat, estimated_tokens};
use crate::dialect::assembled::Assembled;
use crate::dialect::operation::Operation;
use crate::http::edge::Arrival;
use crate::http::openai::inference;
use crate::http::state::Shared;
use crate::proxy::{self, Answer, BoxError, Failure, Inference, failed, refuse, with_rate_limits};

/// What is asked for; both are POSTs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    Message,
    Tokens,
}

impl Asked {
    pub const ALL: [Asked; 2] = [Asked::Message, Asked::Tokens];

    pub fn path(self) -> &'static str {
        match self {
            Asked::Message => "/v1/messages",
            Asked::Tokens => "/v1/messages/count_tokens",
        }
    }

    pub fn of(method: &Method, path: &str) -> Option<Asked> {
        Asked::ALL.into_iter().find(|asked| asked.path() == path).filter(|_| method == Method::POST)
    }
}

/// Answers in Anthropic's shape, errors included.
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
    let told_id = arrival.told_id.clone();
    let id = told_id.to_str().unwrap_or_default();
    let answered = match asked {
        Asked::Message => message(gateway, arrival, request).await,
        Asked::Tokens => tokens(gateway, &arrival, request).await,
    };
    match answered {
        Ok(response) if response.status().is_success() => response,
        Ok(response) => refused(response, id).await,
        Err(failure) => refused(failed(&failure), id).await,
    }
}

async fn message<B>(
    gateway: &Shared,
    arrival: Arrival,
    request: Request<B>,
) -> Result<Response<Answer>, Failure>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    let (parts, body) = request.into_parts();
    let caller = inference::known(gateway, &arrival, &parts)?;
    let path = Asked::Message.path();
    let (ledger, body) = inference::admit(gateway, path, &caller, &arrival, body).await?;
    let (chat, held) = match translated(gateway, &caller, body, true).await {
        Ok(translated) => translated,
        Err(failure) => return Err(refuse(ledger, failure)),
    };
    let Chat { body, model, tokens, streamed } = chat;
    let tools = inference::tools_asked(&parts.headers);
    let inference = Inference {
        operation: Operation::Chat,
        ledger,
        caller,
        told_id: arrival.told_id,
        headers: parts.headers,
        body: Full::new(body),
        held: Some(Arc::new(held)),
    };
    let response = inference::serve(gateway, inference, tools, false).await;
    if !response.status().is_success() {
        return Ok(response);
    }
    if streamed { Ok(stream(response, &model, tokens)) } else { whole(response, &model).await }
}

/// How many tokens a request has, without asking a model: by its tokenizer where that is here, else about.
async fn tokens<B>(
    gateway: &Shared,
    arrival: &Arrival,
    request: Request<B>,
) -> Result<Response<Answer>, Failure>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    let (parts, body) = request.into_parts();
    let caller = inference::known(gateway, arrival, &parts)?;
    let (permit, body) = inference::admit_work(gateway, &caller, body).await?;
    let (chat, _held) = translated(gateway, &caller, body, false).await?;
    gateway.proxy.may_ask(&caller, &chat.model)?;
    let counted = gateway.proxy.count_tokens(&caller, &chat.model, chat.body).await;
    let counted = json!({"input_tokens": counted.unwrap_or(chat.tokens)});
    Ok(with_rate_limits(json_response(&counted), permit.standing()))
}

/// A message's chat, as bytes: a tree would take many times their memory while the request waits.
struct Chat {
    body: Bytes,
    model: String,
    /// About.
    tokens: u64,
    streamed: bool,
}

/// Reads a message, and translates it.
async fn translated<B>(
    gateway: &Shared,
    caller: &Caller,
    body: B,
    needs_limit: bool,
) -> Result<(Chat, Held), Failure>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    let (body, held) = gateway.proxy.collect(caller, body).await?;
    let chat = gateway.proxy.bodies.parse(body, move |body| translate(body, needs_limit)).await??;
    held.resize(chat.body.len() as u64)?;
    Ok((chat, held))
}

fn translate(body: &[u8], needs_limit: bool) -> Result<Chat, Failure> {
    let asked: Value = serde_json::from_slice(body)
        .map_err(|error| Failure::invalid(format!("the body is not valid JSON: {error}"), None))?;
    let chat = chat(&asked, needs_limit).map_err(|error| Failure::invalid(error.to_string(), None))?;
    let model = asked["model"].as_str().unwrap_or_default().to_owned();
    // Before the chat's text is made.
    drop(asked);
    let (tokens, streamed) = (estimated_tokens(&chat), chat["stream"] == true);
    Ok(Chat { body: Bytes::from(chat.to_string()), model, tokens, streamed })
}

/// Translates the chat's events to the message's. Every stream ends with an event that says how.
fn stream(response: Response<Answer>, model: &str, tokens: u64) -> Response<Answer> {
    let (head, body) = response.into_parts();
    let events = Events::new(model, tokens);
    let rewrite = |body: Answer| {
        stream::unfold(Some((events, body)), |state| async move {
            let (mut events, mut body) = state?;
            loop {
                match body.frame().await.map(|frame| frame.map(Frame::into_data)) {
                    Some(Ok(Ok(bytes))) => {
                        let translated = Bytes::from(events.feed(&bytes));
                        if let Some(reason) = events.abort_reason() {
                            body.abort(&reason.clone().into(), true);
                            return Some((translated, None));
                        }
                        if !translated.is_empty() {
                            return Some((translated, Some((events, body))));
                        }
                    }
                    Some(Ok(Err(_trailers))) => {}
                    Some(Err(error)) => {
                        tracing::debug!(%error, "Message broke off");
                        break;
                    }
                    None => break,
                }
            }
            let last = events.end();
            (!last.is_empty()).then(|| (Bytes::from(last), None))
        })
    };
    Response::from_parts(head, Answer::Events(proxy::Events::rewritten(body, rewrite)))
}

async fn whole(response: Response<Answer>, model: &str) -> Result<Response<Answer>, Failure> {
    let (mut head, body) = response.into_parts();
    let bytes = body.collected(Assembled::events()).await?;
    let mut chat: Value = serde_json::from_slice(&bytes)
        .map_err(|error| Failure::backend(format!("the answer is not valid JSON: {error}")))?;
    chat["model"] = model.into();
    head.headers.remove(header::CONTENT_LENGTH);
    let told = anthropic::answer(&chat)?.to_string();
    Ok(Response::from_parts(head, Answer::Full(told.into())))
}

async fn refused(response: Response<Answer>, request_id: &str) -> Response<Answer> {
    let (mut head, body) = response.into_parts();
    let bytes = body.collected(Assembled::text()).await.unwrap_or_default();
    let openai: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let told = anthropic::error(head.status.as_u16(), &openai, Some(request_id)).to_string();
    head.headers.remove(header::CONTENT_LENGTH);
    head.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Response::from_parts(head, Answer::Full(told.into()))
}

fn json_response(value: &Value) -> Response<Answer> {
    let mut response = Response::new(Answer::Full(value.to_string().into()));
    *response.status_mut() = StatusCode::OK;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
