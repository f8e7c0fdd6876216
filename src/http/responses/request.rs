//! From a request's bytes to its chat's. Trees live only while one is translated: as long as a request waits it is
//! bytes, and the little that its answer repeats.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{gone_on_from, of};
use crate::auth::Caller;
use crate::bodies::{Held, Weight};
use crate::dialect::anthropic::estimated_tokens;
use crate::dialect::responses::{Asked, Events, Manner, ResponsesError as Unfit};
use crate::dialect::scan::Scanner;
use crate::http::error::ApiError;
use crate::http::state::Shared;
use crate::proxy::{BoxError, Failure};
use crate::responses::{ItemRow, ResponsesError, item_row, parsed};

/// A request that was understood.
pub(super) struct Understood {
    /// The chat that it is, and what that takes of the bound.
    pub chat: Bytes,
    pub held: Held,
    pub model: String,
    pub stream: bool,
    pub background: bool,
    /// Tokens of the chat, about.
    pub tokens: u64,
    pub telling: Begun,
}

/// What its answer begins with, and what of it is kept.
pub(super) struct Begun {
    response: Value,
    manner: Manner,
    /// What was sent; none: the client keeps it.
    pub input: Option<Vec<ItemRow>>,
    /// What all this takes of the bound.
    _held: Held,
}

/// What a translation comes to.
struct Translated {
    chat: Bytes,
    model: String,
    stream: bool,
    background: bool,
    tokens: u64,
    response: Value,
    manner: Manner,
    input: Option<Vec<ItemRow>>,
    /// Bytes of the last three.
    kept: u64,
}

/// What a request means without sending it.
struct Needs {
    previous: Option<String>,
    references: Vec<String>,
}

/// The same as it is kept, as JSON.
#[derive(Default)]
struct Meant {
    earlier: Vec<String>,
    items: Vec<String>,
}

enum Step {
    Done(Box<Translated>),
    Needs(Needs, String),
}

impl Begun {
    /// The events of the response, of which nothing is there yet.
    pub fn events(&mut self, stem: &str, model: &str, created_at: i64) -> Events {
        let mut response = self.response.take();
        response["model"] = model.into();
        response["created_at"] = created_at.into();
        Events::new(response, stem, std::mem::take(&mut self.manner))
    }
}

/// Reads a request, and what it goes on from.
pub(super) async fn understand<B>(
    gateway: &Shared,
    caller: &Caller,
    body: B,
    stem: &str,
) -> Result<Understood, Failure>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    let (body, held) = gateway.proxy.collect(caller, body).await?;
    let bodies = &gateway.proxy.bodies;
    let (again, stem) = (body.clone(), stem.to_owned());
    let first = stem.clone();
    let step = bodies.parse(body, move |body| translate(body, &first, None)).await??;
    let done = match step {
        Step::Done(done) => done,
        Step::Needs(needs, model) => {
            gateway.proxy.may_ask(caller, &model)?;
            let meant = load_needs(gateway, caller, needs).await?;
            held.add(meant.earlier.iter().chain(&meant.items).map(|item| item.len() as u64).sum())?;
            let translate = move || translate(&again, &stem, Some(&meant));
            match bodies.off_thread(translate).await?? {
                Step::Done(done) => done,
                Step::Needs(..) => return Err(Failure::backend("a response could not be gone on from")),
            }
        }
    };
    gateway.proxy.may_ask(caller, &done.model)?;
    held.resize(done.chat.len() as u64)?;
    let kept = bodies.hold(&caller.fairness, done.kept)?;
    let Translated { chat, model, stream, background, tokens, response, manner, input, .. } = *done;
    let telling = Begun { response, manner, input, _held: kept };
    Ok(Understood { chat, held, model, stream, background, tokens, telling })
}

/// Loads what a request refers to from the store.
async fn load_needs(gateway: &Shared, caller: &Caller, needs: Needs) -> Result<Meant, Failure> {
    let kept = of(gateway, caller);
    let earlier = match &needs.previous {
        Some(id) if gateway.making.is_under_way(&kept.owner, id) => {
            let words = format!("the response \"{id}\" is still being made; wait for its end");
            return Err(Failure::invalid(words, Some("previous_response_id".to_owned())));
        }
        Some(id) => kept.conversation(id).await.map_err(not_gone_on_from)?,
        None => Vec::new(),
    };
    let items = kept.items(needs.references).await.map_err(not_gone_on_from)?;
    Ok(Meant { earlier, items })
}

/// `meant`: none, if it is not known yet whether something is.
fn translate(body: &[u8], stem: &str, meant: Option<&Meant>) -> Result<Step, Failure> {
    // Finds what a tree would hide: keys that come twice.
    let mut scanner = Scanner::default();
    scanner.feed(body)?;
    scanner.finish()?;
    let request: Value = serde_json::from_slice(body)
        .map_err(|error| Failure::invalid(format!("the body is not valid JSON: {error}"), None))?;
    let mut asked = Asked::read(&request, stem).map_err(unfit)?;
    let model = request["model"].as_str().unwrap_or_default().to_owned();
    drop(request);
    let references = asked.references();
    let none = Meant::default();
    let meant = match meant {
        None if asked.previous.is_some() || !references.is_empty() => {
            return Ok(Step::Needs(Needs { previous: asked.previous, references }, model));
        }
        None => &none,
        Some(meant) => {
            let all = meant.earlier.iter().chain(&meant.items);
            Weight::sum(all.map(|item| Weight::of(item.as_bytes()))).check()?;
            meant
        }
    };
    let earlier: Vec<Value> = meant.earlier.iter().map(|item| parsed(item)).collect();
    let items: Vec<Value> = meant.items.iter().map(|item| parsed(item)).collect();
    asked.resolve(&items).map_err(unfit)?;
    let chat = asked.chat(&earlier).map_err(unfit)?;
    let (tokens, chat) = (estimated_tokens(&chat), Bytes::from(chat.to_string()));
    let manner = asked.manner(&earlier);
    let response = asked.response(&format!("resp_{stem}"), &model, 0);
    let input: Option<Vec<ItemRow>> =
        asked.store.then(|| asked.input.iter().map(|item| item_row(item, true)).collect());
    let template = response.to_string();
    let texts = input.iter().flatten().map(|item| item.item.len() as u64).sum::<u64>();
    let kept = texts + template.len() as u64 + Weight::of(template.as_bytes()).check()?;
    let (stream, background) = (asked.stream, asked.background);
    let done = Translated { chat, model, stream, background, tokens, response, manner, input, kept };
    Ok(Step::Done(Box::new(done)))
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

/// What counting tokens answers.
pub(super) fn counted(tokens: u64) -> Value {
    json!({"object": "response.input_tokens", "input_tokens": tokens})
}
