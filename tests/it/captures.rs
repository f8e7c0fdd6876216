//! What requests and answers said: taken only while it is switched on, and shown to whom it belongs.

use serde_json::{Value, json};

use crate::matrix::{For, TABLE};
use crate::support::{Gateway, PROFILES, wait_for};

fn switch(gateway: &Gateway, token: &str, change: &Value) -> Value {
    let answer = gateway.as_bearer(token, "PUT", "/api/v1/captures", Some(change));
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// What was captured of the newest request, which has ended.
fn captured(gateway: &Gateway, token: &str) -> Value {
    captured_of(gateway, token, None)
}

/// The same, once it is a request to that endpoint.
fn captured_of(gateway: &Gateway, token: &str, endpoint: Option<&str>) -> Value {
    let newest = wait_for("the request's end", || {
        let requests = gateway.as_bearer(token, "GET", "/api/v1/requests?limit=1", None).json();
        let newest = requests["requests"].get(0).cloned()?;
        let is_it = endpoint.is_none_or(|endpoint| newest["endpoint"] == endpoint);
        (is_it && newest["status"] != "running").then_some(newest)
    });
    let path = format!("/api/v1/requests/{}/capture", newest["id"].as_str().unwrap());
    // The end of an answer is told before its body has gone.
    wait_for("what was captured", || {
        let capture = gateway.as_bearer(token, "GET", &path, None).json()["capture"].clone();
        (!capture.is_null()).then_some(capture)
    })
}

fn text<'a>(capture: &'a Value, of: &str) -> &'a str {
    capture[of]["body"]["text"].as_str().unwrap()
}

#[test]
fn nothing_is_captured_until_an_administrator_switches_it_on_and_not_after_it_is_off() {
    let gateway = Gateway::start(PROFILES);
    let admin = gateway.admin();
    let off = gateway.as_bearer(&admin, "GET", "/api/v1/captures", None).json();
    assert_eq!((&off["until_ms"], &off["kept"]), (&Value::Null, &json!(0)));
    let kept = || gateway.as_bearer(&admin, "GET", "/api/v1/captures", None).json()["kept"].clone();

    assert_eq!(gateway.chat_as(&admin, "qwen", "#chunks=1 before").status, 200);
    let on = switch(&gateway, &admin, &json!({"on": true, "minutes": 5}));
    assert!(on["until_ms"].as_i64().unwrap() > 0, "{on}");
    assert_eq!(gateway.chat_as(&admin, "qwen", "#chunks=2 between").status, 200);
    let capture = captured(&gateway, &admin);
    assert!(text(&capture, "request").contains("between"), "{capture}");
    assert!(text(&capture, "response").contains("w0 w1"), "{capture}");
    assert_eq!(
        (&capture["response"]["status"], &capture["request"]["path"]),
        (&json!(200), &json!("/v1/chat/completions"))
    );

    switch(&gateway, &admin, &json!({"on": false}));
    assert_eq!(gateway.chat_as(&admin, "qwen", "#chunks=1 after").status, 200);
    assert_eq!(kept(), 1);
    assert!(!gateway.log().contains("between"), "what was said is in no log");
    let audit = gateway.as_bearer(&admin, "GET", "/api/v1/audit", None);
    assert!(audit.body.contains("captures"), "{audit:?}");
    assert_eq!(gateway.as_bearer(&admin, "DELETE", "/api/v1/captures", None).json()["forgotten"], 1);
    assert_eq!(kept(), 0);
}

