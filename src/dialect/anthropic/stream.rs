//! A stream of chat completion chunks as the events of a message.

use serde_json::{Value, json};

use super::{error, message_id, stop, usage};
use crate::dialect::assembled::Assembled;
use crate::dialect::failure::UpstreamFailure;
use crate::dialect::sse;
use crate::dialect::tool_calls::{Deferred, Step, ToolCalls};

/// Which block of the message is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Block {
    Thinking,
    Text,
    /// The tool call that began last.
    Tool,
}

/// One message on its way.
#[derive(Debug)]
pub struct Events {
    model: String,
    /// Tokens of the prompt, about: the engine counts them at the end only.
    input_tokens: u64,
    started: bool,
    open: Option<Block>,
    /// Of the block that is open or comes next.
    index: u64,
    calls: ToolCalls,
    deferred: Deferred,
    /// Bounds `calls` and `deferred`.
    bound: Assembled,
    end: Option<(String, Option<String>)>,
    usage: Option<Value>,
    over: bool,
    /// Why the chat has to end before it is complete.
    abort_reason: Option<UpstreamFailure>,
}

impl Events {
    /// For a message in the name of `model`, whose prompt has that many tokens as far as is known.
    pub fn new(model: &str, input_tokens: u64) -> Events {
        Events {
            model: model.to_owned(),
            input_tokens,
            started: false,
            open: None,
            index: 0,
            calls: ToolCalls::default(),
            deferred: Deferred::default(),
            bound: Assembled::text(),
            end: None,
            usage: None,
            over: false,
            abort_reason: None,
        }
    }

