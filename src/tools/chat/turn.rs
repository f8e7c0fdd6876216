//! Reads the event stream of one round: what goes on to the client, and which calls the model makes.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::dialect::assembled::Assembled;
use crate::dialect::facts::Usage;
use crate::dialect::failure::UpstreamFailure;
use crate::dialect::sse;

/// Bytes of the arguments of all calls in one round.
const ARGUMENTS_MAX: usize = 1 << 20;
/// Calls of one round that are looked at.
const CALLS_MAX: usize = 64;
/// Bytes that are held back while it is not clear whether a choice is met.
const HELD_MAX: usize = 4 << 20;

/// A call that the model makes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModelCall {
    pub id: String,
    pub name: String,
    /// As the model wrote them.
    pub arguments: String,
}

/// One round as it is read.
#[derive(Debug, Default)]
pub struct Turn {
    pub calls: Vec<ModelCall>,
    pub content: String,
    /// What it thought, for models that go on thinking where they called a tool.
    pub reasoning: String,
    pub finish_reason: Option<String>,
    pub usage: Option<Usage>,
    pub deltas: u64,
    /// The stream told a failure, which went on to the client or is to go.
    pub failure: Option<Vec<u8>>,
    indices: Vec<u64>,
    /// Bytes of an event that is not complete.
    rest: Vec<u8>,
}

/// The chunk that all of a stream's chunks look like.
#[derive(Debug, Clone, Default)]
pub struct Frame {
    id: Option<Value>,
    created: Option<Value>,
    model: Option<Value>,
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

impl Turn {
    /// Takes bytes of the stream and returns what of them the client is to see. What is kept of them counts in `kept`.
    pub fn feed(
        &mut self,
        bytes: &[u8],
        frame: &mut Frame,
        kept: &mut Assembled,
    ) -> Result<Vec<u8>, UpstreamFailure> {
        let mut out = Vec::new();
        self.rest.extend_from_slice(bytes);
        let Some(end) = sse::last_boundary(&self.rest, 0) else { return Ok(out) };
        let whole: Vec<u8> = self.rest.drain(..end).collect();
        if whole.starts_with(b":") && sse::events(&whole).next().is_none() {
            return Ok(whole);
        }
        for data in sse::events(&whole) {
            if data.as_ref() != sse::DONE {
                self.event(&data, frame, kept, &mut out)?;
            }
        }
        Ok(out)
    }

    /// Whether so much was held back that no more may be.
    pub fn is_too_much(held: &[u8]) -> bool {
        held.len() > HELD_MAX
    }

    /// Gives calls an id that have none.
    pub fn name_calls(&mut self) {
        for (index, call) in self.calls.iter_mut().enumerate().filter(|(_, call)| call.id.is_empty()) {
            call.id = format!("call_{index}");
        }
    }

    /// The round as a part of the conversation.
    pub fn message(self) -> Value {
        let text = |text: String| if text.is_empty() { Value::Null } else { text.into() };
        let calls: Vec<Value> = self.calls.iter().map(ModelCall::to_json).collect();
        let mut message = json!({"role": "assistant", "content": text(self.content), "tool_calls": calls});
        if !self.reasoning.is_empty() {
            message["reasoning_content"] = self.reasoning.into();
        }
        message
    }

    fn event(
        &mut self,
        data: &[u8],
        frame: &mut Frame,
        kept: &mut Assembled,
        out: &mut Vec<u8>,
    ) -> Result<(), UpstreamFailure> {
        let Ok(Value::Object(mut chunk)) = serde_json::from_slice::<Value>(data) else { return Ok(()) };
        if chunk.contains_key("error") && !chunk.contains_key("choices") {
            self.failure = Some(data.to_vec());
            return Ok(());
        }
        if let Some(usage) = chunk.remove("usage").filter(|usage| !usage.is_null()) {
            self.usage = Usage::of(&usage).or(self.usage);
        }
        frame.note(&chunk);
        let Some(choice) = chunk.get_mut("choices").and_then(|choices| choices.get_mut(0)) else {
            return Ok(());
        };
        if let Some(reason) = choice.get("finish_reason").and_then(Value::as_str) {
            self.finish_reason = Some(reason.to_owned());
            choice["finish_reason"] = Value::Null;
        }
        let Some(delta) = choice.get_mut("delta").and_then(Value::as_object_mut) else {
            return Ok(());
        };
        if let Some(calls) = delta.remove("tool_calls") {
            self.deltas += 1;
            self.calls(calls, kept)?;
        }
        if let Some(content) = delta.get("content").and_then(Value::as_str) {
            kept.push(&mut self.content, content)?;
        }
        let thought = delta.get("reasoning_content").or_else(|| delta.get("reasoning"));
        if let Some(thought) = thought.and_then(Value::as_str) {
            kept.push(&mut self.reasoning, thought)?;
        }
        // The end of the whole answer is told when it is known.
        let says = |key: &str| delta.get(key).and_then(Value::as_str).is_some_and(|text| !text.is_empty());
        if says("content") || says("reasoning_content") || says("reasoning") {
            self.deltas += 1;
            frame.write(&mut chunk, out);
        }
        Ok(())
    }

