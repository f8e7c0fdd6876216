//! Chats that use the gateway's tools.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::fake;
use crate::support::http::Answer;
use crate::support::{Gateway, PROFILES, wait_for, weather};

const TOOLED: &str = r#"
[[profile]]
name = "tooled"
model = "./model"
tools = ["calculator"]
"#;

fn chat(gateway: &Gateway, headers: &str, body: Value) -> Answer {
    gateway.post_with("/v1/chat/completions", headers, &body.to_string())
}

fn body(model: &str, prompt: &str, stream: bool) -> Value {
    json!({"model": model, "stream": stream, "messages": [{"role": "user", "content": prompt}]})
}

const SUM: &str = "#tool #args={\"expression\":\"6*7\"}";

#[test]
fn a_profiles_tool_is_called_and_its_result_goes_back() {
    let gateway = Gateway::start(TOOLED);
    let answer = chat(&gateway, "", body("tooled", SUM, false));
    assert_eq!(answer.status, 200, "{answer:?}");
    let json = answer.json();
    assert_eq!(json["choices"][0]["message"]["content"], "The tool said: 42");
    assert_eq!((&json["choices"][0]["finish_reason"], &json["model"]), (&json!("stop"), &json!("tooled")));
    let record = gateway.record("completed");
    let attempts = record["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 3, "{record}");
    assert_eq!(
        (&attempts[1]["backend"], &attempts[1]["status"]),
        (&json!("tool:calculator"), &json!("completed"))
    );
    assert_eq!(json["usage"]["completion_tokens"], record["completion_tokens"]);
    let seen = fake::seen(&gateway.backend_address("tooled"), "requests=2&wait-ms=5000");
    let text = seen["requests"].as_array().unwrap().last().unwrap()["body"].to_string();
    assert!(text.contains("tool_call_id") && text.contains("42"), "{text}");
}

#[test]
fn a_stream_has_one_beginning_and_one_end_however_many_rounds() {
    let gateway = Gateway::start(TOOLED);
    let answer = chat(&gateway, "", body("tooled", SUM, true));
    assert_eq!(answer.body.matches("\"role\":\"assistant\"").count(), 1, "{answer:?}");
    assert_eq!(answer.body.matches("\"finish_reason\":\"stop\"").count(), 1, "{answer:?}");
    assert_eq!(answer.body.matches("[DONE]").count(), 1);
    assert!(answer.body.contains(": running calculator") && answer.body.contains("42"), "{answer:?}");
    assert!(!answer.body.contains("tool_calls"), "{answer:?}");
    assert!(answer.header("content-type").unwrap().starts_with("text/event-stream"));
}

#[test]
fn a_request_asks_for_tools_by_header_or_entry_and_may_refuse_them() {
    let gateway = Gateway::start(&format!("{PROFILES}{TOOLED}"));
    let by_header = chat(&gateway, "x-mlx-gateway-tools: calculator\r\n", body("qwen", SUM, false));
    assert_eq!(by_header.json()["choices"][0]["message"]["content"], "The tool said: 42");
    let mut with_entry = body("qwen", SUM, false);
    with_entry["tools"] =
        json!([{"type": "mcp", "server_label": "mlx-gateway", "allowed_tools": ["calculator"]}]);
    assert_eq!(
        chat(&gateway, "", with_entry).json()["choices"][0]["message"]["content"],
        "The tool said: 42"
    );
    let refused = chat(&gateway, "x-mlx-gateway-tools: none\r\n", body("tooled", "hi", false));
    assert_eq!(refused.status, 200);
    let unknown = chat(&gateway, "x-mlx-gateway-tools: nothing\r\n", body("qwen", "hi", false));
    assert_eq!(unknown.status, 400, "{unknown:?}");
    let plain = chat(&gateway, "", body("qwen", "hi", false)).json();
    assert!(plain["choices"][0]["message"]["content"].as_str().unwrap().starts_with("Hello"), "{plain}");
}

#[test]
fn a_model_that_goes_wrong_reads_why_and_the_client_gets_an_end() {
    let gateway = Gateway::start(TOOLED);
    let unknown = chat(&gateway, "", body("tooled", "#call=nothing", false)).json();
    let said = unknown["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(said.contains("there is no tool \"nothing\""), "{unknown}");
    let broken = chat(&gateway, "", body("tooled", "#tool #args={\"expression\":", false)).json();
    assert!(broken["choices"][0]["message"]["content"].as_str().unwrap().contains("not JSON"), "{broken}");
    let endless = chat(&gateway, "", body("tooled", "#tool=always #args={\"expression\":\"1\"}", false));
    assert_eq!(endless.status, 200, "{endless:?}");
    let seen = fake::seen(&gateway.backend_address("tooled"), "requests=12&wait-ms=5000");
    assert_eq!(seen["requests"].as_array().unwrap().len(), 2 + 2 + 8);
}

