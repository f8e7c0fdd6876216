//! What the gateway adds to a request: the profile's prompt, defaults and limits, and the spellings
//! its engine understands. The same request always gets the same bytes, so that prompt caches hit.

use serde_json::{Map, Value, json};

use super::{BadRequest, DEFAULT_MAX_TOKENS, Scanned, Target, checks};
use crate::dialect::edit::Edits;
use crate::dialect::quirks::Quirks;
use crate::dialect::scan::{Kind, Member};

/// Stop strings of one request.
const STOPS_MAX: usize = 16;

/// The profile's prompt, unless the client brings its own.
pub fn system_prompt(request: &Scanned, prompt: Option<&str>, edits: &mut Edits) {
    let Some(prompt) = prompt.filter(|_| !request.scan.has_system) else { return };
    let Some(messages) = request.scan.get("messages").filter(|member| member.kind == Kind::Array) else {
        return;
    };
    let at = messages.value.start + 1;
    let empty = checks::is_empty_list(request, messages);
    let message = json!({"role": "system", "content": prompt}).to_string();
    edits.replace(at..at, if empty { message } else { message + "," });
}

/// Stop strings, the profile's where the client names none. A lone one goes on as a list.
pub fn stop(request: &Scanned, target: Target<'_>, edits: &mut Edits) -> Result<Vec<String>, BadRequest> {
    if !target.quirks.stop_as_list {
        return Ok(Vec::new());
    }
    if let Some(stop) = present(request, "stop").filter(|stop| stop.kind == Kind::String) {
        edits.replace(stop.value.start..stop.value.start, &b"["[..]);
        edits.replace(stop.value.end..stop.value.end, &b"]"[..]);
    }
    let asked = match request.json("stop")? {
        Some(asked) => asked,
        None => target.defaults.get("stop").cloned().unwrap_or_default(),
    };
    let wrong = || BadRequest::new("stop", format!("\"stop\" is a string, or a list of at most {STOPS_MAX}"));
    let list = match asked {
        Value::Null => Vec::new(),
        Value::String(stop) => vec![stop],
        Value::Array(list) if list.len() <= STOPS_MAX => {
            let text = |value| if let Value::String(text) = value { Ok(text) } else { Err(wrong()) };
            list.into_iter().map(text).collect::<Result<_, _>>()?
        }
        _ => return Err(wrong()),
    };
    Ok(list.into_iter().filter(|stop| !stop.is_empty()).collect())
}

/// `reasoning_effort` as an argument of the chat template.
pub fn template_arguments(
    request: &Scanned,
    target: Target<'_>,
    edits: &mut Edits,
) -> Result<(), BadRequest> {
    if !target.quirks.effort_in_template {
        return Ok(());
    }
    let effort = match present(request, "reasoning_effort") {
        Some(member) => Some(request.value::<String>(member)?),
        None => target.defaults.get("reasoning_effort").and_then(Value::as_str).map(str::to_owned),
    };
    leave_out(request, "reasoning_effort", edits);
    let Some(effort) = effort else { return Ok(()) };
    let mut arguments: Map<String, Value> = match present(request, "chat_template_kwargs") {
        Some(member) => request.value(member)?,
        None => object(target.defaults.get("chat_template_kwargs")),
    };
    let level = match effort.as_str() {
        "none" => {
            arguments.entry("enable_thinking").or_insert(Value::Bool(false));
            None
        }
        "minimal" | "low" => Some("low"),
        "medium" => Some("medium"),
        "high" | "xhigh" | "max" => Some("high"),
        other => {
            let message =
                format!("\"reasoning_effort\" is none, minimal, low, medium, high or xhigh, not \"{other}\"");
            return Err(BadRequest::new("reasoning_effort", message));
        }
    };
    if let Some(level) = level {
        arguments.entry("reasoning_effort").or_insert(Value::from(level));
    }
    let text = Value::Object(arguments).to_string();
    match present(request, "chat_template_kwargs") {
        Some(member) => edits.replace(member.value.clone(), text),
        None => edits.add("chat_template_kwargs", &text),
    }
    Ok(())
}

