//! Which fields a request may have: those that are read, those that change nothing here, and those that
//! would change the answer, were they ignored.

use serde_json::{Map, Value, json};

use super::{Result, fault, fault_of};

const READ: [&str; 20] = [
    "background",
    "include",
    "input",
    "instructions",
    "max_output_tokens",
    "metadata",
    "model",
    "parallel_tool_calls",
    "previous_response_id",
    "reasoning",
    "store",
    "stream",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "truncation",
    "user",
];
/// What they are about, nobody here does: caches are the engine's, abuse is nobody's to report.
const IDLE: [&str; 7] = [
    "client_metadata",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "stream_options",
];
/// Beyond OpenAI's: what the engines' chats know.
pub const PASSED: [&str; 8] = [
    "chat_template_kwargs",
    "frequency_penalty",
    "min_p",
    "presence_penalty",
    "repetition_penalty",
    "seed",
    "stop",
    "top_k",
];
/// OpenAI's that are not served.
const UNSERVED: [&str; 8] = [
    "access_programs",
    "background_options",
    "context_management",
    "conversation",
    "image",
    "max_tool_calls",
    "moderation",
    "prompt",
];
const INCLUDES: [&str; 8] = [
    "code_interpreter_call.outputs",
    "computer_call_output.output.image_url",
    "file_search_call.results",
    "message.input_image.image_url",
    "message.output_text.logprobs",
    "reasoning.encrypted_content",
    "web_search_call.action.sources",
    "web_search_call.results",
];
const METADATA_MAX: usize = 16;
const METADATA_KEY_MAX: usize = 64;
const METADATA_VALUE_MAX: usize = 512;

/// The fields that are there, checked by name; what is null is not there.
pub fn present(request: &Value) -> Result<Map<String, Value>> {
    let Some(request) = request.as_object() else { return fault("body", "must be a JSON object") };
    let mut present = Map::new();
    for (name, value) in request.iter().filter(|(_, value)| !value.is_null()) {
        let name = name.as_str();
        if UNSERVED.contains(&name) {
            return fault_of("unsupported_parameter", name, "is not supported by this gateway; leave it out");
        }
        if !READ.contains(&name) && !IDLE.contains(&name) && !PASSED.contains(&name) {
            return fault_of("unknown_parameter", name, "is not a parameter of responses");
        }
        present.insert(name.to_owned(), value.clone());
    }
    refuse_unserved_values(&present)?;
    Ok(present)
}

/// Values of known fields that cannot be had.
fn refuse_unserved_values(fields: &Map<String, Value>) -> Result<()> {
    let refuse = |name: &str, words: &str| fault_of("unsupported_parameter", name, words);
    if flag(fields, "background")? == Some(true) && flag(fields, "store")? == Some(false) {
        return fault("background", "needs \"store\": what is made in the background is fetched later");
    }
    match fields.get("truncation") {
        None => {}
        Some(value) if value == "disabled" => {}
        Some(value) if value == "auto" => {
            return refuse("truncation", "cannot be auto: nothing of a conversation is left out here");
        }
        Some(_) => return fault("truncation", "must be disabled"),
    }
    if fields.get("top_logprobs").is_some_and(|count| *count != 0) {
        return refuse("top_logprobs", "cannot be had: the engines give no logprobs");
    }
    for include in list(fields, "include")? {
        let Some(include) = include.as_str().filter(|include| INCLUDES.contains(include)) else {
            return fault("include", format!("does not know {include}"));
        };
        if include == "message.output_text.logprobs" {
            return refuse("include", "cannot give logprobs: the engines have none");
        }
    }
    Ok(())
}

pub fn includes(fields: &Map<String, Value>, wanted: &str) -> bool {
    let included = fields.get("include").and_then(Value::as_array);
    included.is_some_and(|included| included.iter().any(|one| one == wanted))
}

pub fn flag(fields: &Map<String, Value>, name: &str) -> Result<Option<bool>> {
    match fields.get(name) {
        None => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(*flag)),
        Some(_) => fault(name, "must be true or false"),
    }
}

pub fn string<'a>(fields: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>> {
    match fields.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => fault(name, "must be a string"),
    }
}

pub fn list<'a>(fields: &'a Map<String, Value>, name: &str) -> Result<&'a [Value]> {
    match fields.get(name) {
        None => Ok(&[]),
        Some(Value::Array(list)) => Ok(list),
        Some(_) => fault(name, "must be a list"),
    }
}

pub fn object<'a>(fields: &'a Map<String, Value>, name: &str) -> Result<Option<&'a Map<String, Value>>> {
    match fields.get(name) {
        None => Ok(None),
        Some(Value::Object(object)) => Ok(Some(object)),
        Some(_) => fault(name, "must be an object"),
    }
}

pub fn number(fields: &Map<String, Value>, name: &str) -> Result<Option<Value>> {
    match fields.get(name) {
        None => Ok(None),
        Some(number @ Value::Number(_)) => Ok(Some(number.clone())),
        Some(_) => fault(name, "must be a number"),
    }
}

/// The limit of an answer.
pub fn limit(fields: &Map<String, Value>) -> Result<Option<u64>> {
    let name = "max_output_tokens";
    let Some(value) = fields.get(name) else { return Ok(None) };
    match value.as_u64() {
        Some(limit) if limit > 0 => Ok(Some(limit)),
        _ => fault(name, "must be a whole number above 0"),
    }
}

pub fn metadata(fields: &Map<String, Value>) -> Result<Value> {
    let Some(pairs) = object(fields, "metadata")? else { return Ok(json!({})) };
    if pairs.len() > METADATA_MAX {
        return fault("metadata", format!("holds at most {METADATA_MAX} pairs"));
    }
    for (key, value) in pairs {
        let length = |text: &str| text.chars().count();
        let fits = value.as_str().is_some_and(|value| length(value) <= METADATA_VALUE_MAX);
        if !fits || length(key) > METADATA_KEY_MAX {
            let words = format!(
                "holds strings: keys of at most {METADATA_KEY_MAX} and values of at most {METADATA_VALUE_MAX} characters"
            );
            return fault(format!("metadata.{key}"), words);
        }
    }
    Ok(Value::Object(pairs.clone()))
}