#[test]
fn the_clients_own_tools_go_to_the_client_and_its_choice_binds() {
    let gateway = Gateway::start(TOOLED);
    let mine = json!([{"type": "function", "function": {"name": "mine", "parameters": {"type": "object"}}}]);
    let mut own = body("tooled", "#tool", false);
    own["tools"] = mine.clone();
    let json = chat(&gateway, "", own.clone()).json();
    assert_eq!(json["choices"][0]["finish_reason"], "tool_calls", "{json}");
    assert_eq!(json["choices"][0]["message"]["tool_calls"][0]["function"]["name"], "mine");
    let mut required = body("tooled", "hi", false);
    required["tool_choice"] = json!("required");
    let answer = chat(&gateway, "", required);
    assert_eq!(answer.error(), (502, "tool_choice_unsatisfied".to_owned()), "{answer:?}");
    own["tool_choice"] = json!("none");
    own["messages"][0]["content"] = json!("hi");
    let none = chat(&gateway, "", own).json();
    assert_eq!(none["choices"][0]["finish_reason"], "stop", "{none}");
    let seen = fake::seen(&gateway.backend_address("tooled"), "requests=4&wait-ms=5000");
    let last = seen["requests"].as_array().unwrap().last().unwrap()["body"].to_string();
    assert!(!last.contains("\\\"tools\\\"") && !last.contains("\"tools\""), "{last}");
}

#[test]
fn a_round_may_call_the_clients_and_the_gateways_tools_at_once() {
    let gateway = Gateway::start(TOOLED);
    for stream in [false, true] {
        let mut both =
            body("tooled", "#call=calculator,mine,calculator #args={\"expression\":\"6*7\"}", false);
        both["tools"] =
            json!([{"type": "function", "function": {"name": "mine", "parameters": {"type": "object"}}}]);
        let first = chat(&gateway, "", both.clone()).json();
        let message = first["choices"][0]["message"].clone();
        assert_eq!(first["choices"][0]["finish_reason"], "tool_calls", "{first}");
        assert_eq!(message["tool_calls"].as_array().unwrap().len(), 1, "{first}");
        assert_eq!(message["tool_calls"][0]["function"]["name"], "mine");
        let attempts = gateway.record("completed")["attempts"].clone();
        assert_eq!(attempts[1]["backend"], "tool:calculator", "{attempts}");
        // The client comes back with its own result alone; the model reads all three.
        let result =
            json!({"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": "mine_says"});
        both["messages"].as_array_mut().unwrap().extend([message, result]);
        both["stream"] = stream.into();
        let second = chat(&gateway, "", both);
        assert!(second.status == 200 && second.body.contains("mine_says"), "{second:?}");
        let seen = fake::seen(&gateway.backend_address("tooled"), "requests=2&wait-ms=5000");
        let last = seen["requests"].as_array().unwrap().last().unwrap()["body"].clone();
        let last: Value = last.as_str().map_or(last.clone(), |text| serde_json::from_str(text).unwrap());
        let told = last["messages"].as_array().unwrap();
        let calls = told[1]["tool_calls"].as_array().unwrap();
        let names: Vec<_> = calls.iter().map(|call| &call["function"]["name"]).collect();
        assert_eq!(names, ["calculator", "calculator", "mine"], "{last}");
        let results: Vec<_> = told[2..].iter().map(|message| &message["content"]).collect();
        assert_eq!(results, ["42", "42", "mine_says"], "{last}");
        for (call, result) in calls.iter().zip(&told[2..]) {
            assert_eq!(call["id"], result["tool_call_id"], "{last}");
        }
    }
}

#[test]
fn what_a_model_thought_before_a_call_is_there_when_it_goes_on() {
    let gateway = Gateway::start(TOOLED);
    let prompt = format!("#think=3 {SUM}");
    let answer = chat(&gateway, "", body("tooled", &prompt, true));
    assert!(answer.body.contains("reasoning_content") && answer.body.contains("42"), "{answer:?}");
    let seen = fake::seen(&gateway.backend_address("tooled"), "requests=2&wait-ms=5000");
    let last = seen["requests"].as_array().unwrap().last().unwrap()["body"].to_string();
    assert!(last.contains("reasoning_content") && last.contains("t0 t1 t2"), "{last}");
}

