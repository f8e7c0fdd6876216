//! A request for a response: what is asked of a chat, what the response repeats, and how it is told.

use serde_json::{Map, Value, json};

use super::fields::{self, PASSED, flag, includes, limit, number, object, string};
use super::output::Manner;
use super::tools::{self, Tools};
use super::{Result, fault, items, kind, messages, object as response, text};

/// A request that was understood.
#[derive(Debug)]
pub struct Asked {
    /// What was sent, each item with an id.
    pub input: Vec<Value>,
    /// The response that this one goes on from.
    pub previous: Option<String>,
    pub store: bool,
    pub stream: bool,
    /// Made while its client may be away.
    pub background: bool,
    instructions: Option<String>,
    /// The chat without its messages.
    chat: Map<String, Value>,
    tools: Tools,
    summary: bool,
    wrapped: bool,
    fields: Map<String, Value>,
}

impl Asked {
    /// `stem`: what ids are made of, unlike any other request's.
    pub fn read(request: &Value, stem: &str) -> Result<Asked> {
        let fields = fields::present(request)?;
        let mut chat = Map::new();
        let Some(model) = string(&fields, "model")? else { return fault("model", "is needed") };
        chat.insert("model".into(), model.into());
        for name in ["temperature", "top_p"] {
            if let Some(value) = number(&fields, name)? {
                chat.insert(name.into(), value);
            }
        }
        if let Some(limit) = limit(&fields)? {
            chat.insert("max_tokens".into(), limit.into());
        }
        if let Some(parallel) = flag(&fields, "parallel_tool_calls")? {
            chat.insert("parallel_tool_calls".into(), parallel.into());
        }
        if let Some(user) = string(&fields, "user")? {
            chat.insert("user".into(), user.into());
        }
        for name in PASSED {
            if let Some(value) = fields.get(name) {
                chat.insert(name.into(), value.clone());
            }
        }
        if let Some(format) = format(&fields)? {
            chat.insert("response_format".into(), format);
        }
        let reasoning = object(&fields, "reasoning")?;
        if let Some(effort) = reasoning.and_then(|reasoning| reasoning.get("effort")).and_then(Value::as_str)
        {
            chat.insert("reasoning_effort".into(), effort.into());
        }
        let asks_summary = |key: &str| {
            reasoning.and_then(|reasoning| reasoning.get(key)).is_some_and(|summary| !summary.is_null())
        };
        fields::metadata(&fields)?;
        let tools = tools::read(&fields, &mut chat)?;
        let stream = flag(&fields, "stream")?.unwrap_or(false);
        let background = flag(&fields, "background")?.unwrap_or(false);
        if stream || background {
            chat.insert("stream".into(), true.into());
            chat.insert("stream_options".into(), json!({"include_usage": true}));
        }
        Ok(Asked {
            input: items::read(fields.get("input"), stem)?,
            previous: string(&fields, "previous_response_id")?.map(str::to_owned),
            store: flag(&fields, "store")?.unwrap_or(true),
            stream,
            background,
            instructions: string(&fields, "instructions")?.map(str::to_owned),
            chat,
            tools,
            summary: asks_summary("summary") || asks_summary("generate_summary"),
            wrapped: includes(&fields, "reasoning.encrypted_content"),
            fields,
        })
    }

    /// Ids of items that are meant without being there.
    pub fn references(&self) -> Vec<String> {
        items::references(&self.input)
    }

    /// Puts items in the place of references to them.
    pub fn resolve(&mut self, found: &[Value]) -> Result<()> {
        for (index, item) in self.input.iter_mut().enumerate() {
            if kind(item) != "item_reference" {
                continue;
            }
            let id = text(item, "id");
            match found.iter().find(|found| text(found, "id") == id) {
                Some(found) => *item = found.clone(),
                None => {
                    return fault(
                        format!("input[{index}]"),
                        format!("is an item \"{id}\" that is not kept here"),
                    );
                }
            }
        }
        Ok(())
    }

    /// The chat that is asked; `earlier`: the items of the conversation so far.
    pub fn chat(&self, earlier: &[Value]) -> Result<Value> {
        let mut chat = self.chat.clone();
        let whole: Vec<Value> = earlier.iter().chain(&self.input).cloned().collect();
        let messages = messages::messages(self.instructions.as_deref(), &whole)?;
        if messages.is_empty() {
            return fault("input", "must hold something to answer");
        }
        chat.insert("messages".into(), messages.into());
        Ok(Value::Object(chat))
    }

    /// The response before anything of it is there. `model`: the name that it is told by.
    pub fn response(&self, id: &str, model: &str, created_at: i64) -> Value {
        response::begun(&self.fields, id, model, created_at, self.store)
    }

    /// How its output is told.
    pub fn manner(&self, earlier: &[Value]) -> Manner {
        let known = |item: &&Value| kind(item) == "mcp_list_tools";
        Manner {
            custom: self.tools.custom.clone(),
            spaced: self.tools.spaced.clone(),
            lists_tools: self.tools.ours && !earlier.iter().chain(&self.input).any(|item| known(&item)),
            summary: self.summary,
            wrapped: self.wrapped,
        }
    }
}

/// `text.format` as a chat's `response_format`.
fn format(fields: &Map<String, Value>) -> Result<Option<Value>> {
    let Some(format) = object(fields, "text")?.and_then(|text| text.get("format")) else { return Ok(None) };
    match kind(format) {
        "text" => Ok(None),
        "json_object" => Ok(Some(json!({"type": "json_object"}))),
        "json_schema" => {
            let mut schema = Map::new();
            for key in ["name", "description", "schema", "strict"] {
                if let Some(value) = format.get(key).filter(|value| !value.is_null()) {
                    schema.insert(key.into(), value.clone());
                }
            }
            if !schema.contains_key("schema") {
                return fault("text.format.schema", "is needed");
            }
            Ok(Some(json!({"type": "json_schema", "json_schema": schema})))
        }
        _ if format.is_null() => Ok(None),
        other => {
            fault("text.format", format!("has the type text, json_object or json_schema, not \"{other}\""))
        }
    }
}
