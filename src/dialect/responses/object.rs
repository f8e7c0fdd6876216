//! The response itself: what it repeats of its request, and how it ends.

use serde_json::{Map, Value, json};

use crate::dialect::facts::Usage;

/// A response that has begun.
pub fn begun(fields: &Map<String, Value>, id: &str, model: &str, created_at: i64, store: bool) -> Value {
    let given = |name: &str| fields.get(name).cloned().unwrap_or(Value::Null);
    let or = |name: &str, usual: Value| fields.get(name).cloned().unwrap_or(usual);
    let mut text = or("text", json!({}));
    if let Some(text) = text.as_object_mut().filter(|text| text.get("format").is_none_or(Value::is_null)) {
        text.insert("format".into(), json!({"type": "text"}));
    }
    let mut reasoning = json!({"effort": null, "summary": null});
    if let (Some(told), Some(Value::Object(asked))) = (reasoning.as_object_mut(), fields.get("reasoning")) {
        told.extend(asked.clone());
    }
    json!({
        "id": id,
        "object": "response",
        "created_at": created_at,
        "status": "in_progress",
        "background": or("background", false.into()),
        "completed_at": null,
        "error": null,
        "incomplete_details": null,
        "instructions": given("instructions"),
        "max_output_tokens": given("max_output_tokens"),
        "max_tool_calls": null,
        "model": model,
        "output": [],
        "parallel_tool_calls": or("parallel_tool_calls", true.into()),
        "previous_response_id": given("previous_response_id"),
        "prompt_cache_key": given("prompt_cache_key"),
        "reasoning": reasoning,
        "safety_identifier": given("safety_identifier"),
        "service_tier": "default",
        "store": store,
        "temperature": given("temperature"),
        "text": text,
        "tool_choice": or("tool_choice", "auto".into()),
        "tools": or("tools", json!([])),
        "top_logprobs": 0,
        "top_p": given("top_p"),
        "truncation": "disabled",
        "usage": null,
        "user": given("user"),
        "metadata": or("metadata", json!({})),
    })
}

/// A chat's usage in a response's words.
pub fn usage(chat: &Value) -> Value {
    let usage = Usage::of(chat).unwrap_or_default();
    json!({
        "input_tokens": usage.prompt.unwrap_or(0),
        "input_tokens_details": {
            "cached_tokens": usage.cached.unwrap_or(0),
            "cache_write_tokens": 0,
        },
        "output_tokens": usage.completion.unwrap_or(0),
        "output_tokens_details": {
            "reasoning_tokens": usage.reasoning.unwrap_or(0),
        },
        "total_tokens": usage.total(),
    })
}

/// A chat's error in a response's words: it has few codes of its own.
pub fn error(chat: &Value) -> Value {
    let told = |key: &str| chat.get(key).and_then(Value::as_str).unwrap_or_default();
    let code = match (told("type"), told("code")) {
        ("rate_limit_error", _) => "rate_limit_exceeded",
        ("invalid_request_error", _) => "invalid_prompt",
        _ => "server_error",
    };
    let message = chat.get("message").and_then(Value::as_str).unwrap_or("something went wrong");
    json!({"code": code, "message": message})
}
