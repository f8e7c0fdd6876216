//! A whole chat completion as a message.

use serde_json::{Value, json};

use super::{message_id, stop, usage};

/// OpenAI's `chat.completion` as Anthropic's `message`.
pub fn answer(openai: &Value) -> Value {
    let choice = &openai["choices"][0];
    let message = &choice["message"];
    let text = |key: &str| message.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let mut content = Vec::new();
    if let Some(thinking) = text("reasoning_content") {
        content.push(json!({"type": "thinking", "thinking": thinking, "signature": ""}));
    }
    if let Some(text) = text("content") {
        content.push(json!({"type": "text", "text": text}));
    }
    for call in message["tool_calls"].as_array().into_iter().flatten() {
        let arguments = call.pointer("/function/arguments").and_then(Value::as_str).unwrap_or("{}");
        // What is no JSON is handed on as it is, rather than lost.
        let input: Value =
            serde_json::from_str(arguments).unwrap_or_else(|_| json!({"arguments": arguments}));
        content.push(json!({
            "type": "tool_use",
            "id": call["id"],
            "name": call["function"]["name"],
            "input": if input.is_object() { input } else { json!({}) },
        }));
    }
    let reason = choice["finish_reason"].as_str().unwrap_or("stop");
    let (stop_reason, stop_sequence) = stop(reason, choice["stop_reason"].as_str());
    json!({
        "id": message_id(openai["id"].as_str()),
        "type": "message",
        "role": "assistant",
        "model": openai["model"],
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": stop_sequence,
        "usage": usage(&openai["usage"]),
    })
}
