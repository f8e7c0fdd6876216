//! The output of a response as it grows: items with their events, in OpenAI's order. Knows what an item is,
//! and not where its words come from.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::{text, thought};
use crate::dialect::notes::LABEL;

/// How output is told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Manner {
    /// Names of tools whose calls are told as those of custom tools.
    pub custom: BTreeSet<String>,
    /// Functions of namespaces, by the names that the model knows them by.
    pub spaced: BTreeMap<String, (String, String)>,
    /// Says which of the gateway's tools there are.
    pub lists_tools: bool,
    /// Thinking stands in the summary instead of the content.
    pub summary: bool,
    /// Thinking is there once more in a form that clients hand back.
    pub wrapped: bool,
}

/// Items and the events that tell them.
#[derive(Debug)]
pub struct Output {
    stem: String,
    manner: Manner,
    /// Finished ones as they are, others as they began.
    items: Vec<Value>,
    open: Option<Open>,
    /// Calls of the gateway's tools that run: their id in the chat, and which item they are.
    running: Vec<(String, usize)>,
    sequence: u64,
    events: Vec<u8>,
}

/// The item that words are added to.
#[derive(Debug)]
struct Open {
    what: What,
    at: usize,
    id: String,
    said: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Thought,
    Words,
    Call,
    /// A call of a custom tool, whose input is known at its end.
    Custom,
}

impl Output {
    pub fn new(stem: &str, manner: Manner) -> Output {
        Output {
            stem: stem.to_owned(),
            manner,
            items: Vec::new(),
            open: None,
            running: Vec::new(),
            sequence: 0,
            events: Vec::new(),
        }
    }

