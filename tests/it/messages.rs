//! Anthropic's Messages API, as its wire format is.

use serde_json::{Value, json};

use crate::support::http::Answer;
use crate::support::{Gateway, PROFILES};

/// A message of the scripted model, which reads what it has to do in the prompt.
fn ask(gateway: &Gateway, prompt: &str, more: &Value) -> Answer {
    let mut body = json!({"model": "claude-sonnet-x", "max_tokens": 100, "messages": [{"role": "user", "content": prompt}]});
    for (key, value) in more.as_object().unwrap() {
        body[key] = value.clone();
    }
    gateway.post("/v1/messages", &body.to_string())
}

/// Names and data of a stream's events.
fn events(answer: &Answer) -> Vec<(String, Value)> {
    let events = answer.body.split("\n\n").filter_map(|event| {
        let (name, data) = event.trim_start().split_once('\n')?;
        let data = serde_json::from_str(data.strip_prefix("data: ")?).ok()?;
        Some((name.strip_prefix("event: ")?.to_owned(), data))
    });
    events.collect()
}

#[test]
fn a_message_is_answered_by_the_profile_that_the_alias_names() {
    let gateway = Gateway::start(PROFILES);
    let answer = ask(&gateway, "#chunks=3 #prompt-tokens=10", &json!({}));
    assert_eq!(answer.status, 200, "{answer:?}");
    let message = answer.json();
    assert_eq!((&message["type"], &message["role"]), (&json!("message"), &json!("assistant")));
    assert_eq!(message["model"], "claude-sonnet-x", "the name that was asked for");
    assert_eq!(message["content"][0]["type"], "text");
    assert_eq!(
        (&message["stop_reason"], &message["usage"]["output_tokens"]),
        (&json!("end_turn"), &json!(3))
    );
    let record = gateway.record("completed");
    assert_eq!((&record["endpoint"], &record["profile"]), (&json!("/v1/messages"), &json!("qwen")));
}

#[test]
fn a_streamed_message_comes_as_anthropics_events() {
    let gateway = Gateway::start(PROFILES);
    let answer = ask(&gateway, "#chunks=3", &json!({"stream": true}));
    assert_eq!(answer.status, 200, "{answer:?}");
    let events = events(&answer);
    let names: Vec<&str> =
        events.iter().map(|(name, _)| name.as_str()).filter(|name| *name != "ping").collect();
    assert_eq!(names[..2], ["message_start", "content_block_start"]);
    assert_eq!(names[names.len() - 3..], ["content_block_stop", "message_delta", "message_stop"]);
    let said = events.iter().filter(|(_, data)| data["delta"]["type"] == "text_delta").count();
    assert_eq!(said, 3);
    assert!(!answer.body.contains("[DONE]"));
}

#[test]
fn errors_are_told_in_anthropics_shape() {
    let gateway = Gateway::start(PROFILES);
    let told = |body: &Value| {
        let answer = gateway.post("/v1/messages", &body.to_string());
        let error = answer.json();
        assert_eq!(error["type"], "error", "{answer:?}");
        assert!(error["request_id"].is_string(), "{answer:?}");
        (
            answer.status,
            error["error"]["type"].as_str().unwrap().to_owned(),
            error["error"]["message"].to_string(),
        )
    };
    let hi = json!([{"role": "user", "content": "hi"}]);
    let (status, kind, words) = told(&json!({"model": "qwen", "messages": hi}));
    assert_eq!((status, kind.as_str()), (400, "invalid_request_error"));
    assert!(words.contains("max_tokens"), "{words}");
    let (status, kind, _) = told(&json!({"model": "nope", "max_tokens": 1, "messages": hi}));
    assert_eq!((status, kind.as_str()), (404, "not_found_error"));
    let image = json!({"type": "image", "source": {"type": "url", "url": "file:///etc/passwd"}});
    let (status, ..) =
        told(&json!({"model": "qwen", "max_tokens": 1, "messages": [{"role": "user", "content": [image]}]}));
    assert_eq!(status, 400, "media are inline");
    let closed = Gateway::with_env(PROFILES, &[("MLX_GATEWAY_API_KEY", "secret-key")]);
    let refused = closed.post("/v1/messages", "{}");
    assert_eq!((refused.status, &refused.json()["error"]["type"]), (401, &json!("authentication_error")));
    let body = json!({"model": "qwen", "max_tokens": 5, "messages": hi}).to_string();
    assert_eq!(closed.post_with("/v1/messages", "x-api-key: secret-key\r\n", &body).status, 200);
}

#[test]
fn tokens_are_counted_without_asking_a_model() {
    let gateway = Gateway::start(PROFILES);
    let count = |text: &str| {
        let body = json!({"model": "claude-x", "messages": [{"role": "user", "content": text}]});
        gateway.post("/v1/messages/count_tokens", &body.to_string()).json()["input_tokens"].as_u64().unwrap()
    };
    let (short, long) = (count("hi"), count(&"word ".repeat(400)));
    assert!(short > 0 && (400..800).contains(&(long - short)), "{short} {long}");
    let servers = gateway.get("/api/v1/servers").json();
    assert_eq!(servers["servers"][0]["state"], "stopped");
}
