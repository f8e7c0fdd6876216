//! A whole answer out of a stream, for clients that did not ask for one: these engines go on
//! generating for a client that left, unless they were asked for a stream.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::assembled::Assembled;
use super::chunk::{Choice, Chunk};
use super::facts::{Facts, Usage};
use super::failure::UpstreamFailure;
use super::repair::finish_reason;
use super::sse;
use super::text::{Piece, Text};

/// Tool calls an answer may hold.
const CALLS_LIMIT: usize = 256;

/// An answer being put together.
#[derive(Debug)]
pub struct Aggregate {
    model: String,
    max_tokens: Option<u64>,
    id: Option<String>,
    created: Option<u64>,
    content: Option<String>,
    reasoning: Option<String>,
    calls: Vec<Call>,
    usage: Option<Box<RawValue>>,
    text: Text,
    kept: Assembled,
}

#[derive(Debug, Default)]
struct Call {
    index: u64,
    id: String,
    name: String,
    arguments: String,
}

#[derive(Deserialize)]
struct CallDelta {
    index: Option<u64>,
    id: Option<String>,
    function: Option<FunctionDelta>,
}

#[derive(Deserialize)]
struct FunctionDelta {
    name: Option<String>,
    arguments: Option<String>,
}

impl Aggregate {
    /// For an answer in the name of `model`; `max_tokens` tells an end by length from others.
    pub fn new(model: &str, max_tokens: Option<u64>) -> Self {
        Aggregate {
            model: model.to_owned(),
            max_tokens,
            id: None,
            created: None,
            content: None,
            reasoning: None,
            calls: Vec::new(),
            usage: None,
            text: Text::default(),
            kept: Assembled::text(),
        }
    }

    /// One of so many choices, which together may grow as large as one alone.
    pub fn among(mut self, choices: usize) -> Self {
        self.kept = Assembled::text_among(choices);
        self
    }

    /// Of an engine's own words: thinking is told apart, and the answer ends where one of `stops` would begin.
    pub fn reading(mut self, stops: &[String]) -> Self {
        self.text = Text::new(stops);
        self
    }

    /// Takes complete events.
    pub fn feed(&mut self, events: &[u8], facts: &mut Facts) {
        for data in sse::events(events) {
            if facts.failure.is_some() || facts.done {
                return;
            }
            if let Err(failure) = self.event(&data, facts) {
                facts.failure = Some(failure);
            }
        }
    }

    /// The answer, once the stream has ended.
    pub fn finish(mut self, facts: &mut Facts) -> Result<Vec<u8>, UpstreamFailure> {
        if let Some(failure) = facts.failure.clone() {
            return Err(failure);
        }
        let rest = self.text.finish();
        self.say(&rest)?;
        let Some(told) = facts.finish_reason.clone() else {
            return Err(UpstreamFailure::backend("the backend closed the connection in mid-answer"));
        };
        let reason = finish_reason(&told, facts.usage, self.max_tokens, !self.calls.is_empty()).to_owned();
        facts.finish_reason = Some(reason.clone());
        let mut message = Map::new();
        message.insert("role".into(), "assistant".into());
        message.insert("content".into(), self.content.into());
        message.insert("refusal".into(), Value::Null);
        if let Some(reasoning) = self.reasoning {
            message.insert("reasoning_content".into(), reasoning.into());
        }
        if !self.calls.is_empty() {
            message.insert("tool_calls".into(), self.calls.into_iter().map(Call::into_json).collect());
        }
        let mut answer = json!({
            "id": self.id.unwrap_or_else(|| "chatcmpl".into()),
            "object": "chat.completion",
            "created": self.created.unwrap_or(0),
            "model": self.model,
            "choices": [{"index": 0, "message": message, "logprobs": null, "finish_reason": reason}],
        });
        if let Some(found) = self.text.found() {
            answer["choices"][0]["stop_reason"] = found.into();
        }
        if let Some(usage) = self.usage {
            answer["usage"] = serde_json::from_str(usage.get()).unwrap_or(Value::Null);
        }
        Ok(answer.to_string().into_bytes())
    }