    /// Takes whole events of a chat and gives those of the message; comments become pings.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        if bytes.starts_with(b":") {
            self.start(None, &mut out);
            emit("ping", &json!({"type": "ping"}), &mut out);
        }
        for data in sse::events(bytes) {
            if self.over {
                break;
            }
            if data.as_ref() == sse::DONE {
                self.finish(&mut out);
            } else if let Ok(chunk) = serde_json::from_slice::<Value>(&data) {
                self.chunk(&chunk, &mut out);
            }
        }
        out
    }

    /// Returns the final events once the chat has ended, whether it said so or not; none after an earlier end.
    pub fn end(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        if !self.over {
            self.finish(&mut out);
        }
        out
    }

    /// Returns why the chat has to be ended: its tool calls cannot be read or are too large.
    pub fn abort_reason(&self) -> Option<&UpstreamFailure> {
        self.abort_reason.as_ref()
    }

    fn chunk(&mut self, chunk: &Value, out: &mut Vec<u8>) {
        if chunk.get("error").is_some_and(Value::is_object) {
            self.over = true;
            // Its status has left with the head.
            let status = if chunk["error"]["type"] == "rate_limit_error" { 429 } else { 500 };
            return emit("error", &error(status, chunk, None), out);
        }
        self.start(chunk["id"].as_str(), out);
        if chunk["usage"].is_object() {
            self.usage = Some(chunk["usage"].clone());
        }
        let Some(choice) = chunk["choices"].get(0) else { return };
        let delta = &choice["delta"];
        if let Err(failure) = self.add_delta(delta, out) {
            self.over = true;
            emit("error", &error(failure.status, &failure.as_value(), None), out);
            self.abort_reason = Some(failure);
            return;
        }
        if let Some(reason) = choice["finish_reason"].as_str() {
            self.end = Some((reason.to_owned(), choice["stop_reason"].as_str().map(str::to_owned)));
        }
    }

    fn add_delta(&mut self, delta: &Value, out: &mut Vec<u8>) -> Result<(), UpstreamFailure> {
        let text = |key: &str| delta.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        if let Some(reasoning) = text("reasoning_content").or_else(|| text("reasoning")) {
            match self.calls.has_open_call() {
                true => self.bound.push(&mut self.deferred.reasoning, reasoning)?,
                false => self.think(reasoning, out),
            }
        }
        if let Some(content) = text("content") {
            match self.calls.has_open_call() {
                true => self.bound.push(&mut self.deferred.text, content)?,
                false => self.speak(content, out),
            }
        }
        self.calls.feed_value(&delta["tool_calls"], &mut self.bound)?;
        let steps = self.calls.take_steps();
        self.add_steps(steps, out);
        Ok(())
    }

    fn think(&mut self, reasoning: &str, out: &mut Vec<u8>) {
        self.open(Block::Thinking, || json!({"type": "thinking", "thinking": "", "signature": ""}), out);
        self.delta(&json!({"type": "thinking_delta", "thinking": reasoning}), out);
    }

    fn speak(&mut self, text: &str, out: &mut Vec<u8>) {
        self.open(Block::Text, || json!({"type": "text", "text": ""}), out);
        self.delta(&json!({"type": "text_delta", "text": text}), out);
    }

    fn add_steps(&mut self, steps: Vec<Step>, out: &mut Vec<u8>) {
        for step in steps {
            match step {
                Step::Begin { id, name } => {
                    self.close(out);
                    let id = if id.is_empty() { format!("toolu_{}", self.index) } else { id };
                    let begin = || json!({"type": "tool_use", "id": id, "name": name, "input": {}});
                    self.open(Block::Tool, begin, out);
                }
                Step::Arguments(arguments) if self.open == Some(Block::Tool) => {
                    self.delta(&json!({"type": "input_json_delta", "partial_json": arguments}), out);
                }
                // More after arguments that were complete.
                Step::Arguments(_) => {}
            }
        }
        if !self.calls.has_open_call() {
            self.flush_deferred(out);
        }
    }

    fn flush_deferred(&mut self, out: &mut Vec<u8>) {
        let Deferred { reasoning, text } = std::mem::take(&mut self.deferred);
        if !reasoning.is_empty() {
            self.think(&reasoning, out);
        }
        if !text.is_empty() {
            self.speak(&text, out);
        }
    }

    fn start(&mut self, id: Option<&str>, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        let message = json!({
            "id": message_id(id),
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": [],
            "stop_reason": null,
            "stop_sequence": null,
            "usage": {"input_tokens": self.input_tokens, "output_tokens": 0},
        });
        emit("message_start", &json!({"type": "message_start", "message": message}), out);
    }

    fn open(&mut self, block: Block, begin: impl FnOnce() -> Value, out: &mut Vec<u8>) {
        if self.open == Some(block) {
            return;
        }
        self.close(out);
        self.open = Some(block);
        let event = json!({"type": "content_block_start", "index": self.index, "content_block": begin()});
        emit("content_block_start", &event, out);
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        if self.open.take().is_some() {
            emit("content_block_stop", &json!({"type": "content_block_stop", "index": self.index}), out);
            self.index += 1;
        }
    }

    fn delta(&self, delta: &Value, out: &mut Vec<u8>) {
        let event = json!({"type": "content_block_delta", "index": self.index, "delta": delta});
        emit("content_block_delta", &event, out);
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        self.over = true;
        let Some((reason, matched)) = self.end.take() else {
            let failure = UpstreamFailure::backend("the answer broke off");
            return emit("error", &error(failure.status, &failure.as_value(), None), out);
        };
        let steps = self.calls.finish();
        self.add_steps(steps, out);
        self.flush_deferred(out);
        self.close(out);
        let (stop_reason, stop_sequence) = stop(&reason, matched.as_deref());
        let event = json!({
            "type": "message_delta",
            "delta": {"stop_reason": stop_reason, "stop_sequence": stop_sequence},
            "usage": usage(self.usage.as_ref().unwrap_or(&Value::Null)),
        });
        emit("message_delta", &event, out);
        emit("message_stop", &json!({"type": "message_stop"}), out);
    }
}

fn emit(name: &str, data: &Value, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("event: {name}\ndata: {data}\n\n").as_bytes());
}
