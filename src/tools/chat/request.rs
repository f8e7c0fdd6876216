//! What a chat request says of tools, and the body of each round. Pure.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::aside::Aside;
use crate::dialect::notes::LABEL;
use crate::tools::Tool;
use std::sync::Arc;

/// Which of the gateway's tools a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// Those that the profile lists.
    Profile,
    None,
    /// All but the destructive ones.
    All,
    Named(Vec<String>),
}

/// `tool_choice`, as far as it binds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    Auto,
    None,
    Required,
    Named(String),
}

/// A request that takes rounds.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The request without its tools.
    body: Map<String, Value>,
    messages: Vec<Value>,
    /// Tools as they are offered.
    offered: Vec<Value>,
    /// Names that the client declared.
    pub client: BTreeSet<String>,
    pub choice: Choice,
    pub include_usage: bool,
}

impl Wanted {
    /// Reads `x-mlx-gateway-tools`.
    pub fn from_header(value: &str) -> Wanted {
        match value.trim() {
            "none" => Wanted::None,
            "all" => Wanted::All,
            names => Wanted::Named(
                names.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect(),
            ),
        }
    }

    /// Reads the entries `{"type":"mcp","server_label":"mlx-gateway"}` of `tools`.
    pub fn from_tools(tools: &[Value]) -> Option<Wanted> {
        let entry = tools.iter().find(|tool| is_ours(tool))?;
        Some(match entry.get("allowed_tools") {
            Some(Value::Array(names)) => {
                Wanted::Named(names.iter().filter_map(Value::as_str).map(str::to_owned).collect())
            }
            _ => Wanted::All,
        })
    }
}

impl Plan {
    /// `body`: the client's; `tools`: those of the gateway that take part.
    pub fn new(mut body: Map<String, Value>, tools: &[Arc<Tool>]) -> Result<Plan, String> {
        if body.get("n").and_then(Value::as_u64).is_some_and(|n| n > 1) {
            return Err("\"n\" has to be 1 where the gateway runs tools".to_owned());
        }
        let Some(Value::Array(messages)) = body.remove("messages") else {
            return Err("\"messages\" must be a list".to_owned());
        };
        let declared = match body.remove("tools") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(declared)) => declared,
            Some(_) => return Err("\"tools\" must be a list".to_owned()),
        };
        let mut offered: Vec<Value> = declared.into_iter().filter(|tool| !is_ours(tool)).collect();
        let name = |tool: &Value| tool.pointer("/function/name").and_then(Value::as_str).map(str::to_owned);
        let client: BTreeSet<String> = offered.iter().filter_map(name).collect();
        // On a clash of names the client's wins.
        offered.extend(tools.iter().filter(|tool| !client.contains(&tool.name)).map(|tool| tool.function()));
        let choice = choice(body.remove("tool_choice"))?;
        if let Choice::Named(wanted) = &choice
            && !offered.iter().any(|tool| name(tool).as_deref() == Some(wanted))
        {
            return Err(format!("\"tool_choice\" names the tool \"{wanted}\", which is not offered"));
        }
        let include_usage =
            body.get("stream_options").and_then(|options| options.get("include_usage")) == Some(&json!(true));
        body.insert("stream".into(), true.into());
        body.insert("stream_options".into(), json!({"include_usage": true}));
        Ok(Plan { body, messages, offered, client, choice, include_usage })
    }

    /// Puts what the gateway's own tools said in earlier requests back into the conversation.
    pub fn recall(&mut self, aside: &Aside, principal: Option<&str>) {
        self.messages = aside.complete(principal, std::mem::take(&mut self.messages));
    }

    /// The body of the next round. `last`: the model has to answer now, without tools.
    pub fn round(&self, last: bool, insist: bool) -> Value {
        let mut body = self.body.clone();
        let mut messages = self.messages.clone();
        if insist && let Some(words) = self.instruction() {
            messages.push(json!({"role": "user", "content": words}));
        }
        body.insert("messages".into(), messages.into());
        if !last && self.choice != Choice::None && !self.offered.is_empty() {
            body.insert("tools".into(), self.offered.clone().into());
            body.insert("tool_choice".into(), "auto".into());
        }
        Value::Object(body)
    }

    /// What was said in a round becomes part of the conversation.
    pub fn push(&mut self, message: Value) {
        self.messages.push(message);
    }

    /// The choice binds the first answer, not those that follow on a tool's result.
    pub fn choice_is_met(&mut self) {
        self.choice = Choice::Auto;
    }

    /// Whether the client's choice has to be insisted on.
    pub fn insists(&self) -> bool {
        matches!(self.choice, Choice::Required | Choice::Named(_))
    }

    /// Whether a round's calls are what the choice asks for.
    pub fn is_met<'a>(&self, mut called: impl Iterator<Item = &'a str>) -> bool {
        match &self.choice {
            Choice::Auto | Choice::None => true,
            Choice::Required => called.next().is_some(),
            Choice::Named(wanted) => called.any(|name| name == wanted),
        }
    }

    fn instruction(&self) -> Option<String> {
        match &self.choice {
            Choice::Required => Some("Call one of the tools now; do not answer in words.".to_owned()),
            Choice::Named(name) => Some(format!("Call the tool {name} now; do not answer in words.")),
            Choice::Auto | Choice::None => None,
        }
    }
}

