//! Tests of the loop over scripted rounds and no tools but unknown ones.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use super::*;

/// Answers each round with the next script.
#[derive(Default)]
struct Scripted {
    scripts: VecDeque<Vec<String>>,
    now: VecDeque<String>,
    asked: Vec<Value>,
    called: Vec<Called>,
}

impl Round for Scripted {
    type Failure = String;

    fn begin<'a>(&'a mut self, body: &'a Value) -> BoxFuture<'a, Result<(), String>> {
        self.asked.push(body.clone());
        let script = self.scripts.pop_front();
        Box::pin(async move {
            self.now = script.ok_or("no more rounds")?.into();
            Ok(())
        })
    }

    fn next(&mut self) -> BoxFuture<'_, Option<Bytes>> {
        let next = self.now.pop_front();
        Box::pin(async move { next.map(Bytes::from) })
    }

    fn completed(&mut self) -> bool {
        true
    }

    fn called(&mut self, call: &Called) {
        self.called.push(call.clone());
    }
}

fn says(text: &str) -> Vec<String> {
    let chunk = json!({"id": "x", "created": 1, "model": "m", "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": "stop"}]});
    vec![format!("data: {chunk}\n\n"), "data: [DONE]\n\n".into()]
}

fn calls(name: &str, arguments: &str) -> Vec<String> {
    let call = json!([{"index": 0, "id": "c", "function": {"name": name, "arguments": arguments}}]);
    let chunk = json!({"id": "y", "created": 2, "model": "m", "choices": [{"index": 0, "delta": {"tool_calls": call}, "finish_reason": "tool_calls"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 2}});
    vec![format!("data: {chunk}\n\n"), "data: [DONE]\n\n".into()]
}

async fn chat(body: Value, scripts: Vec<Vec<String>>) -> (Result<Outcome, Stop<String>>, String, Scripted) {
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
    while let Some(bytes) = seen.recv().await {
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
    let outcome = outcome.unwrap();
    assert_eq!(outcome.finish_reason, "stop");
    assert!(text.contains("I see") && text.contains(": running nothing\n\n"), "{text}");
    assert!(text.contains("\"prompt_tokens\":5") && text.contains("\"finish_reason\":\"stop\""), "{text}");
    let told = &rounds.asked[1]["messages"];
    assert_eq!(told[1]["tool_calls"][0]["function"]["name"], "nothing");
    assert!(told[2]["content"].as_str().unwrap().contains("there is no tool \"nothing\""), "{told}");
    assert_eq!(rounds.called[0].error.as_deref(), Some("tool_error"));
}

#[tokio::test]
async fn a_model_that_goes_round_in_circles_comes_to_an_end() {
    let (outcome, _, rounds) = chat(body(), (0..9).map(|_| calls("nothing", "{}")).collect()).await;
    assert_eq!(outcome.unwrap().finish_reason, "length");
    assert_eq!(rounds.asked.len(), 4);
    assert_eq!(rounds.asked[3].get("tools"), None);
}

#[tokio::test]
async fn calls_to_the_clients_own_tools_go_to_the_client() {
    let mut body = body();
    body["tools"] = json!([{"type": "function", "function": {"name": "mine"}}]);
    let (outcome, text, rounds) = chat(body, vec![calls("mine", "{\"a\":1}")]).await;
    assert_eq!(outcome.unwrap().finish_reason, "tool_calls");
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
    assert!(matches!(outcome, Err(Stop::Unsatisfied(_))), "{outcome:?}");
    assert!(!text.contains("never"), "{text}");
    let (outcome, text, rounds) = chat(body, vec![says("no"), calls("mine", "{}")]).await;
    assert_eq!(outcome.unwrap().finish_reason, "tool_calls");
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
    assert!(matches!(chat.run(&mut rounds).await, Err(Stop::Gone)));
}
