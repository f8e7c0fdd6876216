//! A stream of chat completion chunks, or a whole completion, as the events of a response.

use serde_json::{Value, json};

use super::object;
use super::output::{Manner, Output};
use crate::dialect::assembled::Assembled;
use crate::dialect::failure::UpstreamFailure;
use crate::dialect::{notes, sse};

/// Bytes that an item takes beside its text, about.
const ITEM_BYTES: usize = 1024;

/// One response on its way.
#[derive(Debug)]
pub struct Events {
    /// As it begins, and at its end as it is.
    response: Value,
    output: Output,
    /// It was told that it waits.
    queued: bool,
    started: bool,
    finish_reason: Option<String>,
    usage: Option<Value>,
    /// The chat's error.
    error: Option<Value>,
    over: bool,
    kept: Assembled,
    /// Items that are counted in `kept`.
    items: usize,
    /// Why the chat has to end: the response would grow too large.
    exceeded: Option<UpstreamFailure>,
    /// Bytes of an event that is not complete.
    rest: Vec<u8>,
}

/// How a response ended.
#[derive(Debug)]
pub struct End {
    /// As it is kept.
    pub response: Value,
    /// The chat's error, if it failed.
    pub error: Option<Value>,
    /// The events that tell it.
    pub events: Vec<u8>,
}

impl Events {
    /// `response`: as it begins; `stem`: what ids are made of.
    pub fn new(response: Value, stem: &str, manner: Manner) -> Events {
        Events {
            response,
            output: Output::new(stem, manner),
            queued: false,
            started: false,
            finish_reason: None,
            usage: None,
            error: None,
            over: false,
            kept: Assembled::text(),
            items: 0,
            exceeded: None,
            rest: Vec::new(),
        }
    }

