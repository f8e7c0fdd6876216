//! Responses that are made in the background: the client may leave, come back, and change its mind.

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::fake;
use crate::support::{Gateway, PROFILES, wait_for};

/// Begins one that waits at its second word.
fn begin(gateway: &Gateway, more: &Value) -> Value {
    let mut body = json!({"model": "qwen", "input": "#chunks=4 #gate-after=2", "background": true});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let answer = gateway.post("/v1/responses", &body.to_string());
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

fn path(response: &Value) -> String {
    format!("/v1/responses/{}", response["id"].as_str().unwrap())
}

fn text(response: &Value) -> &str {
    response["output"][0]["content"][0]["text"].as_str().unwrap_or_default()
}

/// The response once it has that status.
fn once(gateway: &Gateway, response: &Value, status: &str) -> Value {
    wait_for(&format!("a response that is {status}"), || {
        let now = gateway.get(&path(response)).json();
        (now["status"] == status).then_some(now)
    })
}

/// What a stream of events tells: numbers and names.
fn heard(event: &str) -> Option<(u64, String)> {
    let data: Value =
        serde_json::from_str(event.lines().find_map(|line| line.strip_prefix("data: "))?).unwrap();
    Some((data["sequence_number"].as_u64().unwrap(), data["type"].as_str().unwrap().to_owned()))
}

/// The numbers and names of all events from `next` on, until the stream ends.
fn rest(gateway: &Gateway, response: &Value, after: u64) -> Vec<(u64, String)> {
    let asked = format!("{}?stream=true&starting_after={after}", path(response));
    let answer = gateway.get(&asked);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body.split("\n\n").filter_map(heard).collect()
}

fn ended(gateway: &Gateway) -> Vec<Value> {
    gateway.get("/api/v1/requests?limit=10").json()["requests"].as_array().unwrap().clone()
}

#[test]
fn it_is_made_while_its_client_is_away_and_shows_how_far_it_is() {
    let gateway = Gateway::start(PROFILES);
    let begun = begin(&gateway, &json!({"metadata": {"a": "b"}}));
    assert_eq!(
        (&begun["status"], &begun["background"], &begun["output"]),
        (&json!("queued"), &json!(true), &json!([]))
    );
    let half = once(&gateway, &begun, "in_progress");
    assert_eq!((&half["id"], &half["metadata"]), (&begun["id"], &json!({"a": "b"})));
    let early = gateway.post(
        "/v1/responses",
        &json!({"model": "qwen", "input": "x", "previous_response_id": begun["id"]}).to_string(),
    );
    assert!(early.status == 400 && early.body.contains("still being made"), "{early:?}");
    let backend = gateway.backend_address("qwen");
    fake::exchange(&backend, "POST /__gate", "open");
    let whole = once(&gateway, &begun, "completed");
    assert_eq!((text(&whole), &whole["usage"]["output_tokens"]), ("w0 w1 w2 w3", &json!(4)));
    // One record for it, behind the one for what was refused.
    let records = wait_for("its record", || {
        let records = ended(&gateway);
        (records.get(1)?["status"] == "completed").then_some(records)
    });
    assert_eq!(records.len(), 2);
    let record = &records[1];
    assert_eq!((&record["endpoint"], &record["completion_tokens"]), (&json!("/v1/responses"), &json!(4)));

    let all = rest(&gateway, &begun, 1);
    assert!(all.iter().map(|(number, _)| *number).eq(2..2 + all.len() as u64), "{all:?}");
    assert_eq!(
        (all[0].1.as_str(), all.last().unwrap().1.as_str()),
        ("response.in_progress", "response.completed")
    );
    let next = json!({"model": "qwen", "input": "#chunks=1", "previous_response_id": begun["id"]});
    assert_eq!(gateway.post("/v1/responses", &next.to_string()).status, 200);
    assert_eq!(gateway.post(&format!("{}/cancel", path(&begun)), "").json()["status"], "completed");
    let items = gateway.get(&format!("{}/input_items", path(&begun))).json();
    assert_eq!(items["data"].as_array().unwrap().len(), 1);
}

#[test]
fn its_stream_can_be_left_and_taken_up_again_where_it_was() {
    let gateway = Gateway::start(PROFILES);
    let body =
        json!({"model": "qwen", "input": "#chunks=4 #gate-after=2", "background": true, "stream": true});
    let mut stream = gateway.open(&gateway.request("/v1/responses", "", &body.to_string()));
    let first = stream.next().unwrap();
    let data = first.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
    let response = serde_json::from_str::<Value>(data).unwrap()["response"].clone();
    let mut events = vec![heard(&first).unwrap()];
    while !events.last().unwrap().1.ends_with("output_text.delta") {
        events.extend(stream.next().and_then(|event| heard(&event)));
    }
    drop(stream);
    let backend = gateway.backend_address("qwen");
    fake::exchange(&backend, "POST /__gate", "open");
    let after = events.last().unwrap().0;
    events.extend(rest(&gateway, &response, after));
    assert!(events.iter().map(|(number, _)| *number).eq(0..events.len() as u64), "{events:?}");
    let names: Vec<&str> = events.iter().map(|(_, name)| name.as_str()).collect();
    assert_eq!(names[..3], ["response.created", "response.queued", "response.in_progress"]);
    assert_eq!(names.last(), Some(&"response.completed"));
    assert_eq!(names.iter().filter(|name| name.ends_with("output_text.delta")).count(), 4);
    assert_eq!(gateway.record("completed")["endpoint"], "/v1/responses");
    assert_eq!(ended(&gateway).len(), 1);
}

#[test]
fn it_can_be_cancelled_and_deleted_while_it_is_made() {
    let gateway = Gateway::start(PROFILES);
    let begun = begin(&gateway, &json!({}));
    once(&gateway, &begun, "in_progress");
    let cancelled = gateway.post(&format!("{}/cancel", path(&begun)), "").json();
    assert_eq!((&cancelled["status"], &cancelled["id"]), (&json!("cancelled"), &begun["id"]));
    assert_eq!(gateway.get(&path(&begun)).json()["status"], "cancelled");
    assert_eq!(rest(&gateway, &begun, 2).last().unwrap().1, "response.incomplete");
    gateway.record("cancelled");

    let other = begin(&gateway, &json!({}));
    once(&gateway, &other, "in_progress");
    let deleted = gateway.send(&format!(
        "DELETE {} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n",
        path(&other),
        gateway.address
    ));
    assert_eq!(deleted.status, 200, "{deleted:?}");
    assert_eq!(gateway.get(&path(&other)).status, 404);
    wait_for("both records", || ended(&gateway).iter().all(|one| one["status"] == "cancelled").then_some(()));
    assert_eq!(ended(&gateway).len(), 2);
    let plain =
        gateway.post("/v1/responses", r#"{"model":"qwen","input":"\#chunks=1"}"#.replace('\\', "").as_str());
    let refused = gateway.post(&format!("{}/cancel", path(&plain.json())), "");
    assert!(refused.status == 400 && refused.body.contains("in the background"), "{refused:?}");
    let streamed = gateway.get(&format!("{}?stream=true", path(&plain.json())));
    assert!(streamed.status == 400 && streamed.body.contains("no longer held"), "{streamed:?}");
}

#[test]
fn one_that_fails_says_why() {
    let gateway = Gateway::start(PROFILES);
    let begun = begin(&gateway, &json!({"input": "#stream-error=oops"}));
    let failed = once(&gateway, &begun, "failed");
    assert_eq!(failed["error"]["code"], "server_error", "{failed}");
    let cut = begin(&gateway, &json!({"input": "hi", "stop": vec!["x"; 17]}));
    let refused = once(&gateway, &cut, "failed");
    assert!(refused["error"]["message"].as_str().is_some_and(|words| !words.is_empty()), "{refused}");
    let unkept = json!({"model": "qwen", "input": "x", "background": true, "store": false});
    assert_eq!(gateway.post("/v1/responses", &unkept.to_string()).status, 400);
}

#[test]
fn after_a_crash_it_has_failed_and_before_an_orderly_end_it_may_finish() {
    let gateway = Gateway::start(PROFILES);
    let begun = begin(&gateway, &json!({}));
    once(&gateway, &begun, "in_progress");
    let grace = format!("[server]\nlisten = \"127.0.0.1:0\"\nshutdown_grace = \"60s\"\n{PROFILES}");
    let mut gateway = Gateway::start_in(gateway.crash(), &grace, &[]);
    let failed = gateway.get(&path(&begun)).json();
    assert_eq!((&failed["status"], &failed["error"]["code"]), (&json!("failed"), &json!("server_error")));
    assert!(failed["error"]["message"].as_str().unwrap().contains("the gateway ended"), "{failed}");

    let second = begin(&gateway, &json!({}));
    once(&gateway, &second, "in_progress");
    let backend = gateway.backend_address("qwen");
    gateway.signal(Signal::SIGTERM);
    wait_for("the drain", || (gateway.get("/readyz").status == 503).then_some(()));
    fake::exchange(&backend, "POST /__gate", "open");
    assert_eq!(gateway.ended(), Some(0));
    let gateway = Gateway::start_in(gateway.folder.clone(), PROFILES, &[]);
    let finished = gateway.get(&path(&second)).json();
    assert_eq!((&finished["status"], text(&finished)), (&json!("completed"), "w0 w1 w2 w3"));
}
