//! Items of an input as they are kept: each with an id and a type, contents as lists. What no chat can
//! hold is refused here.

use serde_json::{Map, Value, json};

use super::{Result, fault, kind, text};

/// Items of one request.
const ITEMS_MAX: usize = 10_000;

/// The items of `input`. `stem` makes their ids unlike those of other requests.
pub fn read(input: Option<&Value>, stem: &str) -> Result<Vec<Value>> {
    match input {
        None => fault("input", "is needed: a string, or a list of items"),
        Some(Value::String(said)) => {
            let item = json!({"type": "message", "role": "user", "content": said});
            Ok(vec![item_of(&item, "input", &id("msg", stem, 0))?])
        }
        Some(Value::Array(items)) if items.len() > ITEMS_MAX => {
            fault("input", format!("holds at most {ITEMS_MAX} items"))
        }
        Some(Value::Array(items)) => {
            let read = items.iter().enumerate().map(|(index, item)| {
                item_of(item, &format!("input[{index}]"), &id(prefix(item), stem, index))
            });
            read.collect()
        }
        Some(_) => fault("input", "must be a string or a list of items"),
    }
}

/// Ids of what is meant without being there.
pub fn references(items: &[Value]) -> Vec<String> {
    let meant = items.iter().filter(|item| kind(item) == "item_reference");
    meant.map(|item| text(item, "id").to_owned()).collect()
}

fn id(prefix: &str, stem: &str, index: usize) -> String {
    format!("{prefix}_{stem}i{index}")
}

fn prefix(item: &Value) -> &'static str {
    match kind(item) {
        "function_call" => "fc",
        "function_call_output" => "fco",
        "custom_tool_call" => "ctc",
        "custom_tool_call_output" => "ctco",
        "reasoning" => "rs",
        "mcp_call" => "mcp",
        "mcp_list_tools" => "mcpl",
        _ => "msg",
    }
}

fn item_of(item: &Value, place: &str, id: &str) -> Result<Value> {
    let Some(fields) = item.as_object() else { return fault(place, "must be an item, which is an object") };
    let mut fields = fields.clone();
    fields.retain(|_, value| !value.is_null());
    let needs = |fields: &Map<String, Value>, names: &[&str]| match names
        .iter()
        .find(|name| !fields.get(**name).is_some_and(Value::is_string))
    {
        Some(missing) => fault(format!("{place}.{missing}"), "must be a string"),
        None => Ok(()),
    };
    match kind(item) {
        "message" | "" => message(&mut fields, place)?,
        "function_call" => needs(&fields, &["call_id", "name", "arguments"])?,
        "custom_tool_call" => needs(&fields, &["call_id", "name", "input"])?,
        "function_call_output" | "custom_tool_call_output" => {
            needs(&fields, &["call_id"])?;
            match fields.get("output") {
                Some(Value::String(_)) => {}
                Some(Value::Array(parts)) => parts.iter().try_for_each(|one| part(one, place))?,
                _ => return fault(format!("{place}.output"), "must be a string or a list of contents"),
            }
        }
        "reasoning" => drop(fields.entry("summary").or_insert_with(|| json!([]))),
        "mcp_call" => needs(&fields, &["name", "arguments"])?,
        "mcp_list_tools" => {}
        "item_reference" => {
            needs(&fields, &["id"])?;
            return Ok(Value::Object(fields));
        }
        other => {
            let words = format!("is of the type \"{other}\", which this gateway does not take");
            return fault(place, words);
        }
    }
    fields.entry("id").or_insert_with(|| id.into());
    if !matches!(kind(item), "mcp_list_tools" | "reasoning") {
        fields.entry("status").or_insert_with(|| "completed".into());
    }
    Ok(Value::Object(fields))
}

fn message(fields: &mut Map<String, Value>, place: &str) -> Result<()> {
    let role = fields.get("role").and_then(Value::as_str).unwrap_or_default().to_owned();
    if !matches!(role.as_str(), "user" | "assistant" | "system" | "developer") {
        return fault(format!("{place}.role"), "is one of user, assistant, system, developer");
    }
    let content = match fields.get("content") {
        Some(Value::String(said)) if role == "assistant" => {
            json!([{"type": "output_text", "text": said, "annotations": []}])
        }
        Some(Value::String(said)) => json!([{"type": "input_text", "text": said}]),
        Some(Value::Array(parts)) => {
            parts
                .iter()
                .enumerate()
                .try_for_each(|(at, one)| part(one, &format!("{place}.content[{at}]")))?;
            parts.iter().map(with_defaults).collect()
        }
        _ => return fault(format!("{place}.content"), "must be a string or a list of contents"),
    };
    fields.insert("type".into(), "message".into());
    fields.insert("content".into(), content);
    Ok(())
}

/// What clients may leave out and readers expect.
fn with_defaults(part: &Value) -> Value {
    let mut part = part.clone();
    let (key, value) = match kind(&part) {
        "input_image" => ("detail", json!("auto")),
        "output_text" => ("annotations", json!([])),
        _ => return part,
    };
    if let Some(fields) = part.as_object_mut() {
        fields.entry(key).or_insert(value);
    }
    part
}

fn part(part: &Value, place: &str) -> Result<()> {
    let has = |name: &str| match part.get(name) {
        Some(Value::String(_)) => Ok(()),
        _ => fault(format!("{place}.{name}"), "must be a string"),
    };
    match kind(part) {
        "input_text" | "output_text" | "text" => has("text"),
        "refusal" => has("refusal"),
        "input_image" if part.get("file_id").is_some_and(|id| !id.is_null()) => fault(
            format!("{place}.file_id"),
            "cannot be looked up: no files are kept here; send the image itself",
        ),
        "input_image" => has("image_url"),
        "input_file" => fault(place, "is a file; send its text as input_text"),
        other => fault(place, format!("is of the type \"{other}\", which this gateway does not take")),
    }
}