    fn event(&mut self, data: &[u8], facts: &mut Facts) -> Result<(), UpstreamFailure> {
        if data == sse::DONE {
            facts.done = true;
            return Ok(());
        }
        let broken = |_| UpstreamFailure::backend("the backend sent a chunk that is not JSON");
        let chunk: Chunk<'_> = serde_json::from_slice(data).map_err(broken)?;
        if let Some(error) = chunk.error {
            return Err(UpstreamFailure::from_event(error.get().as_bytes()));
        }
        if self.id.is_none() {
            self.id = chunk.id.and_then(|id| serde_json::from_str(id.get()).ok());
            self.created = chunk.created.and_then(|at| serde_json::from_str(at.get()).ok());
        }
        if let Some(usage) = chunk.usage {
            facts.usage = Usage::read(usage.get().as_bytes()).or(facts.usage);
            self.usage = Some(usage.to_owned());
        }
        for choice in chunk.choices.iter().flatten() {
            self.choice(choice, facts)?;
        }
        Ok(())
    }

    fn choice(&mut self, choice: &Choice<'_>, facts: &mut Facts) -> Result<(), UpstreamFailure> {
        if let Some(delta) = &choice.delta {
            facts.deltas += u64::from(delta.carries());
            facts.reasoning_deltas += u64::from(delta.reasons());
            if delta.reasons() {
                self.text.engine_thinks();
            }
            if let Some(words) = delta.content {
                let piece = self.text.feed(&read(words)?);
                self.say(&piece)?;
            }
            if let Some(words) = delta.reasoning_content {
                append(&mut self.kept, &mut self.reasoning, &read(words)?)?;
            }
            if let Some(calls) = delta.tool_calls {
                self.calls(calls)?;
            }
        }
        if let Some(reason) = &choice.finish_reason {
            facts.finish_reason = Some(reason.clone().into_owned());
        }
        if self.text.is_hit() {
            facts.finish_reason = Some("stop".to_owned());
            (facts.done, facts.stopped) = (true, true);
        }
        Ok(())
    }

    fn say(&mut self, piece: &Piece) -> Result<(), UpstreamFailure> {
        append(&mut self.kept, &mut self.content, &piece.answer)?;
        append(&mut self.kept, &mut self.reasoning, &piece.thought)
    }

    fn calls(&mut self, deltas: &RawValue) -> Result<(), UpstreamFailure> {
        let broken = |_| UpstreamFailure::backend("the backend sent a tool call that cannot be read");
        for delta in serde_json::from_str::<Vec<CallDelta>>(deltas.get()).map_err(broken)? {
            let index = delta.index.unwrap_or(self.calls.len() as u64);
            let at = match self.calls.iter().position(|call| call.index == index) {
                Some(at) => at,
                None if self.calls.len() < CALLS_LIMIT => {
                    self.calls.push(Call { index, ..Call::default() });
                    self.calls.len() - 1
                }
                None => return Err(UpstreamFailure::backend("the answer holds too many tool calls")),
            };
            let call = &mut self.calls[at];
            call.id = delta.id.unwrap_or_else(|| std::mem::take(&mut call.id));
            if let Some(function) = delta.function {
                self.kept.push(&mut call.name, &function.name.unwrap_or_default())?;
                self.kept.push(&mut call.arguments, &function.arguments.unwrap_or_default())?;
            }
        }
        Ok(())
    }
}

impl Call {
    fn into_json(self) -> Value {
        json!({
            "id": self.id,
            "type": "function",
            "function": {"name": self.name, "arguments": self.arguments},
        })
    }
}

/// A delta's text; null is none.
fn read(words: &RawValue) -> Result<Cow<'_, str>, UpstreamFailure> {
    let broken = |_| UpstreamFailure::backend("the backend sent a delta that is not text");
    serde_json::from_str::<Option<Cow<'_, str>>>(words.get()).map(Option::unwrap_or_default).map_err(broken)
}

fn append(kept: &mut Assembled, text: &mut Option<String>, piece: &str) -> Result<(), UpstreamFailure> {
    if piece.is_empty() { Ok(()) } else { kept.push(text.get_or_insert_default(), piece) }
}
