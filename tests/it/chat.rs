//! `POST /v1/chat/completions`: what reaches the backend, and what comes back.

use serde_json::{Value, json};

use crate::fake::{self, FakeServer};
use crate::support::{Gateway, PROFILES, wait_for};

fn last_seen(address: &str) -> Value {
    let seen = fake::seen(address, "requests=1&wait-ms=5000");
    let body = seen["requests"].as_array().unwrap().last().unwrap()["body"].clone();
    match body {
        Value::String(text) => serde_json::from_str(&text).unwrap(),
        other => other,
    }
}

#[test]
fn a_whole_answer_is_put_together_from_the_stream_the_backend_was_asked_for() {
    let gateway = Gateway::start(PROFILES);
    let answer = gateway.chat("qwen", "#chunks=3 #think=2 #prompt-tokens=7 #cached=2");
    assert_eq!(answer.status, 200, "{answer:?}");
    let json = answer.json();
    assert_eq!(json["model"], "qwen");
    assert_eq!(json["object"], "chat.completion");
    let message = &json["choices"][0]["message"];
    assert_eq!((&message["content"], &message["role"]), (&json!("w0 w1 w2"), &json!("assistant")));
    assert_eq!(json["usage"]["completion_tokens"], 5);
    assert_eq!(answer.header("x-mlx-gateway-profile").as_deref(), Some("qwen"));
    assert!(answer.header("openai-processing-ms").is_some());
    assert_eq!(last_seen(&gateway.backend_address("qwen"))["stream"], true);
    let record = gateway.record("completed");
    assert_eq!(record["prompt_tokens"], 7);
    assert_eq!(record["cached_tokens"], 2);
    assert_eq!(record["completion_tokens"], 5);
    assert_eq!(record["reasoning_tokens"], 2);
    assert_eq!((&record["estimated"], &record["streamed"]), (&json!(false), &json!(false)));
    assert_eq!(record["attempts"].as_array().unwrap().len(), 1);
}

#[test]
fn a_stream_has_one_role_an_explicit_finish_and_usage_only_when_asked_for() {
    let gateway = Gateway::start(PROFILES);
    let answer = gateway.streamed("qwen", "#chunks=3 #prompt-tokens=7");
    let events = answer.events();
    assert_eq!(events.last().map(String::as_str), Some("[DONE]"));
    assert_eq!(answer.body.matches("\"role\"").count(), 1);
    assert!(!answer.body.contains("usage"));
    let chunks: Vec<Value> =
        events[..events.len() - 1].iter().map(|data| serde_json::from_str(data).unwrap()).collect();
    assert!(
        chunks.iter().all(|chunk| chunk["model"] == "qwen" && chunk["object"] == "chat.completion.chunk")
    );
    assert_eq!(chunks.last().unwrap()["choices"][0]["finish_reason"], "stop");
    let body = json!({
        "model": "qwen", "stream": true, "stream_options": {"include_usage": true}, "max_tokens": 3,
        "messages": [{"role": "user", "content": "#chunks=3"}],
    });
    let events = gateway.post("/v1/chat/completions", &body.to_string()).events();
    let chunk = |back: usize| serde_json::from_str::<Value>(&events[events.len() - 1 - back]).unwrap();
    assert_eq!((&chunk(1)["choices"], &chunk(1)["usage"]["completion_tokens"]), (&json!([]), &json!(3)));
    assert_eq!(chunk(2)["choices"][0]["finish_reason"], "length");
}