    /// Takes bytes of a chat's stream and gives events of the response; comments go on as they are.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.rest.extend_from_slice(bytes);
        let Some(end) = sse::last_boundary(&self.rest, 0) else { return Vec::new() };
        let whole: Vec<u8> = self.rest.drain(..end).collect();
        self.start();
        if whole.starts_with(b":") && sse::events(&whole).next().is_none() {
            self.output.pass(&whole);
        }
        for data in sse::events(&whole) {
            if self.over {
                break;
            }
            if data.as_ref() == sse::DONE {
                self.over = true;
            } else if let Ok(chunk) = serde_json::from_slice::<Value>(&data) {
                self.chunk(&chunk);
            }
        }
        self.output.take_events()
    }

    /// Takes a whole completion.
    pub fn take(&mut self, completion: &Value) {
        self.start();
        let choice = &completion["choices"][0];
        self.delta(&choice["message"]);
        self.note_end(completion, choice);
        self.over = true;
    }

    /// The first events of one that is made in the background: it waits for its turn.
    pub fn queue(&mut self) -> Vec<u8> {
        self.queued = true;
        self.response["status"] = "queued".into();
        for name in ["response.created", "response.queued"] {
            self.output.emit(name, json!({"response": self.response}));
        }
        self.output.take_events()
    }

    /// The response as far as it has come.
    pub fn so_far(&self) -> Value {
        let mut response = self.response.clone();
        response["output"] = self.output.items().to_vec().into();
        response
    }

    /// The chat failed, with this error.
    pub fn fail(&mut self, error: &Value) {
        self.error = Some(error.clone());
        self.over = true;
    }

    /// The end of one that nobody wants any more. There is no event of that name; it is told as incomplete.
    pub fn cancel(&mut self) -> End {
        self.start();
        self.over = true;
        self.output.finish("incomplete");
        self.response["status"] = "cancelled".into();
        self.response["output"] = self.output.items().to_vec().into();
        self.end("response.incomplete")
    }

    /// Why the chat has to be ended, if the response would grow too large with more of it.
    pub fn exceeded(&self) -> Option<&UpstreamFailure> {
        self.exceeded.as_ref()
    }

    /// Whether the chat has come to its end.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// The end. `at`: seconds since 1970.
    pub fn finish(&mut self, at: i64) -> End {
        self.start();
        let cut = match self.finish_reason.as_deref() {
            Some("length") => Some("max_output_tokens"),
            Some("content_filter") => Some("content_filter"),
            _ => None,
        };
        if self.finish_reason.is_none() && self.error.is_none() {
            self.error = Some(
                json!({"message": "the answer broke off", "type": "api_error", "code": "backend_error"}),
            );
        }
        let (status, name) = match (&self.error, cut) {
            (Some(_), _) => ("failed", "response.failed"),
            (None, Some(_)) => ("incomplete", "response.incomplete"),
            (None, None) => ("completed", "response.completed"),
        };
        self.output.finish(if status == "completed" { "completed" } else { "incomplete" });
        let response = &mut self.response;
        response["status"] = status.into();
        response["output"] = self.output.items().to_vec().into();
        match (&self.error, cut) {
            (Some(error), _) => response["error"] = object::error(error),
            (None, Some(reason)) => response["incomplete_details"] = json!({"reason": reason}),
            (None, None) => response["completed_at"] = at.into(),
        }
        if let Some(usage) = &self.usage {
            response["usage"] = object::usage(usage);
        }
        self.end(name)
    }

    fn end(&mut self, name: &str) -> End {
        self.output.emit(name, json!({"response": self.response}));
        End { response: self.response.clone(), error: self.error.clone(), events: self.output.take_events() }
    }

    fn start(&mut self) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        self.response["status"] = "in_progress".into();
        let names: &[&str] = if self.queued { &[] } else { &["response.created"] };
        for name in names.iter().chain(&["response.in_progress"]) {
            self.output.emit(name, json!({"response": self.response}));
        }
    }

    fn chunk(&mut self, chunk: &Value) {
        if let Some(error) = chunk.get("error").filter(|error| error.is_object()) {
            return self.fail(error);
        }
        if let Some(note) = chunk.get(notes::KEY) {
            return self.note(note);
        }
        let choice = &chunk["choices"][0];
        self.delta(&choice["delta"]);
        self.note_end(chunk, choice);
    }

    fn delta(&mut self, delta: &Value) {
        if !self.has_room(text_bytes(delta)) {
            return;
        }
        let text = |key: &str| delta.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        if let Some(thought) = text("reasoning_content").or_else(|| text("reasoning")) {
            self.output.think(thought);
        }
        if let Some(words) = text("content") {
            self.output.speak(words);
        }
        for (at, call) in (0..).zip(delta["tool_calls"].as_array().into_iter().flatten()) {
            let function = &call["function"];
            let name = function["name"].as_str().unwrap_or_default();
            let arguments = function["arguments"].as_str().unwrap_or_default();
            let id = call["id"].as_str().unwrap_or_default();
            self.output.call(call["index"].as_u64().unwrap_or(at), id, name, arguments);
        }
    }

    /// Counts text that is about to be kept, and the items before it; without room for them the response has failed.
    fn has_room(&mut self, bytes: usize) -> bool {
        let new = self.output.items().len() - self.items;
        self.items += new;
        let Err(failure) = self.kept.keep(bytes + new * ITEM_BYTES) else { return true };
        self.fail(&json!({"message": failure.message, "type": failure.kind, "code": failure.code}));
        self.exceeded = Some(failure);
        false
    }

    fn note_end(&mut self, chunk: &Value, choice: &Value) {
        if chunk["usage"].is_object() {
            self.usage = Some(chunk["usage"].clone());
        }
        if let Some(reason) = choice["finish_reason"].as_str() {
            self.finish_reason = Some(reason.to_owned());
        }
    }

    fn note(&mut self, note: &Value) {
        if !self.has_room(note.to_string().len()) {
            return;
        }
        let all = |key: &str| note.get(key).and_then(Value::as_array).into_iter().flatten();
        if let Some(tools) = note.get("tools") {
            self.output.list_tools(tools);
        }
        all("calls").for_each(|call| self.output.run(call));
        all("results").for_each(|result| self.output.ran(result));
    }
}

/// Returns the bytes of text in a delta.
fn text_bytes(delta: &Value) -> usize {
    let text = |of: &Value, key: &str| of.get(key).and_then(Value::as_str).map_or(0, str::len);
    let calls = delta["tool_calls"].as_array().into_iter().flatten();
    let calls = calls.map(|call| text(&call["function"], "name") + text(&call["function"], "arguments"));
    ["reasoning_content", "reasoning", "content"].iter().map(|key| text(delta, key)).sum::<usize>()
        + calls.sum::<usize>()
}