fn is_ours(tool: &Value) -> bool {
    let says = |key: &str, value: &str| tool.get(key).and_then(Value::as_str) == Some(value);
    says("type", "mcp") && says("server_label", LABEL)
}

fn choice(value: Option<Value>) -> Result<Choice, String> {
    match value {
        None | Some(Value::Null) => Ok(Choice::Auto),
        Some(Value::String(word)) => match word.as_str() {
            "auto" => Ok(Choice::Auto),
            "none" => Ok(Choice::None),
            "required" => Ok(Choice::Required),
            other => Err(format!("\"tool_choice\" is auto, none, required or a function, not \"{other}\"")),
        },
        Some(object) => object
            .pointer("/function/name")
            .or_else(|| object.get("name"))
            .and_then(Value::as_str)
            .map(|name| Choice::Named(name.to_owned()))
            .ok_or_else(|| "\"tool_choice\" must name a function".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(body: Value) -> Result<Plan, String> {
        let Value::Object(body) = body else { return Err("no object".into()) };
        Plan::new(body, &[])
    }

    #[test]
    fn a_request_says_which_tools_it_wants() {
        assert_eq!(Wanted::from_header("none"), Wanted::None);
        assert_eq!(Wanted::from_header(" all "), Wanted::All);
        assert_eq!(Wanted::from_header("a, b,"), Wanted::Named(vec!["a".into(), "b".into()]));
        let ours = json!({"type": "mcp", "server_label": "mlx-gateway", "allowed_tools": ["a"]});
        assert_eq!(Wanted::from_tools(&[ours]), Some(Wanted::Named(vec!["a".into()])));
        assert_eq!(Wanted::from_tools(&[json!({"type": "function"})]), None);
    }

    #[test]
    fn what_binds_is_insisted_on_until_it_is_met() {
        let function = json!({"type": "function", "function": {"name": "f"}});
        let body = json!({"messages": [], "tools": [function], "tool_choice": "required"});
        let mut required = plan(body).unwrap();
        assert!(required.insists() && !required.is_met([].into_iter()) && required.is_met(["f"].into_iter()));
        let round = required.round(false, true);
        assert!(round["messages"][0]["content"].as_str().unwrap().contains("Call one of the tools"));
        required.choice_is_met();
        assert!(!required.insists());
        assert_eq!(required.round(false, true)["messages"], json!([]));
    }

    #[test]
    fn none_withholds_the_tools_and_wrong_choices_are_refused() {
        let function = json!({"type": "function", "function": {"name": "f"}});
        let none = plan(json!({"messages": [], "tools": [function], "tool_choice": "none"})).unwrap();
        assert_eq!(none.round(false, false).get("tools"), None);
        for wrong in [
            json!({"messages": [], "tool_choice": "maybe"}),
            json!({"messages": [], "tool_choice": {"type": "function", "function": {"name": "g"}}}),
            json!({"messages": [], "tools": 1}),
            json!({"messages": [], "n": 2}),
            json!({"messages": 1}),
        ] {
            assert!(plan(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
