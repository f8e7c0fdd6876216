//! OpenAI's Responses API, as its wire format is.

use serde_json::{Value, json};

use crate::fake;
use crate::support::http::Answer;
use crate::support::{Gateway, PROFILES};

const TOOLED: &str = r#"
[[profile]]
name = "tooled"
model = "./model"
"#;

/// A response of the scripted model, which reads what it has to do in the prompt.
fn ask(gateway: &Gateway, input: Value, more: &Value) -> Answer {
    let mut body = json!({"model": "qwen", "input": input});
    for (key, value) in more.as_object().unwrap() {
        body[key] = value.clone();
    }
    gateway.post("/v1/responses", &body.to_string())
}

fn events(answer: &Answer) -> Vec<Value> {
    let data = answer.body.split("\n\n").filter_map(|event| event.trim_start().split_once("\ndata: "));
    data.map(|(_, data)| serde_json::from_str(data).unwrap()).collect()
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap()).collect()
}

/// The messages of the newest chat that the backend has seen.
fn last_messages(gateway: &Gateway, profile: &str, requests: usize) -> Value {
    let seen = fake::seen(&gateway.backend_address(profile), &format!("requests={requests}&wait-ms=5000"));
    let last = seen["requests"].as_array().unwrap().last().unwrap()["body"].clone();
    let last: Value = last.as_str().map_or(last.clone(), |text| serde_json::from_str(text).unwrap());
    last["messages"].clone()
}

#[test]
fn a_response_is_answered_by_the_profile_kept_and_gone_on_from() {
    let gateway = Gateway::start(PROFILES);
    let answer =
        ask(&gateway, json!("#chunks=3"), &json!({"instructions": "Be brief.", "metadata": {"a": "b"}}));
    assert_eq!(answer.status, 200, "{answer:?}");
    let first = answer.json();
    assert_eq!(
        (&first["object"], &first["status"], &first["model"]),
        (&json!("response"), &json!("completed"), &json!("qwen"))
    );
    assert_eq!(first["output"][0]["content"][0]["text"], "w0 w1 w2");
    assert_eq!((&first["usage"]["output_tokens"], &first["metadata"]["a"]), (&json!(3), &json!("b")));
    let record = gateway.record("completed");
    assert_eq!((&record["endpoint"], &record["completion_tokens"]), (&json!("/v1/responses"), &json!(3)));

    let path = format!("/v1/responses/{}", first["id"].as_str().unwrap());
    assert_eq!(gateway.get(&path).json(), first);
    let second = ask(&gateway, json!("#chunks=1"), &json!({"previous_response_id": first["id"]}));
    assert_eq!(second.status, 200, "{second:?}");
    assert_eq!(
        last_messages(&gateway, "qwen", 2),
        json!([
            {"role": "user", "content": "#chunks=3"},
            {"role": "assistant", "content": "w0 w1 w2"},
            {"role": "user", "content": "#chunks=1"},
        ]),
        "instructions are not carried over"
    );
    let items = gateway.get(&format!("{path}/input_items")).json();
    assert_eq!(
        (&items["data"][0]["content"][0]["text"], &items["has_more"]),
        (&json!("#chunks=3"), &json!(false))
    );

    let cancelled = gateway.post(&format!("{path}/cancel"), "");
    assert_eq!(cancelled.status, 400, "{cancelled:?}");
    let deleted = gateway.call("DELETE", &path, "", None);
    assert_eq!(deleted.json(), json!({"id": first["id"], "object": "response", "deleted": true}));
    assert_eq!(gateway.get(&path).status, 404);
    let broken = ask(&gateway, json!("x"), &json!({"previous_response_id": second.json()["id"]}));
    assert_eq!(broken.error(), (400, "previous_response_not_found".to_owned()), "{broken:?}");
    assert!(broken.body.contains("no longer kept"), "{broken:?}");
}

#[test]
fn what_is_kept_outlives_a_crash_and_what_is_not_to_be_kept_is_not() {
    let gateway = Gateway::start(PROFILES);
    let kept = ask(&gateway, json!("#chunks=1"), &json!({})).json();
    let not = ask(&gateway, json!("#chunks=1"), &json!({"store": false})).json();
    assert_eq!(not["store"], false);
    let gateway = Gateway::serve(gateway.crash(), &[]);
    let path = |response: &Value| format!("/v1/responses/{}", response["id"].as_str().unwrap());
    assert_eq!(gateway.get(&path(&kept)).json(), kept);
    assert_eq!(gateway.get(&path(&not)).status, 404);
}

