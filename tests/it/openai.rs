//! The endpoints beside chat: text completions, embeddings, and what a model says it can do.

use serde_json::{Value, json};

use crate::support::{Gateway, PROFILES};

/// An embedding model, and the same program as a server that is not ours.
fn profiles() -> String {
    let fake = crate::fake::program();
    format!(
        r#"{PROFILES}
[[profile]]
name = "embed"
model = "./model"
model_type = "embeddings"

[[profile]]
name = "other-server"
engine = "command"
command = [{:?}, "launch", "--port", "{{port}}", "--served-model-name", "other-server"]
"#,
        fake.display().to_string()
    )
}

fn ask(gateway: &Gateway, path: &str, body: &Value) -> Value {
    let answer = gateway.post(path, &body.to_string());
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

#[test]
fn embeddings_come_as_they_were_asked_for_and_are_recorded() {
    let gateway = Gateway::start(&profiles());
    let plain = ask(&gateway, "/v1/embeddings", &json!({"model": "embed", "input": ["one", "three"]}));
    assert_eq!((&plain["model"], &plain["object"]), (&json!("embed"), &json!("list")));
    assert_eq!(plain["data"][1]["embedding"], json!([0.6, 0.8, 0.0, 5.0]));
    assert_eq!(plain["usage"], json!({"prompt_tokens": 2, "total_tokens": 2}), "filled in");
    let short = json!({"model": "embed", "input": "one", "dimensions": 2, "encoding_format": "base64"});
    let short = ask(&gateway, "/v1/embeddings", &short);
    assert_eq!(short["data"][0]["embedding"], "mpkZP83MTD8=");
    let tokens = gateway.post("/v1/embeddings", r#"{"model":"embed","input":[1,2,3]}"#);
    assert_eq!(tokens.status, 400);
    assert!(tokens.body.contains("has no tokenizer.json"), "{tokens:?}");
    let more = gateway.post("/v1/embeddings", r#"{"model":"embed","input":"x","dimensions":99}"#);
    assert_eq!(more.status, 400, "{more:?}");
    let records = gateway.get("/api/v1/requests").json();
    assert_eq!(records["requests"][3]["endpoint"], "/v1/embeddings");
    assert_eq!(records["requests"][3]["status"], "completed");
}

#[test]
fn completions_go_to_servers_that_have_them() {
    let gateway = Gateway::start(&profiles());
    let told = ask(&gateway, "/v1/completions", &json!({"model": "other-server", "prompt": "Once upon"}));
    assert_eq!((&told["object"], &told["model"]), (&json!("text_completion"), &json!("other-server")));
    assert_eq!(told["choices"][0]["text"], " a time");
    assert_eq!(gateway.record("completed")["total_tokens"], 4);
}

#[test]
fn what_a_model_cannot_do_is_refused_by_its_type_before_anything_starts() {
    let gateway = Gateway::start(&profiles());
    for (path, body, words) in [
        ("/v1/embeddings", json!({"model": "qwen", "input": "x"}), "its model is of the type lm"),
        ("/v1/completions", json!({"model": "qwen", "prompt": "x"}), "has no such endpoint"),
        ("/v1/images/generations", json!({"model": "qwen", "prompt": "x"}), "of the type lm"),
        (
            "/v1/chat/completions",
            json!({"model": "embed", "messages": [{"role": "user", "content": "x"}]}),
            "of the type embeddings",
        ),
    ] {
        let refused = gateway.post(path, &body.to_string());
        assert_eq!(refused.error(), (400, "invalid_request_error".into()), "{path}");
        assert!(refused.body.contains(words), "{refused:?}");
    }
    let servers = gateway.get("/api/v1/servers").json();
    assert!(
        servers["servers"].as_array().unwrap().iter().all(|server| server["state"] == "stopped"),
        "{servers}"
    );
}

#[test]
fn the_list_of_models_says_what_each_can_do() {
    let gateway = Gateway::start(&profiles());
    let find = |name: &str| gateway.get(&format!("/v1/models/{name}")).json();
    let qwen = find("qwen");
    assert_eq!((&qwen["model_type"], &qwen["capabilities"]), (&json!("lm"), &json!(["chat"])));
    assert_eq!((&qwen["input"], &find("other-server")["input"]), (&json!(["text"]), &json!(null)));
    assert_eq!(qwen["state"], "stopped");
    assert_eq!(find("embed")["capabilities"], json!(["embeddings"]));
    assert_eq!(
        find("other-server")["capabilities"],
        json!(["chat", "completions", "embeddings", "images", "image-edits", "transcriptions"])
    );
    ask(&gateway, "/v1/embeddings", &json!({"model": "embed", "input": "x"}));
    assert_eq!(find("embed")["state"], "ready");
}

fn chat(prompt: &str, more: &Value) -> Value {
    let mut body = json!({"model": "qwen", "messages": [{"role": "user", "content": prompt}]});
    for (key, value) in more.as_object().unwrap() {
        body[key] = value.clone();
    }
    body
}

#[test]
fn several_choices_come_as_one_answer_and_one_record() {
    let gateway = Gateway::start(PROFILES);
    let whole = ask(&gateway, "/v1/chat/completions", &chat("#chunks=2 #prompt-tokens=5", &json!({"n": 3})));
    let choices = whole["choices"].as_array().unwrap();
    let seen: Vec<(u64, &str)> = choices
        .iter()
        .map(|one| (one["index"].as_u64().unwrap(), one["message"]["content"].as_str().unwrap()))
        .collect();
    assert_eq!(seen, [(0, "w0 w1"), (1, "w0 w1"), (2, "w0 w1")]);
    assert_eq!(whole["usage"]["completion_tokens"], 6);
    assert_eq!(whole["usage"]["prompt_tokens"], 5, "a prompt is counted once");
    let record = gateway.record("completed");
    assert_eq!((&record["completion_tokens"], record["attempts"].as_array().unwrap().len()), (&json!(6), 3));
    let stream = gateway
        .post("/v1/chat/completions", &chat("#chunks=2", &json!({"n": 2, "stream": true})).to_string());
    for index in ["\"index\":0", "\"index\":1"] {
        assert!(stream.body.contains(index), "{stream:?}");
    }
    assert!(stream.body.ends_with("data: [DONE]\n\n"));
    let refused = gateway.post("/v1/chat/completions", &chat("x", &json!({"n": 99})).to_string());
    assert_eq!(refused.error(), (400, "invalid_request_error".into()));
}

#[test]
fn a_structured_answer_is_seen_only_when_it_is_right() {
    let gateway = Gateway::start(PROFILES);
    let schema = json!({"type": "json_schema", "json_schema": {"name": "r", "schema": {
        "type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"],
    }}});
    let right = chat("#text={\"ok\":true}", &json!({"response_format": schema}));
    let answer = ask(&gateway, "/v1/chat/completions", &right);
    assert_eq!(answer["choices"][0]["message"]["content"], "{\"ok\":true}");
    for stream in [false, true] {
        let wrong = chat("#text=no_json_at_all", &json!({"response_format": schema, "stream": stream}));
        let refused = gateway.post("/v1/chat/completions", &wrong.to_string());
        assert_eq!(refused.error(), (502, "structured_output_invalid".into()), "{refused:?}");
        assert!(!refused.body.contains("no json at all"), "what is wrong is not shown: {refused:?}");
    }
    assert_eq!(gateway.record("failed")["attempts"].as_array().unwrap().len(), 2, "tried twice");
    let cut = chat("#chunks=50", &json!({"response_format": {"type": "json_object"}, "max_tokens": 3}));
    let cut = ask(&gateway, "/v1/chat/completions", &cut);
    assert_eq!(cut["choices"][0]["finish_reason"], "length", "what was cut off says so");
    let bad = chat("x", &json!({"response_format": {"type": "xml"}}));
    assert_eq!(gateway.post("/v1/chat/completions", &bad.to_string()).status, 400);
}

#[test]
fn a_stop_string_ends_the_answer_and_the_generation() {
    let gateway = Gateway::start(PROFILES);
    let body = chat(
        "#chunks=100000 #interval-us=2000",
        &json!({"stop": "w3 w", "stream": true, "stream_options": {"include_usage": true}}),
    );
    let answer = gateway.post("/v1/chat/completions", &body.to_string());
    let text: String = answer
        .body
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok())
        .filter_map(|chunk| Some(chunk["choices"][0]["delta"]["content"].as_str()?.to_owned()))
        .collect();
    assert_eq!(text, "w0 w1 w2 ");
    assert!(
        answer.body.contains("\"finish_reason\":\"stop\"") && answer.body.contains("\"usage\":{"),
        "{answer:?}"
    );
    assert_eq!(gateway.record("completed")["finish_reason"], "stop");
    gateway.backend("qwen", "ready");
}

#[test]
fn a_tool_choice_that_binds_is_held_to_also_for_the_clients_own_tools() {
    let calls = "[[profile]]\nname = \"calls\"\nmodel = \"./model\"\nenv = { FAKE_TOOL = \"1\" }\n";
    let gateway = Gateway::start(&format!("{PROFILES}{calls}"));
    let tool = json!({"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}});
    let with = |model: &str, choice: Value| {
        let body = chat("hi", &json!({"model": model, "tools": [tool], "tool_choice": choice}));
        gateway.post("/v1/chat/completions", &body.to_string())
    };
    let called = with("calls", json!("required"));
    assert_eq!(
        called.json()["choices"][0]["message"]["tool_calls"][0]["function"]["name"],
        "look",
        "{called:?}"
    );
    let named = json!({"type": "function", "function": {"name": "look"}});
    assert_eq!(with("calls", named).json()["choices"][0]["finish_reason"], "tool_calls");
    let refused = with("qwen", json!("required"));
    assert_eq!(refused.error(), (502, "tool_choice_unsatisfied".into()), "{refused:?}");
    let none = with("qwen", json!("none"));
    assert_eq!(none.json()["choices"][0]["finish_reason"], "stop", "{none:?}");
}
