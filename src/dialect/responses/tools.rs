//! Tools and the choice among them: a client's own as functions of a chat, the gateway's by their label.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::fields::list;
use super::{Result, fault, fault_of, kind, text};
use crate::dialect::notes::LABEL;

/// What the chat is told, and what of it the answer has to be told by.
#[derive(Debug, Default)]
pub struct Tools {
    /// Names whose calls are told as calls of custom tools: their input is text.
    pub custom: BTreeSet<String>,
    /// Functions that stand in a namespace, by the names that the model knows them by: namespace and name.
    pub spaced: BTreeMap<String, (String, String)>,
    /// The gateway's tools were asked for.
    pub ours: bool,
}

/// Reads both into `chat`.
pub fn read(fields: &Map<String, Value>, chat: &mut Map<String, Value>) -> Result<Tools> {
    let mut read = Tools::default();
    let mut tools = Vec::new();
    for (index, tool) in list(fields, "tools")?.iter().enumerate() {
        let place = format!("tools[{index}]");
        tools.push(match kind(tool) {
            "function" => function(tool, &place)?,
            "custom" => {
                read.custom.insert(text(tool, "name").to_owned());
                custom(tool, &place)?
            }
            "mcp" => {
                read.ours = true;
                ours(tool, &place)?
            }
            "namespace" => {
                tools.extend(namespace(tool, &place, &mut read.spaced)?);
                continue;
            }
            // Some clients send it unasked: it is not offered, and the model does without.
            "web_search" | "web_search_preview" => continue,
            "" => return fault(format!("{place}.type"), "is needed: function, custom or mcp"),
            other => {
                let words = format!(
                    "is of the type \"{other}\", which runs at OpenAI; use function, custom, or mcp with the server_label {LABEL}"
                );
                return fault_of("unsupported_parameter", place, words);
            }
        });
    }
    if let Some(choice) = fields.get("tool_choice") {
        let choice = chosen(choice, &mut tools)?;
        if !tools.is_empty() {
            chat.insert("tool_choice".into(), choice);
        }
    }
    if !tools.is_empty() {
        chat.insert("tools".into(), tools.into());
    }
    Ok(read)
}

/// The functions of a namespace, each under the name that the model knows it by.
fn namespace(
    tool: &Value,
    place: &str,
    spaced: &mut BTreeMap<String, (String, String)>,
) -> Result<Vec<Value>> {
    let space = name(tool, place)?;
    let inner = tool.get("tools").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut functions = Vec::new();
    for (index, tool) in inner.iter().enumerate() {
        let place = format!("{place}.tools[{index}]");
        if kind(tool) != "function" {
            return fault(place, "is no function; a namespace holds functions here");
        }
        let mut function = function(tool, &place)?;
        let own = name(tool, &place)?;
        let known = spaced_name(space, own);
        function["function"]["name"] = known.as_str().into();
        spaced.insert(known, (space.to_owned(), own.to_owned()));
        functions.push(function);
    }
    Ok(functions)
}

/// The name by which a model knows a function of a namespace.
pub fn spaced_name(space: &str, name: &str) -> String {
    if space.is_empty() { name.to_owned() } else { format!("{space}__{name}") }
}

fn function(tool: &Value, place: &str) -> Result<Value> {
    let mut function = json!({"name": name(tool, place)?});
    for key in ["description", "parameters"] {
        if let Some(value) = tool.get(key).filter(|value| !value.is_null()) {
            function[key] = value.clone();
        }
    }
    Ok(json!({"type": "function", "function": function}))
}

/// A tool that takes text, as a function with one argument.
fn custom(tool: &Value, place: &str) -> Result<Value> {
    let mut description = text(tool, "description").to_owned();
    if let Some(grammar) = tool.pointer("/format/definition").and_then(Value::as_str) {
        description.push_str("\n\nThe input has to fit this grammar:\n");
        description.push_str(grammar);
    }
    let parameters = json!({
        "type": "object",
        "properties": {"input": {"type": "string", "description": "The whole input, as text"}},
        "required": ["input"],
    });
    let function = json!({"name": name(tool, place)?, "description": description, "parameters": parameters});
    Ok(json!({"type": "function", "function": function}))
}

fn ours(tool: &Value, place: &str) -> Result<Value> {
    if text(tool, "server_label") != LABEL {
        let words =
            format!("must be \"{LABEL}\": this gateway calls its own tools, and no servers elsewhere");
        return fault(format!("{place}.server_label"), words);
    }
    for approval in ["server_url", "connector_id"] {
        if tool.get(approval).is_some_and(|value| !value.is_null()) {
            return fault(
                format!("{place}.{approval}"),
                "has no meaning for the gateway's own tools; leave it out",
            );
        }
    }
    match tool.get("require_approval") {
        None | Some(Value::Null) => {}
        Some(wish) if wish == "never" => {}
        Some(_) => {
            let words = "must be \"never\": what a tool may do is granted in the gateway, not asked per call";
            return fault_of("unsupported_parameter", format!("{place}.require_approval"), words);
        }
    }
    let mut entry = json!({"type": "mcp", "server_label": LABEL});
    let allowed = tool.get("allowed_tools").filter(|allowed| !allowed.is_null());
    match allowed.map(|allowed| allowed.get("tool_names").unwrap_or(allowed)) {
        None => {}
        Some(Value::Array(names)) if names.iter().all(Value::is_string) => {
            entry["allowed_tools"] = names.clone().into();
        }
        Some(_) => return fault(format!("{place}.allowed_tools"), "must be a list of names"),
    }
    Ok(entry)
}

fn name<'a>(tool: &'a Value, place: &str) -> Result<&'a str> {
    match tool.get("name").and_then(Value::as_str).filter(|name| !name.is_empty()) {
        Some(name) => Ok(name),
        None => fault(format!("{place}.name"), "must be a string"),
    }
}

/// The choice in a chat's words; a list of allowed tools leaves only those.
fn chosen(choice: &Value, tools: &mut Vec<Value>) -> Result<Value> {
    if let Some(word) = choice.as_str() {
        return match word {
            "auto" | "none" | "required" => Ok(word.into()),
            _ => fault("tool_choice", "is auto, none, required or a tool"),
        };
    }
    let named = |name: &str| json!({"type": "function", "function": {"name": name}});
    match kind(choice) {
        "function" | "custom" => {
            Ok(named(&spaced_name(text(choice, "namespace"), name(choice, "tool_choice")?)))
        }
        "mcp" => Ok(match choice.get("name").and_then(Value::as_str) {
            Some(name) => named(name),
            None => "required".into(),
        }),
        "allowed_tools" => {
            let allowed = choice.get("tools").and_then(Value::as_array).cloned().unwrap_or_default();
            let is_allowed = |tool: &Value| {
                allowed.iter().any(|one| match kind(one) {
                    "mcp" => kind(tool) == "mcp",
                    _ => tool.pointer("/function/name") == one.get("name"),
                })
            };
            tools.retain(|tool| is_allowed(tool));
            match text(choice, "mode") {
                mode @ ("auto" | "required") => Ok(mode.into()),
                _ => fault("tool_choice.mode", "is auto or required"),
            }
        }
        other => fault_of(
            "unsupported_parameter",
            "tool_choice",
            format!("is of the type \"{other}\", which this gateway does not know"),
        ),
    }
}
