//! Reads one round of a chat: what of it goes on to the client, and the calls that the model makes.

use serde_json::{Map, Value, json};

use crate::dialect::assembled::Assembled;
use crate::dialect::chat_stream::Envelope;
use crate::dialect::failure::UpstreamFailure;
use crate::dialect::tool_calls::{ToolCall, ToolCalls};

/// One round as it is read.
#[derive(Debug, Default)]
pub struct Turn {
    calls: ToolCalls,
    content: String,
    /// For models that continue their reasoning after a tool call.
    reasoning: String,
    finish_reason: Option<String>,
}

/// A round that is over.
#[derive(Debug)]
pub struct CompleteTurn {
    pub calls: Vec<ToolCall>,
    pub content: String,
    pub reasoning: String,
    pub finish_reason: Option<String>,
}

impl Turn {
    /// Takes a chunk and returns what of it the client gets: text and reasoning, but neither calls nor the end. What
    /// is kept counts in `kept`.
    ///
    /// # Errors
    /// If the round grows too large, or its calls cannot be read.
    pub fn read(
        &mut self,
        mut chunk: Value,
        envelope: &mut Envelope,
        kept: &mut Assembled,
    ) -> Result<Option<Value>, UpstreamFailure> {
        envelope.apply(&mut chunk);
        if let Some(chunk) = chunk.as_object_mut() {
            chunk.remove("usage");
        }
        let Some(choice) = chunk.get_mut("choices").and_then(|choices| choices.get_mut(0)) else {
            return Ok(None);
        };
        if let Some(reason) = choice.get("finish_reason").and_then(Value::as_str) {
            self.finish_reason = Some(reason.to_owned());
            choice["finish_reason"] = Value::Null;
        }
        let Some(delta) = choice.get_mut("delta").and_then(Value::as_object_mut) else { return Ok(None) };
        if let Some(calls) = delta.remove("tool_calls") {
            self.calls.feed_value(&calls, kept)?;
        }
        let (content, reasoning) =
            (text(delta, &["content"]), text(delta, &["reasoning_content", "reasoning"]));
        kept.push(&mut self.content, content)?;
        kept.push(&mut self.reasoning, reasoning)?;
        let is_seen = !content.is_empty() || !reasoning.is_empty();
        Ok(is_seen.then_some(chunk))
    }

    /// Returns the round once it is over; calls without an id get one.
    pub fn complete(self) -> CompleteTurn {
        let mut calls = self.calls.into_calls();
        for (index, call) in calls.iter_mut().enumerate().filter(|(_, call)| call.id.is_empty()) {
            call.id = format!("call_{index}");
        }
        CompleteTurn {
            calls,
            content: self.content,
            reasoning: self.reasoning,
            finish_reason: self.finish_reason,
        }
    }
}

impl CompleteTurn {
    /// Returns the round as a message of the conversation.
    pub fn into_message(self) -> Value {
        let text = |text: String| if text.is_empty() { Value::Null } else { text.into() };
        let calls: Vec<Value> = self.calls.iter().map(ToolCall::to_json).collect();
        let mut message = json!({"role": "assistant", "content": text(self.content), "tool_calls": calls});
        if !self.reasoning.is_empty() {
            message["reasoning_content"] = self.reasoning.into();
        }
        message
    }
}

fn text<'a>(delta: &'a Map<String, Value>, keys: &[&str]) -> &'a str {
    keys.iter().find_map(|key| delta.get(*key).and_then(Value::as_str)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(delta: &Value, finish: &Value) -> Value {
        json!({"id": "a", "created": 1, "model": "m", "usage": null, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
    }

    #[test]
    fn turn_passes_words_on_and_keeps_calls() {
        let (mut turn, mut envelope, mut kept) = (Turn::default(), Envelope::default(), Assembled::text());
        let call = |arguments: &str| json!({"tool_calls": [{"index": 0, "id": "c1", "function": {"name": if arguments.is_empty() { "f" } else { "" }, "arguments": arguments}}]});
        let mut seen = Vec::new();
        for chunk in [
            chunk(&json!({"role": "assistant", "content": ""}), &Value::Null),
            chunk(&json!({"reasoning_content": "hm"}), &Value::Null),
            chunk(&json!({"content": "Let me see"}), &Value::Null),
            chunk(&call(""), &Value::Null),
            chunk(&call("{\"a\""), &Value::Null),
            chunk(&call(":1}"), &"tool_calls".into()),
            json!({"choices": [], "usage": {"prompt_tokens": 1}}),
        ] {
            seen.extend(turn.read(chunk, &mut envelope, &mut kept).unwrap());
        }
        let deltas: Vec<&Value> = seen.iter().map(|chunk| &chunk["choices"][0]["delta"]).collect();
        assert_eq!(deltas, [&json!({"reasoning_content": "hm"}), &json!({"content": "Let me see"})]);
        let turn = turn.complete();
        let expected = ToolCall { id: "c1".into(), name: "f".into(), arguments: "{\"a\":1}".into() };
        assert_eq!(
            (turn.calls.as_slice(), turn.finish_reason.as_deref()),
            ([expected].as_slice(), Some("tool_calls"))
        );
        let message = turn.into_message();
        assert_eq!(
            (&message["content"], &message["reasoning_content"]),
            (&json!("Let me see"), &json!("hm"))
        );
    }

    #[test]
    fn turn_gives_calls_an_id_that_have_none() {
        let (mut turn, mut envelope) = (Turn::default(), Envelope::default());
        let calls = json!({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f"}}, {"index": 1, "function": {"name": "g"}}]});
        turn.read(chunk(&calls, &Value::Null), &mut envelope, &mut Assembled::text()).unwrap();
        let ids: Vec<String> = turn.complete().calls.into_iter().map(|call| call.id).collect();
        assert_eq!(ids, ["a", "call_1"]);
    }
}