#[test]
fn a_stream_comes_as_openais_events_and_is_kept_before_its_end_is_told() {
    let gateway = Gateway::start(PROFILES);
    let answer = ask(&gateway, json!("#think=2 #chunks=2"), &json!({"stream": true}));
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.header("content-type").unwrap().starts_with("text/event-stream"));
    let events = events(&answer);
    let kinds = kinds(&events);
    assert_eq!(kinds[..2], ["response.created", "response.in_progress"]);
    assert_eq!(kinds.last(), Some(&"response.completed"));
    assert_eq!(kinds.iter().filter(|kind| **kind == "response.output_text.delta").count(), 2);
    assert!(kinds.contains(&"response.reasoning_text.delta"), "{kinds:?}");
    assert!(events.iter().enumerate().all(|(number, event)| event["sequence_number"] == number));
    assert!(!answer.body.contains("[DONE]"));
    let response = &events.last().unwrap()["response"];
    let path = format!("/v1/responses/{}", response["id"].as_str().unwrap());
    assert_eq!(gateway.get(&path).json(), *response);
    let cut = ask(&gateway, json!("#chunks=9"), &json!({"max_output_tokens": 2})).json();
    assert_eq!(cut["incomplete_details"]["reason"], "max_output_tokens");
}

#[test]
fn the_gateways_tools_run_within_a_response() {
    let gateway = Gateway::start(TOOLED);
    let ours = json!([{"type": "mcp", "server_label": "mlx-gateway", "allowed_tools": ["calculator"], "require_approval": "never"}]);
    let prompt = json!("#tool #args={\"expression\":\"6*7\"}");
    for stream in [false, true] {
        let wish = json!({"model": "tooled", "tools": ours, "stream": stream});
        let answer = ask(&gateway, prompt.clone(), &wish);
        assert_eq!(answer.status, 200, "{answer:?}");
        let response =
            if stream { events(&answer).pop().unwrap()["response"].clone() } else { answer.json() };
        let output = response["output"].as_array().unwrap();
        let kinds = kinds(output);
        assert_eq!(kinds, ["mcp_list_tools", "mcp_call", "message"], "{response}");
        assert_eq!(output[0]["tools"][0]["name"], "calculator");
        assert_eq!((&output[1]["name"], &output[1]["output"]), (&json!("calculator"), &json!("42")));
        assert_eq!(output[2]["content"][0]["text"], "The tool said: 42");
        let record = gateway.record("completed");
        assert_eq!(record["attempts"].as_array().unwrap().len(), 3, "{record}");
        assert_eq!(response["usage"]["output_tokens"], record["completion_tokens"]);
    }
    let next = json!({"model": "tooled", "tools": ours, "previous_response_id": "nope"});
    assert_eq!(ask(&gateway, json!("x"), &next).error(), (400, "previous_response_not_found".to_owned()));
}

#[test]
fn a_round_that_calls_both_sides_tools_goes_on_with_all_results() {
    let gateway = Gateway::start(TOOLED);
    let tools = json!([
        {"type": "mcp", "server_label": "mlx-gateway"},
        {"type": "function", "name": "mine", "parameters": {"type": "object"}},
    ]);
    let prompt = json!("#call=calculator,mine #args={\"expression\":\"6*7\"}");
    let first = ask(&gateway, prompt, &json!({"model": "tooled", "tools": tools})).json();
    let output = first["output"].as_array().unwrap();
    assert_eq!(kinds(output), ["mcp_list_tools", "mcp_call", "function_call"], "{first}");
    let result =
        json!([{"type": "function_call_output", "call_id": output[2]["call_id"], "output": "mine_says"}]);
    let wish = json!({"model": "tooled", "tools": tools, "previous_response_id": first["id"]});
    let second = ask(&gateway, result, &wish).json();
    assert_eq!(second["output"][0]["content"][0]["text"], "The tool said: mine_says", "{second}");
    let messages = last_messages(&gateway, "tooled", 2);
    let results: Vec<&Value> =
        messages.as_array().unwrap()[2..].iter().map(|message| &message["content"]).collect();
    assert_eq!(results, ["42", "mine_says"], "{messages}");
    let calls = messages[1]["tool_calls"].as_array().unwrap();
    assert_eq!(calls.len(), 2, "{messages}");
}