    /// The events since they were last taken.
    pub fn take_events(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.events)
    }

    /// What goes on beside events.
    pub fn pass(&mut self, bytes: &[u8]) {
        self.events.extend_from_slice(bytes);
    }

    pub fn items(&self) -> &[Value] {
        &self.items
    }

    /// An event with the next number.
    pub fn emit(&mut self, name: &str, fields: Value) {
        let mut event = Map::new();
        event.insert("type".into(), name.into());
        event.insert("sequence_number".into(), self.sequence.into());
        if let Value::Object(fields) = fields {
            event.extend(fields);
        }
        self.sequence += 1;
        let data = Value::Object(event);
        self.events.extend_from_slice(format!("event: {name}\ndata: {data}\n\n").as_bytes());
    }

    pub fn think(&mut self, words: &str) {
        let summary = self.manner.summary;
        if self.what() != Some(What::Thought) {
            self.close("completed");
            let mut item = json!({"type": "reasoning", "summary": []});
            if !summary {
                item["content"] = json!([]);
            }
            self.begin(What::Thought, "rs", item);
            match summary {
                true => self.part("response.reasoning_summary_part.added", &summary_part("")),
                false => self.part("response.content_part.added", &thought_part("")),
            }
        }
        let (name, index) = match summary {
            true => ("response.reasoning_summary_text.delta", "summary_index"),
            false => ("response.reasoning_text.delta", "content_index"),
        };
        self.say(name, Some(index), words, json!({}));
    }

    pub fn speak(&mut self, words: &str) {
        if self.what() != Some(What::Words) {
            self.close("completed");
            self.begin(What::Words, "msg", json!({"type": "message", "role": "assistant", "content": []}));
            self.part("response.content_part.added", &words_part(""));
        }
        self.say("response.output_text.delta", Some("content_index"), words, json!({"logprobs": []}));
    }

    /// Begins a call; the item before it ends.
    pub fn begin_call(&mut self, name: &str) {
        self.close("completed");
        let call_id = format!("call_{}{:02}", self.stem, self.items.len());
        let custom = self.manner.custom.contains(name);
        let (space, name) = match self.manner.spaced.get(name) {
            Some((space, name)) => (Some(space.clone()), name.clone()),
            None => (None, name.to_owned()),
        };
        let mut item = match custom {
            true => json!({"type": "custom_tool_call", "call_id": call_id, "name": name, "input": ""}),
            false => json!({"type": "function_call", "call_id": call_id, "name": name, "arguments": ""}),
        };
        if let Some(space) = space {
            item["namespace"] = space.into();
        }
        match custom {
            true => self.begin(What::Custom, "ctc", item),
            false => self.begin(What::Call, "fc", item),
        }
    }

    /// Adds arguments to the call that began last.
    pub fn add_arguments(&mut self, arguments: &str) {
        match self.what() {
            Some(What::Call) => {
                self.say("response.function_call_arguments.delta", None, arguments, json!({}));
            }
            Some(What::Custom) => self.keep(arguments),
            // More after arguments that were complete.
            _ => {}
        }
    }

    /// Which of the gateway's tools take part.
    pub fn list_tools(&mut self, tools: &Value) {
        if !std::mem::take(&mut self.manner.lists_tools) {
            return;
        }
        self.close("completed");
        let (at, id) =
            self.add("mcpl", json!({"type": "mcp_list_tools", "server_label": LABEL, "tools": []}));
        for name in ["response.mcp_list_tools.in_progress", "response.mcp_list_tools.completed"] {
            self.emit(name, json!({"item_id": id, "output_index": at}));
        }
        self.items[at]["tools"] = tools.clone();
        self.done(at);
    }

    /// A call of one of the gateway's tools begins.
    pub fn run(&mut self, call: &Value) {
        self.close("completed");
        let item = json!({
            "type": "mcp_call", "status": "in_progress", "server_label": LABEL, "name": text(call, "name"),
            "arguments": "", "output": null, "error": null, "approval_request_id": null,
        });
        let (at, id) = self.add("mcp", item);
        let arguments = text(call, "arguments");
        let about = json!({"item_id": id, "output_index": at});
        let with = |key: &str| {
            let mut fields = about.clone();
            fields[key] = arguments.into();
            fields
        };
        self.emit("response.mcp_call.in_progress", about.clone());
        self.emit("response.mcp_call_arguments.delta", with("delta"));
        self.emit("response.mcp_call_arguments.done", with("arguments"));
        self.items[at]["arguments"] = arguments.into();
        self.running.push((text(call, "id").to_owned(), at));
    }

    /// And has ended.
    pub fn ran(&mut self, result: &Value) {
        let Some(found) = self.running.iter().position(|(id, _)| id == text(result, "id")) else { return };
        let (_, at) = self.running.remove(found);
        let said = text(result, "text");
        let failed = result["failed"] == true;
        let name = if failed { "response.mcp_call.failed" } else { "response.mcp_call.completed" };
        let item = &mut self.items[at];
        if failed {
            item["error"] =
                json!({"type": "mcp_tool_execution_error", "content": [{"type": "text", "text": said}]});
        } else {
            item["output"] = said.into();
        }
        item["status"] = if failed { "failed" } else { "completed" }.into();
        let about = json!({"item_id": item["id"], "output_index": at});
        self.emit(name, about);
        self.done(at);
    }

    /// Nothing more comes.
    pub fn finish(&mut self, status: &str) {
        self.close(status);
        for (_, at) in std::mem::take(&mut self.running) {
            self.items[at]["status"] = "incomplete".into();
            self.done(at);
        }
    }

    fn what(&self) -> Option<What> {
        self.open.as_ref().map(|open| open.what)
    }

    /// A new item, which is told.
    fn add(&mut self, prefix: &str, fields: Value) -> (usize, String) {
        let at = self.items.len();
        let id = format!("{prefix}_{}{at:02}", self.stem);
        let mut item = Map::new();
        item.insert("id".into(), id.clone().into());
        if let Value::Object(fields) = fields {
            item.extend(fields);
        }
        let item = Value::Object(item);
        self.emit("response.output_item.added", json!({"output_index": at, "item": item}));
        self.items.push(item);
        (at, id)
    }

    fn begin(&mut self, what: What, prefix: &str, mut item: Value) {
        item["status"] = "in_progress".into();
        let (at, id) = self.add(prefix, item);
        self.open = Some(Open { what, at, id, said: String::new() });
    }

    fn done(&mut self, at: usize) {
        let event = json!({"output_index": at, "item": self.items[at]});
        self.emit("response.output_item.done", event);
    }

    fn keep(&mut self, words: &str) {
        if let Some(open) = &mut self.open {
            open.said.push_str(words);
        }
    }

    /// Words that are added to the open item.
    fn say(&mut self, name: &str, index: Option<&str>, words: &str, more: Value) {
        self.keep(words);
        self.about(name, index, "delta", words.into(), more);
    }

    /// The part that is opened or closed.
    fn part(&mut self, name: &str, part: &Value) {
        let index = if part["type"] == "summary_text" { "summary_index" } else { "content_index" };
        self.about(name, Some(index), "part", part.clone(), json!({}));
    }

    /// An event about the open item.
    fn about(&mut self, name: &str, index: Option<&str>, key: &str, value: Value, more: Value) {
        let Some(open) = &self.open else { return };
        let mut fields = json!({"item_id": open.id, "output_index": open.at});
        if let Some(index) = index {
            fields[index] = 0.into();
        }
        fields[key] = value;
        if let (Some(fields), Value::Object(more)) = (fields.as_object_mut(), more) {
            fields.extend(more);
        }
        self.emit(name, fields);
    }

    /// Ends the open item, if there is one.
    fn close(&mut self, status: &str) {
        let Some((what, at)) = self.open.as_ref().map(|open| (open.what, open.at)) else { return };
        let said = self.open.as_mut().map(|open| std::mem::take(&mut open.said)).unwrap_or_default();
        match what {
            What::Words => {
                let (name, index) = ("response.output_text.done", Some("content_index"));
                self.about(name, index, "text", said.as_str().into(), json!({"logprobs": []}));
                self.part("response.content_part.done", &words_part(&said));
                self.items[at]["content"] = json!([words_part(&said)]);
            }
            What::Thought => self.close_thought(at, &said),
            What::Call => {
                let (name, more) =
                    ("response.function_call_arguments.done", json!({"name": self.items[at]["name"]}));
                self.about(name, None, "arguments", said.as_str().into(), more);
                self.items[at]["arguments"] = said.into();
            }
            What::Custom => {
                let input = input_of(&said);
                let (delta, done) =
                    ("response.custom_tool_call_input.delta", "response.custom_tool_call_input.done");
                self.about(delta, None, "delta", input.as_str().into(), json!({}));
                self.about(done, None, "input", input.as_str().into(), json!({}));
                self.items[at]["input"] = input.into();
            }
        }
        self.items[at]["status"] = status.into();
        self.open = None;
        self.done(at);
    }

    fn close_thought(&mut self, at: usize, said: &str) {
        if self.manner.summary {
            let (name, index) = ("response.reasoning_summary_text.done", Some("summary_index"));
            self.about(name, index, "text", said.into(), json!({}));
            self.part("response.reasoning_summary_part.done", &summary_part(said));
            self.items[at]["summary"] = json!([summary_part(said)]);
        } else {
            let (name, index) = ("response.reasoning_text.done", Some("content_index"));
            self.about(name, index, "text", said.into(), json!({}));
            self.part("response.content_part.done", &thought_part(said));
            self.items[at]["content"] = json!([thought_part(said)]);
        }
        if self.manner.wrapped {
            self.items[at]["encrypted_content"] = thought::wrapped(said).into();
        }
    }
}

fn words_part(words: &str) -> Value {
    json!({"type": "output_text", "text": words, "annotations": [], "logprobs": []})
}

fn thought_part(words: &str) -> Value {
    json!({"type": "reasoning_text", "text": words})
}

fn summary_part(words: &str) -> Value {
    json!({"type": "summary_text", "text": words})
}

/// The text that a custom tool gets; what is no such object is handed on as it is, rather than lost.
fn input_of(arguments: &str) -> String {
    let read = serde_json::from_str::<Value>(arguments).ok();
    let input = read.as_ref().and_then(|read| read.get("input")).and_then(Value::as_str);
    input.unwrap_or(arguments).to_owned()
}
