//! A stream of chat completion chunks as the events of a message.

use serde_json::{Value, json};

use super::{error, message_id, stop, usage};
use crate::dialect::sse;

/// Which block of the message is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Block {
    Thinking,
    Text,
    /// The tool call of that index.
    Tool(u64),
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
    end: Option<(String, Option<String>)>,
    usage: Option<Value>,
    over: bool,
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
            end: None,
            usage: None,
            over: false,
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
        let text = |key: &str| delta.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        if let Some(thinking) = text("reasoning_content") {
            self.open(Block::Thinking, || json!({"type": "thinking", "thinking": "", "signature": ""}), out);
            self.delta(&json!({"type": "thinking_delta", "thinking": thinking}), out);
        }
        if let Some(text) = text("content") {
            self.open(Block::Text, || json!({"type": "text", "text": ""}), out);
            self.delta(&json!({"type": "text_delta", "text": text}), out);
        }
        for call in delta["tool_calls"].as_array().into_iter().flatten() {
            let function = &call["function"];
            let begin =
                || json!({"type": "tool_use", "id": call["id"], "name": function["name"], "input": {}});
            self.open(Block::Tool(call["index"].as_u64().unwrap_or(0)), begin, out);
            if let Some(arguments) = function["arguments"].as_str().filter(|arguments| !arguments.is_empty())
            {
                self.delta(&json!({"type": "input_json_delta", "partial_json": arguments}), out);
            }
        }
        if let Some(reason) = choice["finish_reason"].as_str() {
            self.end = Some((reason.to_owned(), choice["stop_reason"].as_str().map(str::to_owned)));
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
        let Some((reason, matched)) = self.end.take() else { return };
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
