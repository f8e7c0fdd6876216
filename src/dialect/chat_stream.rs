//! Chat completion streams that the gateway puts together itself: events that are parsed once, and chunks of its own.

use std::collections::VecDeque;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc::Sender;

use super::facts::Usage;
use super::failure::UpstreamFailure;
use super::sse;
use super::tool_calls::ToolCall;

/// An event of a stream.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A comment line with its blank line.
    Comment(Bytes),
    /// A chunk, and how many bytes it had as it came; 0: it was made here.
    Chunk(Value, usize),
}

impl Event {
    /// Returns the event as it is sent to a client.
    pub fn to_bytes(&self) -> Bytes {
        match self {
            Event::Comment(bytes) => bytes.clone(),
            Event::Chunk(chunk, _) => format!("data: {chunk}\n\n").into(),
        }
    }
}

impl From<Value> for Event {
    fn from(chunk: Value) -> Event {
        Event::Chunk(chunk, 0)
    }
}

/// Sends an event to the answer that is being read.
///
/// # Errors
/// If nobody reads it any more.
pub async fn send(out: &Sender<Event>, event: Event) -> Result<(), UpstreamFailure> {
    out.send(event).await.map_err(|_| UpstreamFailure::backend("the client has left"))
}

/// Parses complete events of a backend. `[DONE]` and errors are left out: the end of the stream reports them.
///
/// # Errors
/// If an event is not JSON.
pub fn parse(bytes: &Bytes, events: &mut VecDeque<Event>) -> Result<(), UpstreamFailure> {
    if bytes.starts_with(b":") && sse::events(bytes).next().is_none() {
        events.push_back(Event::Comment(bytes.clone()));
        return Ok(());
    }
    for data in sse::events(bytes).filter(|data| data.as_ref() != sse::DONE) {
        let chunk: Value = serde_json::from_slice(&data)
            .map_err(|_| UpstreamFailure::backend("the backend sent a chunk that is not JSON"))?;
        let is_error = chunk.get("error").is_some_and(Value::is_object) && chunk.get("choices").is_none();
        if chunk.is_object() && !is_error {
            events.push_back(Event::Chunk(chunk, data.len()));
        }
    }
    Ok(())
}

/// The members that all chunks of one answer share, however many rounds it takes.
#[derive(Debug, Clone, Default)]
pub struct Envelope {
    id: Option<Value>,
    created: Option<Value>,
    model: Option<Value>,
}

impl Envelope {
    /// Takes the members from the first chunk, and writes them into every later one.
    pub fn apply(&mut self, chunk: &mut Value) {
        for (member, key) in
            [(&mut self.id, "id"), (&mut self.created, "created"), (&mut self.model, "model")]
        {
            match (chunk.get_mut(key), &mut *member) {
                (Some(value), Some(member)) => value.clone_from(member),
                (Some(value), None) => *member = Some(value.clone()),
                (None, _) => {}
            }
        }
    }

    /// Returns the chunk with the role, which opens a stream.
    pub fn opening(&self) -> Event {
        self.chunk(&json!({"role": "assistant", "content": ""}), &Value::Null)
    }

    /// Returns a chunk with tool calls.
    pub fn tool_calls(&self, calls: &[ToolCall]) -> Event {
        let calls: Vec<Value> = (0..)
            .zip(calls)
            .map(|(index, call): (usize, _)| {
                let mut call = call.to_json();
                call["index"] = index.into();
                call
            })
            .collect();
        self.chunk(&json!({"tool_calls": calls}), &Value::Null)
    }

    /// Returns the chunk with the finish reason.
    pub fn closing(&self, finish_reason: &str) -> Event {
        self.chunk(&json!({}), &finish_reason.into())
    }

    /// Returns the chunk with the usage of the whole answer.
    pub fn usage(&self, usage: &Usage) -> Event {
        let mut chunk = self.base();
        chunk["choices"] = json!([]);
        chunk["usage"] = usage.to_json();
        chunk.into()
    }

    fn chunk(&self, delta: &Value, finish_reason: &Value) -> Event {
        let mut chunk = self.base();
        chunk["choices"] =
            json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason}]);
        chunk.into()
    }

    fn base(&self) -> Value {
        json!({
            "id": self.id.clone().unwrap_or_else(|| "chatcmpl".into()),
            "object": "chat.completion.chunk",
            "created": self.created.clone().unwrap_or_else(|| 0.into()),
            "model": self.model.clone().unwrap_or(Value::Null),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_leaves_out_errors_and_the_end() {
        let mut events = VecDeque::new();
        parse(&Bytes::from_static(b": prefill\n\n"), &mut events).unwrap();
        let bytes = Bytes::from_static(
            b"data: {\"choices\":[]}\n\ndata: {\"error\":{\"message\":\"x\"}}\n\ndata: [DONE]\n\n",
        );
        parse(&bytes, &mut events).unwrap();
        assert_eq!(
            events,
            [Event::Comment(Bytes::from_static(b": prefill\n\n")), Event::Chunk(json!({"choices": []}), 14)]
        );
        assert!(parse(&Bytes::from_static(b"data: {\n\n"), &mut events).is_err());
    }

    #[test]
    fn envelope_gives_all_chunks_the_members_of_the_first() {
        let mut envelope = Envelope::default();
        let mut first = json!({"id": "a", "created": 1, "model": "m", "choices": []});
        envelope.apply(&mut first);
        let mut second = json!({"id": "b", "created": 2, "model": "m", "choices": [1]});
        envelope.apply(&mut second);
        assert_eq!(second, json!({"id": "a", "created": 1, "model": "m", "choices": [1]}));
        let usage = Usage { prompt: Some(3), completion: Some(4), cached: None, reasoning: Some(1) };
        let Event::Chunk(chunk, 0) = envelope.usage(&usage) else { panic!() };
        assert_eq!((&chunk["id"], &chunk["usage"]["total_tokens"]), (&json!("a"), &json!(7)));
    }
}
