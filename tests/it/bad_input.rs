//! What is wrong gets its documented status and code, and its record.

use crate::fake;
use crate::support::{Gateway, PROFILES};

#[test]
fn bodies_that_cannot_be_served_are_refused_and_recorded() {
    let gateway = Gateway::start(PROFILES);
    let hi = r#""messages":[{"role":"user","content":"hi"}]"#;
    for (body, status, code) in [
        (String::new(), 400, "invalid_request_error"),
        ("{".into(), 400, "invalid_request_error"),
        ("[]".into(), 400, "invalid_request_error"),
        (format!("{{{hi}}}"), 400, "invalid_request_error"),
        (format!(r#"{{"model":7,{hi}}}"#), 400, "invalid_request_error"),
        (format!(r#"{{"model":"nope",{hi}}}"#), 404, "model_not_found"),
        (format!(r#"{{"model":"qwen","model":"other",{hi}}}"#), 400, "invalid_request_error"),
        (r#"{"model":"qwen","messages":[]}"#.into(), 400, "invalid_request_error"),
        (format!(r#"{{"model":"qwen",{hi},"temperature":"hot"}}"#), 400, "invalid_request_error"),
        (format!(r#"{{"model":"qwen",{hi},"stream":"yes"}}"#), 400, "invalid_request_error"),
        (
            r#"{"model":"qwen","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"file:///etc/passwd"}}]}]}"#.into(),
            400,
            "invalid_request_error",
        ),
    ] {
        let answer = gateway.post("/v1/chat/completions", &body);
        assert_eq!(answer.error(), (status, code.to_owned()), "{body}: {answer:?}");
        let record = gateway.record("refused");
        assert_eq!((record["http_status"].as_u64(), record["error_code"].as_str()), (Some(status.into()), Some(code)));
    }
    assert!(
        gateway.get("/api/v1/servers").json()["servers"][0]["pid"].is_null(),
        "nothing was started for them"
    );
}

#[test]
fn a_body_over_the_limit_is_413_whether_it_says_its_length_or_not() {
    let gateway =
        Gateway::start(&format!("[server]\nlisten = \"127.0.0.1:0\"\nmax_body = \"1KiB\"\n{PROFILES}"));
    let large = "x".repeat(2000);
    let answer = gateway.chat("qwen", &large);
    assert_eq!(answer.error(), (413, "request_too_large".into()));
    assert_eq!(gateway.record("refused")["http_status"], 413);
    let chunked = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {}\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n7d8\r\n{{\"model\":\"{large}",
        gateway.address
    );
    let cut: String = chunked.chars().take(chunked.len() - 10).collect();
    assert_eq!(gateway.send(&format!("{cut}\r\n0\r\n\r\n")).status, 413);
}

#[test]
fn unknown_paths_and_methods_are_named_in_json() {
    let gateway = Gateway::start(PROFILES);
    let unknown = gateway.get("/v1/nope");
    assert_eq!(unknown.error(), (404, "not_found".into()));
    assert!(unknown.json()["error"]["message"].as_str().unwrap().contains("/v1/nope"));
    assert_eq!(gateway.get("/v1/chat/completions").error(), (405, "method_not_allowed".into()));
    assert_eq!(gateway.get("/api/v1/requests?limit=x").status, 400);
    assert_eq!(gateway.get("/api/v1/usage?group_by=moon").error().0, 400);
    assert_eq!(gateway.get("/api/v1/usage?tz=Mars/Olympus").error().0, 400);
    let none = gateway.get("/api/v1/requests").json();
    assert_eq!(none["requests"].as_array().unwrap().len(), 0, "unknown paths are not requests");
}

#[test]
fn request_ids_are_echoed_when_valid_and_made_otherwise() {
    let gateway = Gateway::start(PROFILES);
    let body = r#"{"model":"nope"}"#;
    let told = gateway.post_with("/v1/chat/completions", "x-request-id: my-id.1\r\n", body);
    assert_eq!(told.header("x-request-id").as_deref(), Some("my-id.1"));
    assert_eq!(gateway.get("/api/v1/requests/my-id.1").json()["client_request_id"], "my-id.1");
    let invalid = gateway.post_with("/v1/chat/completions", "x-request-id: a b{}\r\n", body);
    let own = invalid.header("x-request-id").unwrap();
    assert_eq!(own.as_bytes()[14], b'7', "{own} is a UUIDv7");
    assert_eq!(gateway.get(&format!("/api/v1/requests/{own}")).json()["id"], own.as_str());
    assert_eq!(gateway.get("/livez").header("x-request-id").map(|id| id.len()), Some(36));
}

#[test]
fn what_an_engine_may_not_see_never_reaches_it_and_is_noted() {
    let gateway = Gateway::start(PROFILES);
    let body = r##"{"model":"qwen","draft_model":"/etc","adapters":"/x","messages":[{"role":"developer","content":"x"},{"role":"user","content":"#chunks=1"}],"stop":"END"}"##;
    assert_eq!(gateway.post("/v1/chat/completions", body).status, 200);
    let seen = fake::seen(&gateway.backend_address("qwen"), "requests=1&wait-ms=5000").to_string();
    assert!(
        !seen.contains("draft_model") && !seen.contains("adapters") && !seen.contains("developer"),
        "{seen}"
    );
    let warnings = gateway.record("completed")["warnings"].to_string();
    assert!(warnings.contains("draft_model") && warnings.contains("adapters"), "{warnings}");
}

#[test]
fn every_route_that_reads_a_body_names_its_limit_in_the_413() {
    let gateway = Gateway::start(PROFILES);
    let send = |path: &str, bytes: usize, more: &str| {
        let body = format!("{{\"x\":\"{}\"}}", "x".repeat(bytes));
        gateway.post_with(path, more, &body)
    };
    for (path, limit, more) in [
        ("/api/v1/keys", 2 << 20, ""),
        ("/api/v1/keys", 2 << 20, "idempotency-key: k\r\n"),
        ("/api/v1/profiles", 2 << 20, ""),
        ("/api/v1/downloads", 2 << 20, ""),
        ("/api/v1/tools/calculator/call", 2 << 20, ""),
        ("/api/v1/auth/login", 64 << 10, ""),
        ("/api/v1/auth/register", 64 << 10, ""),
        ("/api/v1/auth/reset-password", 64 << 10, ""),
    ] {
        let refused = send(path, limit, more);
        assert_eq!(refused.error(), (413, "request_too_large".into()), "{path}: {refused:?}");
        let message = refused.json()["error"]["message"].to_string();
        assert!(
            message.contains(&format!("larger than {limit} bytes")) && message.contains("send less"),
            "{path}: {message}"
        );
    }
}