    fn calls(&mut self, deltas: Value, kept: &mut Assembled) -> Result<(), UpstreamFailure> {
        let Ok(deltas) = serde_json::from_value::<Vec<CallDelta>>(deltas) else { return Ok(()) };
        for delta in deltas {
            let index = delta.index.unwrap_or(self.calls.len() as u64);
            // Another id is another call, also from servers that number all of them 0.
            let same = |at: &usize| match delta.id.as_deref() {
                None | Some("") => true,
                Some(id) => self.calls[*at].id.is_empty() || self.calls[*at].id == id,
            };
            let known = self.indices.iter().rposition(|known| *known == index).filter(same);
            let at = match known {
                Some(at) => at,
                None if self.calls.len() < CALLS_MAX => {
                    self.indices.push(index);
                    self.calls.push(ModelCall::default());
                    self.calls.len() - 1
                }
                None => continue,
            };
            let call = &mut self.calls[at];
            if let Some(id) = delta.id.filter(|id| !id.is_empty()) {
                call.id = id;
            }
            if let Some(function) = delta.function {
                kept.push(&mut call.name, &function.name.unwrap_or_default())?;
                if call.arguments.len() < ARGUMENTS_MAX {
                    kept.push(&mut call.arguments, &function.arguments.unwrap_or_default())?;
                }
            }
        }
        Ok(())
    }
}

impl ModelCall {
    /// As it is told to who asks what is run.
    pub fn as_note(&self) -> Value {
        json!({"id": self.id, "name": self.name, "arguments": self.arguments})
    }

    pub fn to_json(&self) -> Value {
        json!({"id": self.id, "type": "function", "function": {"name": self.name, "arguments": self.arguments}})
    }
}

impl Frame {
    fn note(&mut self, chunk: &Map<String, Value>) {
        for (kept, key) in [(&mut self.id, "id"), (&mut self.created, "created"), (&mut self.model, "model")]
        {
            if kept.is_none() {
                *kept = chunk.get(key).cloned();
            }
        }
    }

    /// One stream to the client, however many rounds: one id, one time.
    fn write(&self, chunk: &mut Map<String, Value>, out: &mut Vec<u8>) {
        for (kept, key) in [(&self.id, "id"), (&self.created, "created")] {
            if let (Some(value), true) = (kept, chunk.contains_key(key)) {
                chunk.insert(key.to_owned(), value.clone());
            }
        }
        event(&Value::Object(std::mem::take(chunk)), out);
    }

    /// The role, which opens the stream.
    pub fn opening(&self) -> Vec<u8> {
        self.chunk(json!({"role": "assistant", "content": ""}), Value::Null)
    }

    /// Calls that are the client's to run.
    pub fn calls(&self, calls: &[ModelCall]) -> Vec<u8> {
        let calls: Vec<Value> = calls
            .iter()
            .enumerate()
            .map(|(index, call)| {
                let mut call = call.to_json();
                call["index"] = index.into();
                call
            })
            .collect();
        self.chunk(json!({"tool_calls": calls}), Value::Null)
    }

    /// The end of the answer.
    pub fn closing(&self, reason: &str, usage: Option<&Usage>) -> Vec<u8> {
        let mut out = self.chunk(json!({}), reason.into());
        if let Some(usage) = usage {
            let mut chunk = self.base();
            chunk["choices"] = json!([]);
            let (prompt, completion) = (usage.prompt.unwrap_or(0), usage.completion.unwrap_or(0));
            chunk["usage"] = json!({
                "prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": usage.total(),
                "prompt_tokens_details": {"cached_tokens": usage.cached.unwrap_or(0)},
            });
            event(&chunk, &mut out);
        }
        out
    }

