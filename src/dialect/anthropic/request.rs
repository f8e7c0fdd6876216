//! A messages request as a chat completion request.

use serde_json::{Map, Value, json};

/// Bytes of a request that make a token, about.
const BYTES_PER_TOKEN: usize = 4;

/// Why a request cannot be understood; always the client's to mend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct MessagesError(String);

type Result<T> = std::result::Result<T, MessagesError>;

/// The chat that a messages request asks for. `needs_limit`: `max_tokens` has to be there.
pub fn chat(request: &Value, needs_limit: bool) -> Result<Value> {
    let Some(request) = request.as_object() else { return fault("the body must be a JSON object") };
    let mut chat = Map::new();
    chat.insert("model".into(), request.get("model").cloned().unwrap_or_default());
    let limit = request.get("max_tokens").filter(|limit| !limit.is_null());
    match limit.map(|limit| limit.as_u64().filter(|limit| *limit > 0)) {
        Some(Some(limit)) => drop(chat.insert("max_tokens".into(), limit.into())),
        None if !needs_limit => {}
        _ => return fault("max_tokens: a whole number above 0 is needed"),
    }
    let mut messages = Vec::new();
    if let Some(system) = request.get("system").filter(|system| !system.is_null()) {
        let text = texts(system, "system")?;
        if !text.is_empty() {
            messages.push(json!({"role": "system", "content": text}));
        }
    }
    let Some(asked) = request.get("messages").and_then(Value::as_array).filter(|asked| !asked.is_empty())
    else {
        return fault("messages: at least one message is needed");
    };
    for (index, message) in asked.iter().enumerate() {
        message_into(message, index, &mut messages)?;
    }
    chat.insert("messages".into(), messages.into());
    for key in ["temperature", "top_p", "top_k"] {
        if let Some(value) = request.get(key).filter(|value| !value.is_null()) {
            chat.insert(key.into(), value.clone());
        }
    }
    if let Some(stops) = request.get("stop_sequences").filter(|stops| !stops.is_null()) {
        chat.insert("stop".into(), stops.clone());
    }
    if let Some(user) =
        request.get("metadata").and_then(|metadata| metadata.get("user_id")).filter(|id| id.is_string())
    {
        chat.insert("user".into(), user.clone());
    }
    tools(request, &mut chat)?;
    thinking(request.get("thinking"), &mut chat);
    if request.get("stream") == Some(&Value::Bool(true)) {
        chat.insert("stream".into(), true.into());
        chat.insert("stream_options".into(), json!({"include_usage": true}));
    }
    Ok(Value::Object(chat))
}

/// Tokens that a chat's messages and tools make, about.
pub fn estimated_tokens(chat: &Value) -> u64 {
    let bytes = |key: &str| chat.get(key).map_or(0, |value| value.to_string().len());
    (bytes("messages") + bytes("tools")).div_ceil(BYTES_PER_TOKEN) as u64
}

fn message_into(message: &Value, index: usize, messages: &mut Vec<Value>) -> Result<()> {
    let place = format!("messages.{index}");
    let blocks: Vec<Value> = match message.get("content") {
        Some(Value::String(text)) => vec![json!({"type": "text", "text": text})],
        Some(Value::Array(blocks)) => blocks.clone(),
        _ => return fault(format!("{place}.content: a string or a list of blocks is needed")),
    };
    match message.get("role").and_then(Value::as_str) {
        Some("user") => user(&blocks, &place, messages),
        Some("assistant") => assistant(&blocks, &place, messages),
        Some("system") => {
            messages.push(json!({"role": "system", "content": texts(&Value::Array(blocks), &place)?}));
            Ok(())
        }
        _ => fault(format!("{place}.role: user or assistant is needed")),
    }
}

/// Results of tools are messages of their own, and come before what the user adds.
fn user(blocks: &[Value], place: &str, messages: &mut Vec<Value>) -> Result<()> {
    let mut parts = Vec::new();
    for (index, block) in blocks.iter().enumerate() {
        let place = format!("{place}.content.{index}");
        if kind(block) == "tool_result" {
            let Some(id) = block.get("tool_use_id").and_then(Value::as_str) else {
                return fault(format!("{place}.tool_use_id: the id of the call is needed"));
            };
            let (text, images) = result(block, &place)?;
            messages.push(json!({"role": "tool", "tool_call_id": id, "content": text}));
            parts.extend(images);
        } else {
            parts.push(part(block, &place)?);
        }
    }
    if parts.is_empty() {
        return Ok(());
    }
    let plain = parts.iter().all(|part| part["type"] == "text");
    let content = if plain {
        let texts: Vec<&str> = parts.iter().filter_map(|part| part["text"].as_str()).collect();
        Value::from(texts.join("\n\n"))
    } else {
        Value::Array(parts)
    };
    messages.push(json!({"role": "user", "content": content}));
    Ok(())
}

