//! The fake server answers in the bytes that the real one was recorded with.

#[path = "fake/spawn.rs"]
mod fake;

use fake::FakeServer;

const CHAT: &str = "POST /v1/chat/completions";

#[test]
fn a_stream_has_the_events_of_the_real_server() {
    let fake = FakeServer::start(&[]);
    let events = stream(&fake, "#chunks=2 #think=1 #prompt-tokens=13 #cached=12");
    assert_eq!(
        events,
        [
            r#"{"id": "ID", "choices": [{"delta": {"role": "assistant"}, "index": 0}], "created": 0, "model": "fake", "object": "chat.completion.chunk"}"#,
            r#"{"id": "ID", "choices": [{"delta": {"role": "assistant", "reasoning_content": "t0"}, "index": 0}], "created": 0, "model": "fake", "object": "chat.completion.chunk"}"#,
            r#"{"id": "ID", "choices": [{"delta": {"content": "w0", "role": "assistant"}, "index": 0}], "created": 0, "model": "fake", "object": "chat.completion.chunk"}"#,
            r#"{"id": "ID", "choices": [{"delta": {"content": " w1", "role": "assistant"}, "index": 0}], "created": 0, "model": "fake", "object": "chat.completion.chunk"}"#,
            r#"{"id": "ID", "choices": [{"delta": {}, "finish_reason": "stop", "index": 0}], "created": 0, "model": "fake", "object": "chat.completion.chunk", "usage": {"prompt_tokens": 13, "total_tokens": 16, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 12}}}"#,
            "[DONE]",
        ]
    );
}

#[test]
fn a_tool_call_is_one_delta_followed_by_an_empty_one() {
    let fake = FakeServer::start(&[]);
    let events = stream(&fake, "#tool #usage=none");
    assert_eq!(
        events[1..4],
        [
            r#"{"id": "ID", "choices": [{"delta": {"role": "assistant", "tool_calls": [{"index": 0, "id": "call_0578870", "function": {"arguments": "{\"city\": \"Paris\"}", "name": "get_weather"}, "type": "function"}]}, "index": 0}], "created": 0, "model": "fake", "object": "chat.completion.chunk"}"#,
            r#"{"id": "ID", "choices": [{"delta": {"content": "", "role": "assistant"}, "index": 0}], "created": 0, "model": "fake", "object": "chat.completion.chunk"}"#,
            r#"{"id": "ID", "choices": [{"delta": {}, "finish_reason": "tool_calls", "index": 0}], "created": 0, "model": "fake", "object": "chat.completion.chunk"}"#,
        ]
    );
}