#[test]
fn streams_refusals_and_messages_are_captured_as_the_client_got_them() {
    let gateway = Gateway::start(PROFILES);
    let admin = gateway.admin();
    switch(&gateway, &admin, &json!({"on": true}));
    let mut stream = gateway.stream_as(&admin, "qwen", "#chunks=3 streamed");
    let mut got = String::new();
    while let Some(event) = stream.next() {
        got += &event;
        got += "\n\n";
    }
    assert_eq!(text(&captured(&gateway, &admin), "response"), got);

    let refused = gateway.chat_as(&admin, "nope", "to nobody");
    assert_eq!(refused.status, 404);
    let capture = captured(&gateway, &admin);
    assert_eq!(
        (text(&capture, "response"), &capture["response"]["status"]),
        (refused.body.as_str(), &json!(404))
    );

    let asked = json!({"model": "qwen", "max_tokens": 9, "messages": [{"role": "user", "content": "#chunks=1 a message"}]});
    let answer = gateway.as_bearer(&admin, "POST", "/v1/messages", Some(&asked));
    assert_eq!(answer.status, 200, "{answer:?}");
    let capture = captured(&gateway, &admin);
    assert_eq!(
        (text(&capture, "request"), text(&capture, "response")),
        (asked.to_string().as_str(), answer.body.as_str())
    );

    // A stranger leaves nothing.
    let kept = gateway.as_bearer(&admin, "GET", "/api/v1/captures", None).json()["kept"].clone();
    assert_eq!(gateway.chat_as("sk-mgw-nobody", "qwen", "stranger").status, 401);
    assert_eq!(gateway.as_bearer(&admin, "GET", "/api/v1/captures", None).json()["kept"], kept);
}

#[test]
fn a_capture_is_seen_by_whose_request_it_was_and_by_administrators_alone() {
    let gateway = Gateway::start(PROFILES);
    let admin = gateway.admin();
    let (ada, _) = gateway.user(&admin, "ada@example.com");
    let (bob, _) = gateway.user(&admin, "bob@example.com");
    let (reader, _) = gateway.key(&admin, &json!({"name": "reader", "scopes": ["admin-read"]}));
    let (key, _) = gateway.key(&ada, &json!({"name": "hers"}));
    assert_eq!(gateway.as_bearer(&ada, "PUT", "/api/v1/captures", Some(&json!({"on": true}))).status, 403);
    switch(&gateway, &admin, &json!({"on": true}));
    assert_eq!(gateway.chat_as(&key, "qwen", "#chunks=1 of Ada's").status, 200);
    assert!(text(&captured(&gateway, &ada), "request").contains("of Ada's"));
    assert!(text(&captured(&gateway, &admin), "request").contains("of Ada's"));

    let request = gateway.as_bearer(&ada, "GET", "/api/v1/requests?limit=1", None).json();
    let path = format!("/api/v1/requests/{}/capture", request["requests"][0]["id"].as_str().unwrap());
    for (who, expected) in [(&bob, 404), (&reader, 403), (&key, 403)] {
        for method in ["GET", "DELETE"] {
            assert_eq!(gateway.as_bearer(who, method, &path, None).status, expected, "{method}");
        }
    }
    assert_eq!(gateway.as_bearer(&ada, "DELETE", &path, None).status, 204);
    assert_eq!(gateway.as_bearer(&admin, "GET", &path, None).json()["capture"], Value::Null);
}

#[test]
fn credentials_are_in_no_capture_and_contents_only_where_they_are_wanted() {
    let gateway = Gateway::start(PROFILES);
    let admin = gateway.admin();
    let (key, _) = gateway.key(&admin, &json!({"name": "k"}));
    switch(&gateway, &admin, &json!({"on": true}));
    let pasted = format!("#chunks=1 my key is {key} and hf_abcdefghijklmnopqrstu");
    assert_eq!(gateway.chat_as(&key, "qwen", &pasted).status, 200);
    let capture = captured(&gateway, &admin).to_string();
    assert!(capture.contains("my key is [redacted] and [redacted]"), "{capture}");
    assert!(!capture.contains(&key) && !capture.contains("hf_abc"), "{capture}");

    switch(&gateway, &admin, &json!({"contents": false}));
    assert_eq!(gateway.chat_as(&key, "qwen", "#chunks=2 a private matter").status, 200);
    let capture = captured(&gateway, &admin);
    assert_eq!(capture["contents"], false);
    assert!(text(&capture, "request").contains("\"content\":\"[26 characters]\""), "{capture}");
    assert!(!capture.to_string().contains("private") && !capture.to_string().contains("w0"), "{capture}");
    let store = std::fs::read(gateway.data_dir().join("gateway.db-wal")).unwrap();
    assert!(!String::from_utf8_lossy(&store).contains("a private matter"));
}