#[test]
fn what_fails_before_the_first_byte_is_told_by_its_status() {
    let gateway = Gateway::start(TOOLED);
    let answer = chat(&gateway, "", body("tooled", "#error=429", true));
    assert_eq!(answer.status, 429, "{answer:?}");
    assert_eq!(gateway.record("failed")["http_status"], 429);
}

#[test]
fn the_weather_comes_from_a_service_with_the_same_wire_format() {
    let folder = std::sync::Arc::new(tempfile::tempdir().unwrap());
    weather::put_plugin(folder.path());
    let profile = TOOLED.replace("calculator", "get_weather");
    let gateway = Gateway::start_in(folder, &profile, &[]);
    let refused = gateway.post("/api/v1/tools/get_weather/call", "{\"arguments\":{\"location\":\"Paris\"}}");
    assert_eq!(refused.status, 403, "{refused:?}");
    let granted = gateway.post("/api/v1/plugins/get_weather/grant", "{}");
    assert_eq!((granted.status, &granted.json()["state"]), (200, &json!("ready")));
    let answer = chat(&gateway, "", body("tooled", "#tool", false)).json();
    let said = answer["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(said.contains("Paris, Île-de-France, France: 7.5 °C, overcast"), "{answer}");
}

#[test]
fn somebody_who_may_not_use_a_tool_gets_an_answer_without_it() {
    let gateway = Gateway::start(TOOLED);
    let admin = gateway.admin();
    let (ada, id) = gateway.user(&admin, "ada@example.com");
    let ask = |headers: &str| {
        let headers = format!("authorization: Bearer {ada}\r\n{headers}");
        chat(&gateway, &headers, body("tooled", SUM, false))
    };
    let said = |answer: &Answer| answer.json()["choices"][0]["message"]["content"].clone();
    assert_eq!(said(&ask("")), "The tool said: 42");
    let path = format!("/api/v1/users/{id}/tools");
    let restricted = gateway.as_bearer(&admin, "POST", &path, Some(&json!({"tools": ["get_weather"]})));
    assert_eq!(restricted.status, 200, "{restricted:?}");
    let asked = ask("x-mlx-gateway-tools: calculator\r\n");
    assert_eq!(asked.status, 400, "{asked:?}");
    let answer = ask("");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_ne!(said(&answer), "The tool said: 42");
    let requests = gateway.as_bearer(&admin, "GET", "/api/v1/requests?limit=1", None).json();
    let warnings = requests["requests"][0]["warnings"].to_string();
    assert!(warnings.contains("the tool \\\"calculator\\\" of the profile is not available"), "{requests}");
}

/// Returns the newest record with all its attempts.
fn whole_record(gateway: &Gateway, status: &str) -> Value {
    let id = gateway.record(status)["id"].as_str().unwrap().to_owned();
    gateway.get(&format!("/api/v1/requests/{id}")).json()
}

fn sum(record: &Value, figure: &str) -> u64 {
    record["attempts"].as_array().unwrap().iter().filter_map(|attempt| attempt[figure].as_u64()).sum()
}

#[test]
fn attempts_of_a_tool_chat_are_numbered_by_position_after_a_retry() {
    let impatient = TOOLED.replace("tools =", "timeouts = { idle = \"1s\", first_token = \"60s\" }\ntools =");
    let gateway = Gateway::start(&impatient);
    assert_eq!(chat(&gateway, "", body("tooled", "#chunks=1", false)).status, 200);
    let pid = gateway.backend("tooled", "ready")["pid"].as_i64().unwrap();
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGSTOP).unwrap();
    assert_eq!(chat(&gateway, "", body("tooled", SUM, false)).status, 200);
    let record = whole_record(&gateway, "completed");
    let attempts = record["attempts"].as_array().unwrap();
    let numbers: Vec<u64> = attempts.iter().map(|attempt| attempt["number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [0, 1, 2, 3], "{record}");
    assert_eq!(
        (&attempts[0]["status"], &attempts[2]["backend"]),
        (&json!("failed"), &json!("tool:calculator"))
    );
}

#[test]
fn usage_of_finished_rounds_counts_when_a_later_round_fails() {
    let gateway = Gateway::start(TOOLED);
    let admin = gateway.admin();
    let (key, id) = gateway.key(&admin, &json!({"name": "k", "tokens_per_day": 1_500}));
    let headers = format!("authorization: Bearer {key}\r\n");
    let prompt = format!("#prompt-tokens=100 #then-close-after=1 {SUM}");
    let mut ask = body("tooled", &prompt, true);
    ask["max_tokens"] = json!(20);
    let mut used = 0;
    loop {
        let answer = chat(&gateway, &headers, ask.clone());
        if answer.status == 429 {
            assert!(answer.header("retry-after").is_some(), "{answer:?}");
            break;
        }
        // The budget may also be too small for the second round alone.
        let is_refused = answer.body.contains("rate_limit_exceeded");
        assert!(is_refused || answer.body.contains("backend_error"), "{answer:?}");
        let get = |path: &str| gateway.as_bearer(&admin, "GET", path, None).json();
        let record = wait_for("the record", || {
            let newest = get("/api/v1/requests?limit=1")["requests"][0].clone();
            let has_ended = newest["status"] == "failed" || newest["status"] == "refused";
            let id = newest["id"].as_str().filter(|_| has_ended)?;
            Some(get(&format!("/api/v1/requests/{id}")))
        });
        let attempts = record["attempts"].as_array().unwrap();
        assert_eq!(attempts.len(), if is_refused { 2 } else { 3 }, "{record}");
        assert_eq!(attempts[0]["prompt_tokens"], 100, "{record}");
        for figure in ["prompt_tokens", "completion_tokens"] {
            assert_eq!(record[figure], sum(&record, figure), "{record}");
        }
        used += record["total_tokens"].as_u64().unwrap();
        assert!(used <= 1_500, "{used}");
    }
    assert!(used > 1_500 / 2, "some were served: {used}");
    let keys = gateway.as_bearer(&admin, "GET", "/api/v1/keys", None).json();
    let mine = keys["keys"].as_array().unwrap().iter().find(|one| one["id"] == id).unwrap();
    assert_eq!(mine["used_tokens_day"], used, "{mine}");
}

#[test]
fn every_answer_to_a_limited_key_has_its_rate_limit_status() {
    let gateway = Gateway::start(&format!("{PROFILES}{TOOLED}"));
    let admin = gateway.admin();
    let limits = json!({"name": "k", "requests_per_minute": 600, "tokens_per_minute": 600_000});
    let (key, _) = gateway.key(&admin, &limits);
    let headers = format!("authorization: Bearer {key}\r\n");
    let with = |model: &str, prompt: &str, more: Value| {
        let mut body = body(model, prompt, false);
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let object = json!({"response_format": {"type": "json_object"}});
    let requests = [
        (200, with("qwen", "hi", json!({}))),
        (200, with("tooled", SUM, json!({}))),
        (200, with("qwen", "hi", json!({"n": 2}))),
        (200, with("qwen", "#text={}", object.clone())),
        (502, with("qwen", "#text=no", object)),
        (429, with("tooled", "#error=429", json!({}))),
        (502, with("qwen", "#close", json!({}))),
        (400, with("qwen", "hi", json!({"n": 99}))),
        (400, with("qwen", "hi", json!({"temperature": "hot"}))),
        (404, with("nothing", "hi", json!({}))),
    ];
    for (status, request) in requests {
        for stream in [false, true] {
            let mut request = request.clone();
            request["stream"] = stream.into();
            let answer = chat(&gateway, &headers, request.clone());
            assert_eq!(answer.status, status, "{request} {answer:?}");
            for rate in ["requests", "tokens"] {
                for part in ["limit", "remaining", "reset"] {
                    let name = format!("x-ratelimit-{part}-{rate}");
                    assert!(answer.header(&name).is_some(), "{name} of {request}: {answer:?}");
                }
            }
        }
    }
}

#[test]
fn a_request_that_is_cancelled_before_its_usage_has_its_prompt_estimated() {
    let gateway = Gateway::start(TOOLED);
    for prompt in ["#chunks=5 #gate-after=1", "#chunks=5 #gate-after=1 #tool"] {
        let mut stream = gateway.stream("tooled", prompt);
        stream.next().unwrap();
        wait_for("the request to run", || {
            let running = gateway.get("/api/v1/requests?status=running").json();
            let id = running["requests"][0]["id"].as_str()?.to_owned();
            let cancelled = gateway.post(&format!("/api/v1/requests/{id}/cancel"), "{}");
            (cancelled.status < 300).then_some(())
        });
        while stream.next().is_some() {}
        let record = whole_record(&gateway, "cancelled");
        assert!(record["prompt_tokens"].as_u64().is_some_and(|tokens| tokens > 0), "{record}");
        assert_eq!(record["estimated"], true, "{record}");
    }
}