#[test]
fn an_error_in_a_stream_is_followed_by_an_ordinary_end() {
    let fake = FakeServer::start(&[]);
    let events = stream(&fake, "#stream-error=429");
    assert_eq!(
        events[1],
        r#"{"error": {"message": "Too many requests. Service is at capacity.", "type": "rate_limit_exceeded", "param": null, "code": "429"}}"#
    );
    assert!(events[2].contains(r#""finish_reason": "stop""#));
    assert_eq!(events[3], "[DONE]");
}

#[test]
fn text_beyond_ascii_is_escaped_in_streams_as_python_does() {
    let fake = FakeServer::start(&[]);
    let events = stream(&fake, "#text=café_✨_😀");
    assert!(events[1].contains(r#""content": "caf\u00e9 ""#), "{}", events[1]);
    assert!(events[3].contains(r#""content": "\ud83d\ude00""#), "{}", events[3]);
}

#[test]
fn a_whole_answer_is_compact() {
    let fake = FakeServer::start(&[]);
    let body = r##"{"model":"fake","messages":[{"role":"user","content":"#prompt-tokens=13"}]}"##;
    let answer = fake::exchange(&fake.authority, CHAT, body);
    assert!(answer.ends_with(
        r#""model":"fake","choices":[{"finish_reason":"stop","index":0,"message":{"content":"Hello! This tiny model runs on the real backend and always says exactly these words.","role":"assistant","partial":false}}],"usage":{"prompt_tokens":13,"total_tokens":28,"completion_tokens":15,"prompt_tokens_details":{"cached_tokens":0}}}"#
    ), "{answer}");
}

#[test]
fn bad_requests_are_refused_in_the_shapes_of_the_real_server() {
    let fake = FakeServer::start(&[]);
    let answer = |body: &str| fake::exchange(&fake.authority, CHAT, body);
    assert_eq!(
        answer(r#"{"model":"no-such-model","messages":[{"role":"user","content":"hi"}]}"#),
        r#"{"detail":{"error":{"message":"Model 'no-such-model' not found. Available models: fake","type":"model_not_found","code":404}}}"#
    );
    assert_eq!(
        answer(r#"{"model":"fake"}"#),
        r#"{"detail":[{"type":"missing","loc":["body","messages"],"msg":"Field required","input":{"model":"fake"}}]}"#
    );
    assert!(answer(r#"{"messages":[],"stop":"x"}"#).contains("list_type"));
    assert!(answer(r#"{"messages":[{"role":"developer","content":"x"}]}"#).contains("literal_error"));
}

#[test]
fn a_client_that_leaves_is_counted() {
    let fake = FakeServer::start(&[]);
    let mut client = std::net::TcpStream::connect(&fake.authority).expect("it listens");
    let body = request("#chunks=3 #gate-after=1");
    std::io::Write::write_all(
        &mut client,
        format!("{CHAT} HTTP/1.1\r\ncontent-length: {}\r\n\r\n{body}", body.len()).as_bytes(),
    )
    .expect("the request is sent");
    fake.seen("requests=1&wait-ms=5000");
    drop(client);
    let seen = fake.seen("cancelled=1&active=0&wait-ms=5000");
    assert_eq!(seen["requests"][0]["body"], body);
}

#[test]
fn a_gate_holds_a_stream_until_it_is_opened() {
    let fake = FakeServer::start(&[]);
    let authority = fake.authority.clone();
    let waiting =
        std::thread::spawn(move || fake::exchange(&authority, CHAT, &request("#chunks=3 #gate-after=1")));
    fake.seen("requests=1&wait-ms=5000");
    fake.open_gate();
    let answer = waiting.join().expect("the client ends");
    assert!(answer.contains("[DONE]"), "{answer}");
}

#[test]
fn told_to_stop_it_waits_for_open_requests() {
    let fake = FakeServer::start(&[]);
    let authority = fake.authority.clone();
    let waiting =
        std::thread::spawn(move || fake::exchange(&authority, CHAT, &request("#chunks=3 #gate-after=1")));
    fake.seen("requests=1&wait-ms=5000");
    fake::signal(fake.pid(), nix::sys::signal::Signal::SIGTERM);
    while std::net::TcpStream::connect(&fake.authority).is_ok() {}
    fake::open_gate_of_stopping(fake.pid());
    let answer = waiting.join().expect("the client ends");
    assert!(answer.contains("[DONE]"), "{answer}");
    assert_eq!(fake.exit_code(), Some(143));
}

#[test]
fn it_ends_with_its_parent() {
    // A shell that starts it, sees its first line and is gone.
    let script = r#""$0" launch --port 0 | { read line; kill -KILL $$; }"#;
    let output = std::process::Command::new("sh")
        .args(["-c", script])
        .arg(fake::program())
        .output()
        .expect("a shell runs");
    // `output` returned, so nobody holds the pipes any more.
    assert!(!output.status.success());
}

#[test]
fn a_failed_load_ends_with_code_zero_and_says_why() {
    let output = std::process::Command::new(fake::program())
        .args(["launch", "--model-path", "nope", "--fail-load"])
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(0));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("RuntimeError: Handler process for 'nope' failed"), "{errors}");
}

#[test]
fn it_says_its_version_and_flags_as_the_real_one() {
    let said = |args: &[&str]| {
        let output = std::process::Command::new(fake::program()).args(args).output();
        String::from_utf8(output.expect("it runs").stdout).expect("it writes text")
    };
    assert!(said(&["--version"]).contains("Version: 1.8.1"));
    assert!(said(&["launch", "--help"]).contains("--prompt-cache-dir DIRECTORY"));
}

fn request(prompt: &str) -> String {
    serde_json::json!({
        "model": "fake",
        "stream": true,
        "messages": [{"role": "user", "content": prompt}],
    })
    .to_string()
}

/// The payloads of a stream's events, with what changes from run to run replaced.
fn stream(fake: &FakeServer, prompt: &str) -> Vec<String> {
    let answer = fake::exchange(&fake.authority, CHAT, &request(prompt));
    let data = answer.lines().filter_map(|line| line.strip_prefix("data: "));
    data.map(normalised).collect()
}

fn normalised(event: &str) -> String {
    let Ok(chunk) = serde_json::from_str::<serde_json::Value>(event) else {
        return event.to_owned();
    };
    let (Some(id), Some(created)) = (chunk["id"].as_str(), chunk["created"].as_u64()) else {
        return event.to_owned();
    };
    event.replace(id, "ID").replace(&created.to_string(), "0")
}
