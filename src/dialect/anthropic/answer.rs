//! A whole chat completion as a message.

use serde_json::{Value, json};

use super::{message_id, stop, usage};
use crate::dialect::assembled::Assembled;
use crate::dialect::failure::UpstreamFailure;
use crate::dialect::tool_calls::ToolCalls;

/// Translates OpenAI's `chat.completion` to Anthropic's `message`.
///
/// # Errors
/// If tool calls of the completion cannot be read.
pub fn answer(openai: &Value) -> Result<Value, UpstreamFailure> {
    let choice = &openai["choices"][0];
    let message = &choice["message"];
    let text = |key: &str| message.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let mut content = Vec::new();
    if let Some(thinking) = text("reasoning_content").or_else(|| text("reasoning")) {
        content.push(json!({"type": "thinking", "thinking": thinking, "signature": ""}));
    }
    if let Some(text) = text("content") {
        content.push(json!({"type": "text", "text": text}));
    }
    let mut calls = ToolCalls::default();
    calls.feed_value(&message["tool_calls"], &mut Assembled::body())?;
    for call in calls.into_calls() {
        let id = if call.id.is_empty() { format!("toolu_{}", content.len()) } else { call.id };
        let input = input(&call.arguments);
        content.push(json!({"type": "tool_use", "id": id, "name": call.name, "input": input}));
    }
    let reason = choice["finish_reason"].as_str().unwrap_or("stop");
    let (stop_reason, stop_sequence) = stop(reason, choice["stop_reason"].as_str());
    Ok(json!({
        "id": message_id(openai["id"].as_str()),
        "type": "message",
        "role": "assistant",
        "model": openai["model"],
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": stop_sequence,
        "usage": usage(&openai["usage"]),
    }))
}

/// Returns arguments as an object; a call without any has none, and text that is no object is kept, rather than lost.
fn input(arguments: &str) -> Value {
    match serde_json::from_str::<Value>(arguments) {
        Ok(input) if input.is_object() => input,
        Ok(Value::Null) => json!({}),
        Err(_) if arguments.trim().is_empty() => json!({}),
        _ => json!({"arguments": arguments}),
    }
}