#[test]
fn what_is_wrong_is_told_in_openais_shape_and_recorded() {
    let gateway = Gateway::start(PROFILES);
    let told = |body: &str| {
        let answer = gateway.post("/v1/responses", body);
        let error = answer.json()["error"].clone();
        assert!(error["type"].is_string() && error["message"].is_string(), "{answer:?}");
        (answer.status, error["param"].clone(), error["code"].clone())
    };
    assert_eq!(
        told(r#"{"model":"qwen","input":"x","colour":1}"#),
        (400, json!("colour"), json!("unknown_parameter"))
    );
    assert_eq!(gateway.record("refused")["endpoint"], "/v1/responses");
    assert_eq!(told(r#"{"input":"x"}"#), (400, json!("model"), json!("invalid_request_error")));
    assert_eq!(told(r#"{"model":"nope","input":"x"}"#), (404, json!("model"), json!("model_not_found")));
    assert_eq!(told(r#"{"model":"qwen","model":"qwen","input":"x"}"#).0, 400);
    assert_eq!(told("{").0, 400);
    let image = json!({"type": "input_image", "image_url": "file:///etc/passwd"});
    let media = ask(&gateway, json!([{"role": "user", "content": [image]}]), &json!({}));
    assert_eq!(media.status, 400, "media are inline: {media:?}");
    assert_eq!(ask(&gateway, json!("#error=429"), &json!({})).status, 429);
    let failed = ask(&gateway, json!("#stream-error=500 #stream-error-after=1"), &json!({"stream": true}));
    let last = events(&failed).pop().unwrap();
    assert_eq!((&last["type"], &last["response"]["status"]), (&json!("response.failed"), &json!("failed")));
    let whole = ask(&gateway, json!("#stream-error=500 #stream-error-after=1"), &json!({}));
    assert_eq!(whole.status, 502, "{whole:?}");
}

#[test]
fn nobody_sees_or_goes_on_from_anothers_response() {
    let gateway = Gateway::start(PROFILES);
    let admin = gateway.admin();
    let (ada, _) = gateway.user(&admin, "ada@example.com");
    let (bob, _) = gateway.user(&admin, "bob@example.com");
    let made = gateway
        .as_bearer(&ada, "POST", "/v1/responses", Some(&json!({"model": "qwen", "input": "#chunks=1"})))
        .json();
    let path = format!("/v1/responses/{}", made["id"].as_str().unwrap());
    for other in [&bob, &admin] {
        for (method, path) in [
            ("GET", path.clone()),
            ("DELETE", path.clone()),
            ("POST", format!("{path}/cancel")),
            ("GET", format!("{path}/input_items")),
        ] {
            assert_eq!(gateway.as_bearer(other, method, &path, None).status, 404, "{method} {path}");
        }
        let next = json!({"model": "qwen", "input": "x", "previous_response_id": made["id"]});
        assert_eq!(gateway.as_bearer(other, "POST", "/v1/responses", Some(&next)).status, 400);
        let reference = json!({"type": "item_reference", "id": made["output"][0]["id"]});
        let by_reference = json!({"model": "qwen", "input": [reference, {"role": "user", "content": "x"}]});
        assert_eq!(gateway.as_bearer(other, "POST", "/v1/responses", Some(&by_reference)).status, 400);
    }
    let reference = json!({"type": "item_reference", "id": made["output"][0]["id"]});
    let by_reference =
        json!({"model": "qwen", "input": [reference, {"role": "user", "content": "#chunks=1"}]});
    assert_eq!(gateway.as_bearer(&ada, "POST", "/v1/responses", Some(&by_reference)).status, 200);
    assert_eq!(gateway.as_bearer(&ada, "GET", &path, None).status, 200);
}

#[test]
fn structured_answers_are_held_until_they_fit() {
    let gateway = Gateway::start(PROFILES);
    let schema = json!({"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]});
    let text = json!({"format": {"type": "json_schema", "name": "r", "schema": schema}});
    let fits = ask(&gateway, json!("#text={\"ok\":true}"), &json!({"text": text}));
    assert_eq!(fits.json()["output"][0]["content"][0]["text"], "{\"ok\":true}", "{fits:?}");
    let not = ask(&gateway, json!("#text={\"ok\":1}"), &json!({"text": text}));
    assert_eq!(not.error(), (502, "structured_output_invalid".to_owned()), "{not:?}");
}

#[test]
fn tokens_are_counted_without_asking_a_model() {
    let gateway = Gateway::start(PROFILES);
    let body = json!({"model": "qwen", "input": "word ".repeat(400)});
    let counted = gateway.post("/v1/responses/input_tokens", &body.to_string()).json();
    assert_eq!(counted["object"], "response.input_tokens");
    assert!((400..800).contains(&counted["input_tokens"].as_u64().unwrap()), "{counted}");
    assert_eq!(gateway.get("/api/v1/servers").json()["servers"][0]["state"], "stopped");
}
