//! A stream of chat completion chunks, or a whole completion, as the events of a response.

use serde_json::{Value, json};

use super::object;
use super::output::{Manner, Output};
use crate::dialect::assembled::Assembled;
use crate::dialect::failure::UpstreamFailure;
use crate::dialect::tool_calls::{Deferred, Step, ToolCalls};
use crate::dialect::{notes, sse};

/// Bytes that an item takes beside its text, about.
const ITEM_BYTES: usize = 1024;

/// One response on its way.
#[derive(Debug)]
pub struct Events {
    /// As it begins, and at its end as it is.
    response: Value,
    output: Output,
    calls: ToolCalls,
    deferred: Deferred,
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
    /// Why the chat has to end before it is complete.
    abort_reason: Option<UpstreamFailure>,
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
            calls: ToolCalls::default(),
            deferred: Deferred::default(),
            queued: false,
            started: false,
            finish_reason: None,
            usage: None,
            error: None,
            over: false,
            kept: Assembled::text(),
            items: 0,
            abort_reason: None,
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
        self.flush_calls();
        self.output.finish("incomplete");
        self.response["status"] = "cancelled".into();
        self.response["output"] = self.output.items().to_vec().into();
        self.end("response.incomplete")
    }

    /// Bytes of text that the response has come to.
    pub fn kept(&self) -> usize {
        self.kept.bytes()
    }

    /// Returns why the chat has to be ended: the response would grow too large with more of it, or cannot be read.
    pub fn abort_reason(&self) -> Option<&UpstreamFailure> {
        self.abort_reason.as_ref()
    }

    /// Whether the chat has come to its end.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// The end. `at`: seconds since 1970.
    pub fn finish(&mut self, at: i64) -> End {
        self.start();
        self.flush_calls();
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

    /// Adds calls that waited for the end of an earlier one.
    fn flush_calls(&mut self) {
        let steps = self.calls.finish();
        self.add_steps(steps);
        self.flush_deferred();
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
        if let Some(reasoning) = text("reasoning_content").or_else(|| text("reasoning")) {
            match self.calls.has_open_call() {
                true => self.deferred.reasoning.push_str(reasoning),
                false => self.output.think(reasoning),
            }
        }
        if let Some(content) = text("content") {
            match self.calls.has_open_call() {
                true => self.deferred.text.push_str(content),
                false => self.output.speak(content),
            }
        }
        if let Err(failure) = self.calls.feed_value(&delta["tool_calls"], &mut self.kept) {
            return self.abort(failure);
        }
        let steps = self.calls.take_steps();
        self.add_steps(steps);
    }

    fn add_steps(&mut self, steps: Vec<Step>) {
        for step in steps {
            match step {
                Step::Begin { name, .. } => self.output.begin_call(&name),
                Step::Arguments(arguments) => self.output.add_arguments(&arguments),
            }
        }
        if !self.calls.has_open_call() {
            self.flush_deferred();
        }
    }

    fn flush_deferred(&mut self) {
        let Deferred { reasoning, text } = std::mem::take(&mut self.deferred);
        if !reasoning.is_empty() {
            self.output.think(&reasoning);
        }
        if !text.is_empty() {
            self.output.speak(&text);
        }
    }

    /// Counts text that is about to be kept, and the items before it; without room for them the response has failed.
    fn has_room(&mut self, bytes: usize) -> bool {
        let new = self.output.items().len() - self.items;
        self.items += new;
        let Err(failure) = self.kept.keep(bytes + new * ITEM_BYTES) else { return true };
        self.abort(failure);
        false
    }

    fn abort(&mut self, failure: UpstreamFailure) {
        self.fail(&json!({"message": failure.message, "type": failure.kind, "code": failure.code}));
        self.abort_reason = Some(failure);
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

/// Returns the bytes of text in a delta; tool calls count where they are assembled.
fn text_bytes(delta: &Value) -> usize {
    let text = |key: &str| delta.get(key).and_then(Value::as_str).map_or(0, str::len);
    ["reasoning_content", "reasoning", "content"].map(text).iter().sum()
}