/// A model that is to call nothing is offered nothing, for these engines only hint at the choice.
pub fn tool_choice(request: &Scanned, quirks: &Quirks, edits: &mut Edits) {
    if quirks.repair && request.text("tool_choice").is_ok_and(|choice| choice.as_deref() == Some("none")) {
        leave_out(request, "tools", edits);
        leave_out(request, "tool_choice", edits);
    }
}

/// Engines that go on generating for a client that left are asked for a stream.
pub fn stream(request: &Scanned, quirks: &Quirks, edits: &mut Edits) {
    if !quirks.always_stream {
        return;
    }
    match present(request, "stream") {
        Some(member) => edits.replace(member.value.clone(), &b"true"[..]),
        None => edits.add("stream", "true"),
    }
    leave_out(request, "stream_options", edits);
    if quirks.asks_for_usage {
        edits.add("stream_options", r#"{"include_usage":true}"#);
    }
}

/// The limit of an answer: the client's, the profile's or ours, never none for an engine of ours.
pub fn max_tokens(
    request: &Scanned,
    target: Target<'_>,
    edits: &mut Edits,
) -> Result<Option<u64>, BadRequest> {
    let newer = limit(request, "max_completion_tokens")?;
    let older = limit(request, "max_tokens")?;
    let asked = newer.or(older);
    let default = target.defaults.get("max_tokens").or_else(|| target.defaults.get("max_completion_tokens"));
    let default = default.and_then(Value::as_u64);
    // What the client did not ask for may be cut to what it has left.
    let at_most = |limit: u64| target.answer_max.map_or(limit, |most| most.min(limit));
    let default = default.map(at_most);
    if target.quirks.fields.is_none() {
        let ours = default.or(target.answer_max);
        if let (None, Some(limit)) = (asked, ours) {
            edits.add("max_tokens", &limit.to_string());
        }
        return Ok(asked.or(ours));
    }
    let context = target.context_length.map_or(DEFAULT_MAX_TOKENS, u64::from);
    let limit = asked.or(default).unwrap_or_else(|| at_most(context));
    leave_out(request, "max_completion_tokens", edits);
    match present(request, "max_tokens") {
        Some(_) if older == Some(limit) => {}
        Some(member) => edits.replace(member.value.clone(), limit.to_string()),
        None => edits.add("max_tokens", &limit.to_string()),
    }
    Ok(Some(limit))
}

/// The profile's defaults for what the client left out.
pub fn defaults(request: &Scanned, target: Target<'_>, edits: &mut Edits) {
    for (key, value) in target.defaults {
        let done_elsewhere = matches!(key.as_str(), "max_tokens" | "max_completion_tokens")
            || (target.quirks.effort_in_template && key == "reasoning_effort")
            || (target.quirks.effort_in_template
                && key == "chat_template_kwargs"
                && asks_effort(request, target));
        let known = target.quirks.fields.is_none_or(|fields| fields.iter().any(|(name, _)| name == key));
        if done_elsewhere || !known || present(request, key).is_some() {
            continue;
        }
        match value {
            Value::String(stop) if key == "stop" && target.quirks.stop_as_list => {
                edits.add(key, &json!([stop]).to_string());
            }
            _ => edits.add(key, &value.to_string()),
        }
    }
}

fn asks_effort(request: &Scanned, target: Target<'_>) -> bool {
    present(request, "reasoning_effort").is_some() || target.defaults.contains_key("reasoning_effort")
}

fn limit(request: &Scanned, key: &str) -> Result<Option<u64>, BadRequest> {
    let Some(member) = present(request, key) else { return Ok(None) };
    match request.value::<Value>(member)?.as_u64() {
        Some(limit) if limit > 0 => Ok(Some(limit)),
        _ => Err(BadRequest::new(key, format!("\"{key}\" must be a whole number above 0"))),
    }
}

/// A member that is there and not null.
fn present<'a>(request: &'a Scanned, key: &str) -> Option<&'a Member> {
    request.scan.get(key).filter(|member| member.kind != Kind::Null)
}

fn leave_out(request: &Scanned, key: &str, edits: &mut Edits) {
    if let Some(index) = request.scan.members.iter().position(|member| member.key == key) {
        edits.drop_member(index);
    }
}

fn object(value: Option<&Value>) -> Map<String, Value> {
    value.and_then(Value::as_object).cloned().unwrap_or_default()
}
