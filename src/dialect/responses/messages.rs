//! A conversation of items as the messages of a chat. Calls that stand together are one message of the
//! assistant's, with the thinking and the words before them.

use serde_json::{Map, Value, json};

use super::tools::spaced_name;
use super::{Result, fault, kind, text, thought};

/// What the assistant did in one go.
#[derive(Default)]
struct Go {
    thought: String,
    said: Option<String>,
    calls: Vec<Value>,
    /// What the gateway's own tools answered.
    results: Vec<Value>,
}

#[derive(Default)]
struct Chat {
    messages: Vec<Value>,
    go: Go,
    /// Ids of calls without an answer so far.
    unanswered: Vec<String>,
}

/// The messages of a chat; `items` is the whole conversation.
pub fn messages(instructions: Option<&str>, items: &[Value]) -> Result<Vec<Value>> {
    let mut chat = Chat::default();
    if let Some(instructions) = instructions.filter(|text| !text.is_empty()) {
        chat.system(instructions);
    }
    for item in items {
        chat.take(item)?;
    }
    chat.end_go();
    if let Some(open) = chat.unanswered.first() {
        return fault("input", format!("has no tool output for the function call {open}"));
    }
    Ok(chat.messages)
}

impl Chat {
    fn take(&mut self, item: &Value) -> Result<()> {
        match kind(item) {
            "message" => self.message(item),
            "reasoning" => {
                if self.go.said.is_some() || !self.go.calls.is_empty() {
                    self.end_go();
                }
                self.go.thought.push_str(&thought::of(item));
            }
            "function_call" => {
                let name = spaced_name(text(item, "namespace"), text(item, "name"));
                self.call(text(item, "call_id"), &name, text(item, "arguments"));
            }
            "custom_tool_call" => {
                let arguments = json!({"input": item["input"]}).to_string();
                self.call(text(item, "call_id"), text(item, "name"), &arguments);
            }
            "function_call_output" | "custom_tool_call_output" => return self.answer(item),
            "mcp_call" => {
                let id = text(item, "id");
                self.go.calls.push(function(id, text(item, "name"), text(item, "arguments")));
                let said = item.get("output").and_then(Value::as_str).map(str::to_owned);
                let said = said.unwrap_or_else(|| match item.get("error") {
                    Some(error) if !error.is_null() => format!("Error: {}", error_words(error)),
                    _ => "Error: there was no result".to_owned(),
                });
                self.go.results.push(json!({"role": "tool", "tool_call_id": id, "content": said}));
            }
            // What there is to call stands in the request itself.
            _ => {}
        }
        Ok(())
    }

    fn message(&mut self, item: &Value) {
        let parts = item["content"].as_array().map(Vec::as_slice).unwrap_or_default();
        match text(item, "role") {
            "assistant" => {
                if !self.go.calls.is_empty() {
                    self.end_go();
                }
                self.go.said.get_or_insert_default().push_str(&words(parts).concat());
            }
            "user" => {
                self.end_go();
                self.messages.push(json!({"role": "user", "content": content(parts)}));
            }
            _ => {
                self.end_go();
                self.system(&words(parts).join("\n\n"));
            }
        }
    }

    /// Templates know one system message, at the beginning.
    fn system(&mut self, text: &str) {
        if let [only] = self.messages.as_mut_slice()
            && only["role"] == "system"
        {
            let both = format!("{}\n\n{text}", only["content"].as_str().unwrap_or_default());
            only["content"] = both.into();
        } else {
            self.messages.push(json!({"role": "system", "content": text}));
        }
    }

    fn call(&mut self, id: &str, name: &str, arguments: &str) {
        self.go.calls.push(function(id, name, arguments));
        self.unanswered.push(id.to_owned());
    }

    fn answer(&mut self, item: &Value) -> Result<()> {
        let id = text(item, "call_id");
        self.end_go();
        let Some(at) = self.unanswered.iter().position(|open| open == id) else {
            return fault("input", format!("has no tool call for the function call output {id}"));
        };
        self.unanswered.swap_remove(at);
        let (said, images) = match &item["output"] {
            Value::Array(parts) => {
                let images = parts.iter().filter(|part| kind(part) == "input_image").map(image).collect();
                (words(parts).join("\n\n"), images)
            }
            said => (said.as_str().unwrap_or_default().to_owned(), Vec::new()),
        };
        self.messages.push(json!({"role": "tool", "tool_call_id": id, "content": said}));
        if !images.is_empty() {
            self.messages.push(json!({"role": "user", "content": images}));
        }
        Ok(())
    }

    fn end_go(&mut self) {
        let Go { thought, said, calls, results } = std::mem::take(&mut self.go);
        if said.is_none() && calls.is_empty() {
            return;
        }
        let mut message = Map::new();
        message.insert("role".into(), "assistant".into());
        message.insert("content".into(), said.unwrap_or_default().into());
        if !thought.is_empty() {
            message.insert("reasoning_content".into(), thought.into());
        }
        if !calls.is_empty() {
            message.insert("tool_calls".into(), calls.into());
        }
        self.messages.push(Value::Object(message));
        self.messages.extend(results);
    }
}

fn function(id: &str, name: &str, arguments: &str) -> Value {
    json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}})
}

fn words(parts: &[Value]) -> Vec<&str> {
    let said = |part| match kind(part) {
        "input_text" | "output_text" | "text" => Some(text(part, "text")),
        "refusal" => Some(text(part, "refusal")),
        _ => None,
    };
    parts.iter().filter_map(said).collect()
}

/// Text as a string, and a list only where there is more.
fn content(parts: &[Value]) -> Value {
    if parts.iter().all(|part| kind(part) != "input_image") {
        return words(parts).join("\n\n").into();
    }
    let part = |part: &Value| match kind(part) {
        "input_image" => image(part),
        _ => json!({"type": "text", "text": words(std::slice::from_ref(part)).concat()}),
    };
    parts.iter().map(part).collect()
}

fn image(part: &Value) -> Value {
    json!({"type": "image_url", "image_url": {"url": part["image_url"]}})
}

fn error_words(error: &Value) -> String {
    let told = error.get("message").or_else(|| error.pointer("/content/0/text"));
    told.and_then(Value::as_str).map_or_else(|| error.to_string(), str::to_owned)
}