#[test]
fn tool_calls_go_to_the_client() {
    let gateway = Gateway::start(PROFILES);
    let tools =
        json!([{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}]);
    let body = |stream: bool| json!({"model": "qwen", "stream": stream, "tools": tools, "messages": [{"role": "user", "content": "#tool"}]});
    let whole = gateway.post("/v1/chat/completions", &body(false).to_string()).json();
    let choice = &whole["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls");
    assert_eq!(choice["message"]["tool_calls"][0]["function"]["name"], "get_weather");
    let streamed = gateway.post("/v1/chat/completions", &body(true).to_string());
    assert!(streamed.body.contains(r#""finish_reason":"tool_calls""#), "{streamed:?}");
}

#[test]
fn an_alias_a_glob_and_a_shared_backend_lead_to_the_right_profile() {
    let gateway = Gateway::start(PROFILES);
    assert_eq!(gateway.chat("gpt-4o-mini", "hi").json()["model"], "qwen");
    assert_eq!(gateway.chat("claude-opus-9", "hi").json()["model"], "qwen");
    let terse = gateway.chat("qwen-terse", "hi");
    assert_eq!(terse.json()["model"], "qwen-terse");
    let seen = last_seen(&gateway.backend_address("qwen"));
    assert_eq!(seen["messages"][0], json!({"role": "system", "content": "Be terse."}));
    assert_eq!((&seen["model"], &seen["temperature"]), (&json!("qwen"), &json!(0.5)));
    let servers = gateway.get("/api/v1/servers").json();
    assert_eq!(servers["servers"].as_array().unwrap().len(), 2, "equal launch settings share a backend");
}

#[test]
fn a_client_that_leaves_cancels_upstream_streamed_or_not_and_is_recorded_with_its_tokens() {
    let gateway = Gateway::start(PROFILES);
    let mut stream = gateway.stream("qwen", "#chunks=5 #gate-after=3");
    let mut content = 0;
    while content < 3 {
        content += usize::from(stream.next().unwrap().contains("\"content\""));
    }
    drop(stream);
    let record = gateway.record("cancelled");
    assert_eq!((&record["completion_tokens"], &record["estimated"]), (&json!(3), &json!(true)));
    let backend = gateway.backend_address("qwen");
    assert_eq!(fake::seen(&backend, "cancelled=1&wait-ms=20000")["cancelled"], 1);
    let body = json!({"model": "qwen", "messages": [{"role": "user", "content": "#chunks=5 #gate-after=2"}]})
        .to_string();
    let mut connection = std::net::TcpStream::connect(&gateway.address).unwrap();
    std::io::Write::write_all(&mut connection, gateway.request("/v1/chat/completions", "", &body).as_bytes())
        .unwrap();
    fake::seen(&backend, "requests=2&wait-ms=20000");
    drop(connection);
    assert_eq!(fake::seen(&backend, "cancelled=2&wait-ms=20000")["cancelled"], 2);
    wait_for("both records", || {
        let all = gateway.get("/api/v1/requests?status=cancelled").json();
        (all["requests"].as_array().unwrap().len() == 2).then_some(())
    });
}

#[test]
fn an_operator_can_end_a_request() {
    let gateway = Gateway::start(PROFILES);
    let mut stream = gateway.stream("qwen", "#chunks=5 #gate-after=1");
    while !stream.next().unwrap().contains("\"content\"") {}
    let running = gateway.record("running");
    let id = running["id"].as_str().unwrap();
    assert!(gateway.cli(&["requests", "cancel", id]).status.success());
    let mut last = Vec::new();
    while let Some(event) = stream.next() {
        last.push(event);
    }
    assert!(last[0].contains("\"cancelled\""), "{last:?}");
    assert_eq!(last[1], "data: [DONE]");
    assert_eq!(gateway.record("cancelled")["id"], id);
    assert_eq!(gateway.cli(&["requests", "cancel", id]).status.code(), Some(6));
}

#[test]
fn every_failure_of_the_backend_is_told_in_openais_words_and_recorded() {
    let gateway = Gateway::start(PROFILES);
    for (prompt, status, code) in [
        ("#error=429", 429, "rate_limit_exceeded"),
        ("#error=422", 400, "invalid_request_error"),
        ("#error=404", 502, "backend_error"),
        ("#error=500", 502, "backend_error"),
        ("#error=500-no-message", 502, "backend_error"),
        ("#error=500-bare", 502, "backend_error"),
        ("#error=500-empty", 502, "backend_error"),
        ("#stream-error=429", 429, "rate_limit_exceeded"),
        ("#stream-error=500 #stream-error-after=2", 502, "backend_error"),
        ("#close", 502, "backend_error"),
        ("#chunks=9 #close-after=3", 502, "backend_error"),
        ("#garbage", 502, "backend_error"),
        ("#http-garbage", 502, "backend_error"),
        ("#no-finish #no-done", 502, "backend_error"),
    ] {
        let answer = gateway.chat("qwen", prompt);
        assert_eq!(answer.error(), (status, code.to_owned()), "{prompt}: {answer:?}");
        assert!(!answer.json()["error"]["message"].as_str().unwrap().is_empty(), "{prompt}");
        assert_eq!(gateway.record("failed")["error_code"], code, "{prompt}");
    }
}

#[test]
fn what_fails_in_a_stream_that_has_begun_fails_in_the_stream() {
    let gateway = Gateway::start(PROFILES);
    for (prompt, code) in [
        ("#stream-error=429", "rate_limit_exceeded"),
        ("#chunks=9 #close-after=3", "backend_error"),
        ("#chunks=9 #garbage=2", "backend_error"),
        ("#no-finish #no-done", "backend_error"),
    ] {
        let answer = gateway.streamed("qwen", prompt);
        let events = answer.events();
        assert_eq!(answer.status, 200, "{prompt}");
        assert_eq!(events.last().map(String::as_str), Some("[DONE]"), "{prompt}: {answer:?}");
        let error: Value = serde_json::from_str(&events[events.len() - 2]).unwrap();
        assert_eq!(error["error"]["code"], code, "{prompt}");
        assert_eq!(events.iter().filter(|event| event.as_str() == "[DONE]").count(), 1);
        assert_eq!(gateway.record("failed")["error_code"], code, "{prompt}");
    }
}

#[test]
fn a_backend_that_says_nothing_is_given_up_in_time() {
    let gateway = Gateway::start(
        "[[profile]]\nname = \"q\"\nmodel = \"./model\"\ntimeouts = { first_token = \"1s\", idle = \"1s\", total = \"20s\" }\n",
    );
    assert_eq!(gateway.chat("q", "#hang").error(), (504, "timeout".into()));
    let events = gateway.streamed("q", "#chunks=9 #hang-after=2").events();
    assert!(events[events.len() - 2].contains("timeouts."), "{events:?}");
    assert_eq!(gateway.record("failed")["error_code"], "timeout");
}

#[test]
fn another_server_is_passed_through_under_the_profiles_name() {
    let other = FakeServer::start(&[]);
    let gateway = Gateway::start(&format!(
        "[[profile]]\nname = \"fake\"\nengine = \"url\"\nurl = {0:?}\n[[profile]]\nname = \"mine\"\nengine = \"url\"\nurl = {0:?}\nmodel = \"fake\"\n",
        other.url()
    ));
    let raw = gateway.streamed("fake", "#chunks=2");
    assert_eq!(raw.body.matches("\"role\": \"assistant\"").count(), 3, "byte for byte: {raw:?}");
    let renamed = gateway.streamed("mine", "#chunks=2");
    assert!(
        renamed.body.contains("\"model\": \"mine\"") && !renamed.body.contains("\"fake\""),
        "{renamed:?}"
    );
    assert_eq!(gateway.chat("mine", "#chunks=2").json()["model"], "mine");
    assert_eq!(gateway.chat("fake", "#chunks=2").json()["model"], "fake");
    let record = gateway.record("completed");
    assert_eq!((&record["completion_tokens"], &record["estimated"]), (&json!(2), &json!(false)));
    let uncounted = gateway.streamed("fake", "#chunks=4 #usage=none");
    assert_eq!(uncounted.status, 200);
    let record = gateway.record("completed");
    assert_eq!((&record["completion_tokens"], &record["estimated"]), (&json!(4), &json!(true)));
    for model in ["fake", "mine"] {
        assert_eq!(gateway.chat(model, "#chunks=4 #usage=none").status, 200);
        let record = gateway.record("completed");
        assert_eq!((&record["estimated"], &record["streamed"]), (&json!(true), &json!(false)), "{record}");
        assert!(record["completion_tokens"].as_u64() > Some(0), "{record}");
        assert!(record["prompt_tokens"].as_u64() > Some(0), "{record}");
    }
    assert_eq!(last_seen(&other.authority)["model"], "fake");
}

#[test]
fn models_are_the_profiles_and_ids_may_hold_slashes() {
    let gateway =
        Gateway::start("[[profile]]\nname = \"org/tiny\"\naliases = [\"tiny-*\"]\nmodel = \"./model\"\n");
    let list = gateway.get("/v1/models").json();
    assert_eq!((&list["object"], &list["data"][0]["id"]), (&json!("list"), &json!("org/tiny")));
    assert_eq!(gateway.get("/v1/models/org/tiny").json()["object"], "model");
    assert_eq!(gateway.get("/v1/models/tiny-x").json()["id"], "org/tiny");
    assert_eq!(gateway.get("/v1/models/nope").error(), (404, "model_not_found".into()));
}