/// A tool's result as text, and the images in it.
fn result(block: &Value, place: &str) -> Result<(String, Vec<Value>)> {
    let content = match block.get("content") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::String(text)) => vec![json!({"type": "text", "text": text})],
        Some(Value::Array(blocks)) => blocks.clone(),
        Some(_) => return fault(format!("{place}.content: a string or a list of blocks is needed")),
    };
    let (mut texts, mut images) = (Vec::new(), Vec::new());
    for inner in &content {
        let part = part(inner, place)?;
        match part["text"].as_str() {
            Some(text) => texts.push(text.to_owned()),
            None => images.push(part),
        }
    }
    let text = texts.join("\n\n");
    let failed = block.get("is_error") == Some(&Value::Bool(true));
    Ok((if failed { format!("Error: {text}") } else { text }, images))
}

fn assistant(blocks: &[Value], place: &str, messages: &mut Vec<Value>) -> Result<()> {
    let (mut texts, mut calls) = (Vec::new(), Vec::new());
    for (index, block) in blocks.iter().enumerate() {
        match kind(block) {
            "text" => texts.push(block["text"].as_str().unwrap_or_default()),
            "tool_use" => calls.push(json!({
                "id": block["id"],
                "type": "function",
                "function": {"name": block["name"], "arguments": block["input"].to_string()},
            })),
            // Templates leave earlier thinking out; what is encrypted nobody here can read.
            "thinking" | "redacted_thinking" => {}
            other => {
                return fault(format!("{place}.content.{index}: an assistant's block is no \"{other}\""));
            }
        }
    }
    let mut message = Map::new();
    message.insert("role".into(), "assistant".into());
    message.insert("content".into(), texts.join("").into());
    if !calls.is_empty() {
        message.insert("tool_calls".into(), calls.into());
    }
    messages.push(Value::Object(message));
    Ok(())
}

/// A block of a user's as a part of a chat message.
fn part(block: &Value, place: &str) -> Result<Value> {
    let source = &block["source"];
    match kind(block) {
        "text" => match block["text"].as_str() {
            Some(text) => Ok(json!({"type": "text", "text": text})),
            None => fault(format!("{place}.text: a string is needed")),
        },
        "image" => match (kind(source), source["media_type"].as_str(), source["data"].as_str()) {
            ("base64", Some(media_type), Some(data)) => {
                let url = format!("data:{media_type};base64,{data}");
                Ok(json!({"type": "image_url", "image_url": {"url": url}}))
            }
            ("url", ..) => Ok(json!({"type": "image_url", "image_url": {"url": source["url"]}})),
            _ => fault(format!("{place}.source: an image is base64 with its media_type, or a url")),
        },
        "document" if kind(source) == "text" => Ok(json!({"type": "text", "text": source["data"]})),
        "document" => fault(format!("{place}: documents are taken as text only; send their text")),
        other => fault(format!("{place}.type: \"{other}\" is not a block that this gateway knows")),
    }
}

fn tools(request: &Map<String, Value>, chat: &mut Map<String, Value>) -> Result<()> {
    let tools = request.get("tools").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut functions = Vec::new();
    for (index, tool) in tools.iter().enumerate() {
        if !matches!(kind(tool), "" | "custom") {
            return fault(format!(
                "tools.{index}: \"{}\" runs at Anthropic; declare a tool with a name and an input_schema",
                kind(tool)
            ));
        }
        if !tool["name"].is_string() {
            return fault(format!("tools.{index}.name: a string is needed"));
        }
        let mut function = json!({"name": tool["name"], "parameters": tool["input_schema"]});
        if tool["description"].is_string() {
            function["description"] = tool["description"].clone();
        }
        functions.push(json!({"type": "function", "function": function}));
    }
    if functions.is_empty() {
        return Ok(());
    }
    chat.insert("tools".into(), functions.into());
    let Some(choice) = request.get("tool_choice").filter(|choice| !choice.is_null()) else { return Ok(()) };
    let chosen = match kind(choice) {
        "auto" => json!("auto"),
        "any" => json!("required"),
        "none" => json!("none"),
        "tool" => json!({"type": "function", "function": {"name": choice["name"]}}),
        other => return fault(format!("tool_choice.type: auto, any, tool or none, not \"{other}\"")),
    };
    chat.insert("tool_choice".into(), chosen);
    if choice["disable_parallel_tool_use"] == true {
        chat.insert("parallel_tool_calls".into(), false.into());
    }
    Ok(())
}

fn thinking(wish: Option<&Value>, chat: &mut Map<String, Value>) {
    let enabled = match wish.map(kind) {
        Some("enabled") => true,
        Some("disabled") => false,
        // The model's own habit.
        _ => return,
    };
    chat.insert("chat_template_kwargs".into(), json!({"enable_thinking": enabled}));
}

/// The text of a string, or of a list of text blocks.
fn texts(value: &Value, place: &str) -> Result<String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Array(blocks) => {
            let text = |block: &Value| match block["text"].as_str() {
                Some(text) if kind(block) == "text" => Ok(text.to_owned()),
                _ => fault(format!("{place}: text blocks only")),
            };
            Ok(blocks.iter().map(text).collect::<Result<Vec<_>>>()?.join("\n\n"))
        }
        _ => fault(format!("{place}: a string or a list of text blocks is needed")),
    }
}

fn kind(value: &Value) -> &str {
    value.get("type").and_then(Value::as_str).unwrap_or_default()
}

fn fault<T>(words: impl Into<String>) -> Result<T> {
    Err(MessagesError(words.into()))
}
