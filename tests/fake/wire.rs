//! The bytes of mlx-openai-server 1.8.1: its JSON styles, chunks, errors and heads, as in the
//! recorded transcripts. Knows nothing of when they are sent.

use serde::Serialize;
use serde_json::{Value, json};

/// What one delta of a stream carries.
#[derive(Debug, Clone, PartialEq)]
pub enum Piece {
    Reasoning(String),
    Content(String),
    /// The index is its place among the calls of the answer.
    ToolCall {
        index: usize,
        name: String,
        arguments: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Usage {
    pub prompt: u64,
    pub completion: u64,
    pub cached: u64,
}

/// Who answers: repeated in every chunk.
#[derive(Debug, Clone)]
pub struct Identity {
    pub id: String,
    pub model: String,
    pub created: u64,
}

impl Usage {
    pub fn json(self) -> Value {
        json!({
            "prompt_tokens": self.prompt,
            "total_tokens": self.prompt + self.completion,
            "completion_tokens": self.completion,
            "prompt_tokens_details": {"cached_tokens": self.cached},
        })
    }
}

impl Identity {
    /// The first event of a stream, sent before any generation.
    pub fn role_event(&self) -> String {
        self.event(json!({"delta": {"role": "assistant"}, "index": 0}), None)
    }

    pub fn event_of(&self, piece: &Piece) -> String {
        let delta = match piece {
            Piece::Reasoning(text) => json!({"role": "assistant", "reasoning_content": text}),
            Piece::Content(text) => json!({"content": text, "role": "assistant"}),
            Piece::ToolCall { index, name, arguments } => json!({
                "role": "assistant",
                "tool_calls": [{
                    "index": index,
                    "id": format!("call_{}57887{index}", self.created),
                    "function": {"arguments": arguments, "name": name},
                    "type": "function",
                }],
            }),
        };
        self.event(json!({"delta": delta, "index": 0}), None)
    }

    pub fn last_event(&self, finish_reason: &str, usage: Option<Value>) -> String {
        self.event(json!({"delta": {}, "finish_reason": finish_reason, "index": 0}), usage)
    }

    /// The whole answer to a request that asked for no stream: compact JSON.
    pub fn completion(&self, pieces: &[Piece], finish_reason: &str, usage: Option<Value>) -> String {
        let (mut reasoning, mut content, mut calls) = (String::new(), String::new(), Vec::new());
        for piece in pieces {
            match piece {
                Piece::Reasoning(text) => reasoning.push_str(text),
                Piece::Content(text) => content.push_str(text),
                Piece::ToolCall { index, name, arguments } => calls.push(json!({
                    "id": format!("call_{}57887{index}", self.created),
                    "type": "function",
                    "function": {"name": name, "arguments": arguments},
                    "index": index,
                })),
            }
        }
        let mut message = serde_json::Map::new();
        if calls.is_empty() {
            message.insert("content".into(), content.into());
        }
        message.insert("role".into(), "assistant".into());
        if !reasoning.is_empty() {
            message.insert("reasoning_content".into(), reasoning.into());
        }
        if !calls.is_empty() {
            message.insert("tool_calls".into(), calls.into());
        }
        message.insert("partial".into(), false.into());
        let mut answer = json!({
            "id": self.id,
            "object": "chat.completion",
            "created": self.created,
            "model": self.model,
            "choices": [{"finish_reason": finish_reason, "index": 0, "message": message}],
        });
        if let Some(usage) = usage {
            answer["usage"] = usage;
        }
        answer.to_string()
    }

    fn event(&self, choice: Value, usage: Option<Value>) -> String {
        let mut chunk = json!({
            "id": self.id,
            "choices": [choice],
            "created": self.created,
            "model": self.model,
            "object": "chat.completion.chunk",
        });
        if let Some(usage) = usage {
            chunk["usage"] = usage;
        }
        format!("data: {}\n\n", python_json(&chunk))
    }
}

/// An error inside a stream; always followed by an ordinary end.
pub fn error_event(code: &str) -> String {
    let (message, kind) = match code {
        "429" => ("Too many requests. Service is at capacity.", "rate_limit_exceeded"),
        _ => ("", "server_error"),
    };
    let error = json!({"error": {"message": message, "type": kind, "param": null, "code": code}});
    format!("data: {}\n\n", python_json(&error))
}

/// A complete answer that is not a stream.
pub fn plain_response(status: u16, content_type: &str, body: &str) -> Vec<u8> {
    let reason = reason_of(status);
    format!(
        "HTTP/1.1 {status} {reason}\r\ndate: Sat, 21 Nov 2026 22:59:31 GMT\r\nserver: uvicorn\r\n\
         content-length: {}\r\ncontent-type: {content_type}\r\n\
         x-process-time: 0.0005717277526855469\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

pub fn json_response(status: u16, body: &str) -> Vec<u8> {
    plain_response(status, "application/json", body)
}

pub fn stream_head() -> &'static [u8] {
    b"HTTP/1.1 200 OK\r\ndate: Sat, 21 Nov 2026 22:59:32 GMT\r\nserver: uvicorn\r\n\
      cache-control: no-cache\r\nconnection: keep-alive\r\nx-accel-buffering: no\r\n\
      content-type: text/event-stream; charset=utf-8\r\n\
      x-process-time: 0.0011603832244873047\r\nTransfer-Encoding: chunked\r\n\r\n"
}

/// One chunk of a chunked body, as uvicorn frames it.
pub fn frame(bytes: &[u8]) -> Vec<u8> {
    let mut framed = format!("{:x}\r\n", bytes.len()).into_bytes();
    framed.extend_from_slice(bytes);
    framed.extend_from_slice(b"\r\n");
    framed
}

/// `json.dumps` of Python: a space after `,` and `:`, everything but ASCII escaped.
pub fn python_json(value: &Value) -> String {
    let mut bytes = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, Python);
    match value.serialize(&mut serializer) {
        Ok(()) => String::from_utf8(bytes).unwrap_or_default(),
        Err(error) => error.to_string(),
    }
}

fn reason_of(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        422 => "Unprocessable Entity",
        429 => "Too Many Requests",
        503 => "Service Unavailable",
        _ => "Internal Server Error",
    }
}

struct Python;

impl serde_json::ser::Formatter for Python {
    fn begin_array_value<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
        writer.write_all(b": ")
    }

    fn write_string_fragment<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> std::io::Result<()> {
        if fragment.is_ascii() {
            return writer.write_all(fragment.as_bytes());
        }
        for character in fragment.chars() {
            if character.is_ascii() {
                writer.write_all(&[character as u8])?;
            } else {
                let mut units = [0; 2];
                for unit in character.encode_utf16(&mut units) {
                    write!(writer, "\\u{unit:04x}")?;
                }
            }
        }
        Ok(())
    }
}