#[test]
fn a_capture_is_cut_at_its_bound_and_what_is_wrong_with_a_switch_is_told() {
    let gateway = Gateway::start(PROFILES);
    let admin = gateway.admin();
    switch(&gateway, &admin, &json!({"on": true, "max_bytes": 1024}));
    let answer = gateway.chat_as(&admin, "qwen", &format!("#chunks=1 {}", "long ".repeat(400)));
    assert_eq!(answer.status, 200, "the request itself is not cut");
    let body = captured(&gateway, &admin)["request"]["body"].clone();
    assert_eq!((&body["cut"], body["text"].as_str().unwrap().len()), (&json!(true), 1024));
    assert!(body["bytes"].as_u64().unwrap() > 2000);
    for (change, words) in [
        (json!({"on": true, "minutes": 9999}), "from 1 to 1440"),
        (json!({"max_bytes": 1}), "from 1024 to 8388608"),
        (json!({"colour": "red"}), "unknown field"),
    ] {
        let refused = gateway.as_bearer(&admin, "PUT", "/api/v1/captures", Some(&change));
        assert_eq!(refused.status, 400, "{refused:?}");
        assert!(refused.body.contains(words), "{refused:?}");
    }
}

#[test]
fn the_switch_and_what_was_captured_outlive_a_crash() {
    let gateway = Gateway::start(PROFILES);
    let admin = gateway.admin();
    let on = switch(&gateway, &admin, &json!({"on": true, "minutes": 30, "retention_days": 2}));
    assert_eq!(gateway.chat_as(&admin, "qwen", "#chunks=1 kept").status, 200);
    assert!(text(&captured(&gateway, &admin), "request").contains("kept"));
    let gateway = Gateway::start_in(gateway.crash(), PROFILES, &[]);
    let again = gateway.as_bearer(&admin, "GET", "/api/v1/captures", None).json();
    assert_eq!((&again["until_ms"], &again["kept"]), (&on["until_ms"], &json!(1)));
    assert!(text(&captured(&gateway, &admin), "request").contains("kept"));
}

#[test]
fn every_inference_route_that_leaves_a_record_is_captured() {
    // Ask no model and leave no record, by which a capture is found.
    const COUNTING: [&str; 2] = ["/v1/messages/count_tokens", "/v1/responses/input_tokens"];
    let gateway = Gateway::start(PROFILES);
    let admin = gateway.admin();
    switch(&gateway, &admin, &json!({"on": true}));
    let kept = || gateway.as_bearer(&admin, "GET", "/api/v1/captures", None).json()["kept"].clone();
    let mut expected = 0;
    let routes = TABLE
        .iter()
        .filter(|(method, path, who)| (*method, *who) == ("POST", For::Inference) && !path.contains('{'));
    for (_, path, _) in routes {
        // Refused by most of them, which is captured too.
        let body = json!({"model": "qwen", "input": "#chunks=1", "said": path});
        let answer = gateway.as_bearer(&admin, "POST", path, Some(&body));
        if COUNTING.contains(path) {
            continue;
        }
        let capture = captured_of(&gateway, &admin, Some(path));
        // A form without a boundary is refused before it is read.
        let is_form = path.ends_with("/edits") || path.ends_with("/transcriptions");
        let asked = if is_form { String::new() } else { body.to_string() };
        assert_eq!(
            (capture["request"]["path"].as_str(), text(&capture, "request"), text(&capture, "response")),
            (Some(*path), asked.as_str(), answer.body.as_str())
        );
        expected += 1;
    }
    assert_eq!((kept(), expected), (json!(expected), 8), "counting tokens is not captured");
}

#[test]
fn responses_are_captured_whole_streamed_and_in_the_background() {
    let gateway = Gateway::start(PROFILES);
    let admin = gateway.admin();
    switch(&gateway, &admin, &json!({"on": true}));
    for more in [json!({}), json!({"stream": true}), json!({"background": true})] {
        let mut body = json!({"model": "qwen", "input": "#chunks=2 a response"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let answer = gateway.as_bearer(&admin, "POST", "/v1/responses", Some(&body));
        assert_eq!(answer.status, 200, "{answer:?}");
        let capture = captured(&gateway, &admin);
        assert_eq!(
            (text(&capture, "request"), text(&capture, "response")),
            (body.to_string().as_str(), answer.body.as_str()),
            "{more}"
        );
    }
}
