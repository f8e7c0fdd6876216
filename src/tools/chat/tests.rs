//! Tests of the loop over scripted rounds and no tools but unknown ones.

use std::collections::VecDeque;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use super::*;

/// Answers each round with the next script.
#[derive(Default)]
struct Scripted {
    scripts: VecDeque<Vec<Value>>,
    now: VecDeque<Value>,
    asked: Vec<Value>,
    called: Vec<(String, Option<String>)>,
    usage: Option<Usage>,
}

/// Why a scripted round fails.
#[derive(Debug)]
struct Problem(String);

impl From<UpstreamFailure> for Problem {
    fn from(failure: UpstreamFailure) -> Problem {
        Problem(failure.code.to_owned())
    }
}

impl Round for Scripted {
    type Failure = Problem;

    fn begin<'a>(&'a mut self, body: &'a Value) -> BoxFuture<'a, Result<(), Problem>> {
        self.asked.push(body.clone());
        let script = self.scripts.pop_front();
        Box::pin(async move {
            self.now = script.ok_or(Problem("no more rounds".into()))?.into();
            Ok(())
        })
    }

    fn next(&mut self) -> BoxFuture<'_, Result<Option<Event>, Problem>> {
        let next = self.now.pop_front();
        if let Some(usage) = next.as_ref().and_then(|chunk| Usage::of(&chunk["usage"])) {
            self.usage = Some(usage);
        }
        Box::pin(async move { Ok(next.map(Event::from)) })
    }

    fn end(&mut self) -> Result<Option<Usage>, Problem> {
        Ok(self.usage.take())
    }

    fn called(&mut self, tool: &str, _duration: Duration, error: Option<String>) {
        self.called.push((tool.to_owned(), error));
    }
}

fn says(text: &str) -> Vec<Value> {
    vec![
        json!({"id": "x", "created": 1, "model": "m", "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": "stop"}]}),
    ]
}

fn calls(name: &str, arguments: &str) -> Vec<Value> {
    let call = json!([{"index": 0, "id": "c", "function": {"name": name, "arguments": arguments}}]);
    vec![
        json!({"id": "y", "created": 2, "model": "m", "choices": [{"index": 0, "delta": {"tool_calls": call}, "finish_reason": "tool_calls"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 2}}),
    ]
}

async fn chat(body: Value, scripts: Vec<Vec<Value>>) -> (Result<String, Problem>, String, Scripted) {
    let Value::Object(body) = body else { panic!("no object") };
    let (out, mut seen) = mpsc::channel(1000);
    let chat = Chat {
        plan: Plan::new(body, &[]).unwrap(),
        tools: Vec::new(),
        max_rounds: 4,
        request_id: "r".into(),
        model: "m".into(),
        principal: None,
        deadline: Instant::now() + Duration::from_secs(60),
        aside: Aside::default(),
        told: false,
        out,
    };
    let mut rounds = Scripted { scripts: scripts.into(), ..Scripted::default() };
    let outcome = chat.run(&mut rounds).await;
    let mut text = String::new();
    while let Some(event) = seen.recv().await {
        let bytes: Bytes = event.to_bytes();
        text.push_str(&String::from_utf8_lossy(&bytes));
    }
    (outcome, text, rounds)
}

fn body() -> Value {
    json!({"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream_options": {"include_usage": true}})
}

#[tokio::test]
async fn an_unknown_tool_is_an_error_that_the_model_reads() {
    let (outcome, text, rounds) = chat(body(), vec![calls("nothing", "{}"), says("I see")]).await;
    assert_eq!(outcome.unwrap(), "stop");
    assert!(text.contains("I see") && text.contains(": running nothing\n\n"), "{text}");
    assert!(text.contains("\"prompt_tokens\":5") && text.contains("\"finish_reason\":\"stop\""), "{text}");
    let told = &rounds.asked[1]["messages"];
    assert_eq!(told[1]["tool_calls"][0]["function"]["name"], "nothing");
    assert!(told[2]["content"].as_str().unwrap().contains("there is no tool \"nothing\""), "{told}");
    assert_eq!(rounds.called, [("nothing".to_owned(), Some("tool_error".to_owned()))]);
}

#[tokio::test]
async fn a_model_that_goes_round_in_circles_comes_to_an_end() {
    let (outcome, _, rounds) = chat(body(), (0..9).map(|_| calls("nothing", "{}")).collect()).await;
    assert_eq!(outcome.unwrap(), "length");
    assert_eq!(rounds.asked.len(), 4);
    assert_eq!(rounds.asked[3].get("tools"), None);
}

#[tokio::test]
async fn calls_to_the_clients_own_tools_go_to_the_client() {
    let mut body = body();
    body["tools"] = json!([{"type": "function", "function": {"name": "mine"}}]);
    let (outcome, text, rounds) = chat(body, vec![calls("mine", "{\"a\":1}")]).await;
    assert_eq!(outcome.unwrap(), "tool_calls");
    assert!(text.contains("\"name\":\"mine\"") && text.contains("{\\\"a\\\":1}"), "{text}");
    assert_eq!(rounds.asked[0]["tools"][0]["function"]["name"], "mine");
    assert!(rounds.called.is_empty());
}

#[tokio::test]
async fn a_required_call_is_asked_for_twice_and_then_given_up() {
    let mut body = body();
    body["tools"] = json!([{"type": "function", "function": {"name": "mine"}}]);
    body["tool_choice"] = json!("required");
    let (outcome, text, _) = chat(body.clone(), vec![says("no"), says("never")]).await;
    assert!(matches!(&outcome, Err(Problem(code)) if code == "tool_choice_unsatisfied"), "{outcome:?}");
    assert!(!text.contains("never"), "{text}");
    let (outcome, text, rounds) = chat(body, vec![says("no"), calls("mine", "{}")]).await;
    assert_eq!(outcome.unwrap(), "tool_calls");
    assert!(text.contains("\"mine\"") && !text.contains("\"no\""), "{text}");
    let last = rounds.asked[1]["messages"].as_array().unwrap().last().unwrap();
    assert!(last["content"].as_str().unwrap().contains("Call one of the tools"));
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_chat() {
    let Value::Object(body) = body() else { panic!("no object") };
    let (out, seen) = mpsc::channel(1);
    drop(seen);
    let chat = Chat {
        plan: Plan::new(body, &[]).unwrap(),
        tools: Vec::new(),
        max_rounds: 4,
        request_id: "r".into(),
        model: "m".into(),
        principal: None,
        deadline: Instant::now() + Duration::from_secs(60),
        aside: Aside::default(),
        told: false,
        out,
    };
    let mut rounds = Scripted { scripts: vec![says("hello")].into(), ..Scripted::default() };
    assert!(chat.run(&mut rounds).await.is_err());
}