    fn chunk(&self, delta: Value, finish_reason: Value) -> Vec<u8> {
        let mut chunk = self.base();
        chunk["choices"] =
            json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason}]);
        let mut out = Vec::new();
        event(&chunk, &mut out);
        out
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

/// Tokens of several rounds together.
pub fn sum(one: Option<Usage>, other: Option<Usage>) -> Option<Usage> {
    let (Some(one), Some(other)) = (one, other) else { return one.or(other) };
    Some(one.plus(other))
}

fn event(chunk: &Value, out: &mut Vec<u8>) {
    out.extend_from_slice(b"data: ");
    out.extend_from_slice(chunk.to_string().as_bytes());
    out.extend_from_slice(b"\n\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(delta: Value, finish: Value) -> String {
        let chunk = json!({"id": "a", "created": 1, "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]});
        format!("data: {chunk}\n\n")
    }

    #[test]
    fn words_go_on_and_calls_stay() {
        let (mut turn, mut frame) = (Turn::default(), Frame::default());
        let call = |arguments: &str| json!({"tool_calls": [{"index": 0, "id": "c1", "function": {"name": if arguments.is_empty() { "f" } else { "" }, "arguments": arguments}}]});
        let text = [
            chunk(json!({"role": "assistant", "content": ""}), Value::Null),
            chunk(json!({"reasoning_content": "hm"}), Value::Null),
            chunk(json!({"content": "Let me see"}), Value::Null),
            chunk(call(""), Value::Null),
            chunk(call("{\"a\""), Value::Null),
            chunk(call(":1}"), "tool_calls".into()),
            "data: [DONE]\n\n".to_owned(),
        ]
        .concat();
        let mut seen = Vec::new();
        for piece in text.as_bytes().chunks(7) {
            seen.extend(turn.feed(piece, &mut frame, &mut Assembled::text()).unwrap());
        }
        let seen = String::from_utf8(seen).unwrap();
        assert_eq!(seen.matches("data: ").count(), 2, "{seen}");
        assert!(seen.contains("hm") && seen.contains("Let me see") && !seen.contains("DONE"));
        let expected = ModelCall { id: "c1".into(), name: "f".into(), arguments: "{\"a\":1}".into() };
        assert_eq!(turn.calls, [expected]);
        assert_eq!((turn.finish_reason.as_deref(), turn.deltas), (Some("tool_calls"), 5));
    }

    #[test]
    fn calls_are_told_apart_by_index_and_by_id() {
        let (mut turn, mut frame) = (Turn::default(), Frame::default());
        let call = |index: u64, id: &str, name: &str, arguments: &str| {
            let call = json!({"index": index, "id": id, "function": {"name": name, "arguments": arguments}});
            chunk(json!({"tool_calls": [call]}), Value::Null)
        };
        let text = [
            call(0, "a", "f", "{\"n\""),
            call(0, "a", "", ":1}"),
            // A server that numbers all of them 0.
            call(0, "b", "g", "{}"),
            call(1, "", "h", ""),
        ];
        turn.feed(text.concat().as_bytes(), &mut frame, &mut Assembled::text()).unwrap();
        turn.name_calls();
        let seen: Vec<_> =
            turn.calls.iter().map(|call| [call.id.as_str(), &call.name, &call.arguments]).collect();
        assert_eq!(seen, [["a", "f", "{\"n\":1}"], ["b", "g", "{}"], ["call_2", "h", ""]]);
    }

    #[test]
    fn a_failure_is_kept_comments_pass_and_usage_adds_up() {
        let (mut turn, mut frame) = (Turn::default(), Frame::default());
        let mut feed = |bytes: &[u8]| turn.feed(bytes, &mut frame, &mut Assembled::text()).unwrap();
        assert_eq!(feed(b": prefill\n\n"), b": prefill\n\n");
        assert!(feed(b"data: {\"error\":{\"message\":\"x\"}}\n\n").is_empty());
        assert!(turn.failure.is_some());
        let usage =
            |prompt| Some(Usage { prompt: Some(prompt), completion: Some(1), cached: None, reasoning: None });
        let total = sum(usage(3), usage(4)).unwrap();
        assert_eq!((total.prompt, total.completion, total.cached), (Some(7), Some(2), None));
        assert_eq!(sum(None, usage(4)), usage(4));
    }
}
