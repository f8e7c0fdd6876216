//! Upstreams that stall: wherever an answer stops, cancelling it, the loss of its caller's right and `timeouts.total`
//! end the request and free its place.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::fake::FakeServer;
use crate::support::{Gateway, PATIENCE, wait_for};

/// A point at which an answer stops.
struct Point {
    name: &'static str,
    /// `q`: behind an engine; `fake` and `renamed`: elsewhere.
    profile: &'static str,
    headers: &'static str,
    prompt: &'static str,
    more: fn() -> Value,
}

const SCOPES: [&str; 3] = ["inference", "mcp", "tools"];
const TOOLS: &str = "x-mlx-gateway-tools: calculator\r\n";
const POINTS: &[Point] = &[
    point("the head never comes", "q", "", "#hang", || json!({})),
    point("the head of a stream never comes", "q", "", "#hang", || json!({"stream": true})),
    point("half of an error", "q", "", "#stall=error", || json!({})),
    point("half of an error instead of a stream", "fake", "", "#stall=error", || json!({"stream": true})),
    point("half of a whole answer", "fake", "", "#stall=whole", || json!({})),
    point("half of a whole answer that is renamed", "renamed", "", "#stall=whole", || json!({})),
    point("half of a stream", "q", "", "#chunks=4 #hang-after=2", || json!({"stream": true})),
    point("half of a stream that is put together", "q", "", "#chunks=4 #hang-after=2", || json!({})),
    point("the head in a tool round", "q", TOOLS, "#hang", || json!({})),
    point("half of an error in a tool round", "q", TOOLS, "#stall=error", || json!({"stream": true})),
    point("half of a stream in a tool round", "q", TOOLS, "#chunks=4 #hang-after=2", || json!({})),
    point("the first choice", "q", "", "#hang-seed=1", || json!({"n": 2, "seed": 1})),
    point("the second choice", "q", "", "#chunks=1 #hang-seed=2", || json!({"n": 2, "seed": 1})),
    point("half of a choice", "q", "", "#chunks=4 #hang-after=2", || json!({"n": 2, "stream": true})),
    point(
        "half of a structured answer",
        "q",
        "",
        "#chunks=4 #hang-after=2",
        || json!({"response_format": {"type": "json_object"}}),
    ),
];

const fn point(
    name: &'static str,
    profile: &'static str,
    headers: &'static str,
    prompt: &'static str,
    more: fn() -> Value,
) -> Point {
    Point { name, profile, headers, prompt, more }
}

/// The profiles, and the same ones with a total of one second.
fn profiles(far: &[FakeServer; 2]) -> String {
    let mut all = String::new();
    let ends = [("", ""), ("-late", "timeouts = { total = \"1s\" }\n")];
    for ((end, timeouts), far) in ends.into_iter().zip(far.each_ref().map(FakeServer::url)) {
        all += &format!(
            "[[profile]]\nname = \"q{end}\"\nmodel = \"./model\"\nmax_concurrent = 1\n{timeouts}\
             [[profile]]\nname = \"fake{end}\"\nengine = \"url\"\nurl = {far:?}\nmax_concurrent = 1\n{timeouts}\
             [[profile]]\nname = \"renamed{end}\"\nengine = \"url\"\nurl = {far:?}\nmodel = \"fake{end}\"\nmax_concurrent = 1\n{timeouts}"
        );
    }
    all
}

/// Sends a request that stops at the point, and returns its connection and its record as long as it runs.
fn begin(gateway: &Gateway, point: &Point, end: &str, who: &str, admin: &str) -> (TcpStream, Value) {
    let messages = json!([{"role": "user", "content": point.prompt}]);
    let mut body = json!({"model": format!("{}{end}", point.profile), "messages": messages});
    body.as_object_mut().unwrap().extend((point.more)().as_object().unwrap().clone());
    let headers = format!("authorization: Bearer {who}\r\n{}", point.headers);
    let mut connection = TcpStream::connect(&gateway.address).unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    connection
        .write_all(gateway.request("/v1/chat/completions", &headers, &body.to_string()).as_bytes())
        .unwrap();
    let running = wait_for("the request to run", || {
        let path = "/api/v1/requests?status=running";
        let all = gateway.as_bearer(admin, "GET", path, None).json();
        all["requests"].get(0).cloned()
    });
    (connection, running)
}

/// Waits for its end, and returns its record.
fn end(gateway: &Gateway, admin: &str, mut connection: TcpStream, id: &Value) -> (String, Value) {
    let mut answer = String::new();
    connection.read_to_string(&mut answer).expect("the answer ends");
    let path = format!("/api/v1/requests/{}", id.as_str().unwrap());
    let record = wait_for("the end of the request", || {
        let record = gateway.as_bearer(admin, "GET", &path, None).json();
        (record["status"] != "running").then_some(record)
    });
    (answer, record)
}

#[test]
fn a_request_whose_upstream_stalls_ends_with_cancel_revocation_and_the_total() {
    let far = [FakeServer::start(&[]), FakeServer::start(&["--served-model-name", "fake-late"])];
    let gateway = Gateway::start(&profiles(&far));
    let admin = gateway.admin();
    let (user, _) = gateway.key(&admin, &json!({"name": "user", "scopes": SCOPES}));
    for point in POINTS {
        let name = point.name;
        let free = |way: &str, model: &str| {
            let after = gateway.chat_as(&user, model, "#chunks=1");
            assert_eq!(after.status, 200, "{name}: no place after {way}: {after:?}");
        };
        let (connection, running) = begin(&gateway, point, "", &user, &admin);
        let path = format!("/api/v1/requests/{}/cancel", running["id"].as_str().unwrap());
        let cancelled = gateway.as_bearer(&admin, "POST", &path, None);
        assert!(cancelled.status < 300, "{cancelled:?}");
        let (answer, record) = end(&gateway, &admin, connection, &running["id"]);
        assert_eq!(record["status"], "cancelled", "{name}: {record}\n{answer}");
        free("cancel", point.profile);

        let (key, id) = gateway.key(&admin, &json!({"name": "lost", "scopes": SCOPES}));
        let (connection, running) = begin(&gateway, point, "", &key, &admin);
        assert_eq!(gateway.as_bearer(&admin, "DELETE", &format!("/api/v1/keys/{id}"), None).status, 204);
        let (answer, record) = end(&gateway, &admin, connection, &running["id"]);
        assert_eq!(record["status"], "cancelled", "{name}: {record}\n{answer}");
        free("revocation", point.profile);

        let (connection, running) = begin(&gateway, point, "-late", &user, &admin);
        let (answer, record) = end(&gateway, &admin, connection, &running["id"]);
        assert_eq!(
            (&record["status"], &record["error_code"]),
            (&json!("failed"), &json!("timeout")),
            "{name}: {record}\n{answer}"
        );
        assert!(answer.contains("timeouts.total") || answer.starts_with("HTTP/1.1 200"), "{name}: {answer}");
        free("the total", &format!("{}-late", point.profile));
    }
}

#[test]
fn half_an_error_is_told_within_two_seconds_with_the_upstreams_status() {
    let gateway = Gateway::start("[[profile]]\nname = \"q\"\nmodel = \"./model\"\nmax_concurrent = 1\n");
    assert_eq!(gateway.chat("q", "#chunks=1").status, 200);
    for answer in [
        |g: &Gateway| g.chat("q", "#stall=error"),
        |g: &Gateway| g.post("/v1/chat/completions", &crate::support::http::body("q", "#stall=error", true)),
    ] {
        let began = Instant::now();
        let answer = answer(&gateway);
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        assert_eq!(answer.error(), (502, "backend_error".into()));
        assert_eq!(answer.json()["error"]["message"], "the backend answered 500, and its message broke off");
        let record = gateway.record("failed");
        assert_eq!(record["attempts"][0]["upstream_status"], 500, "{record}");
    }
    assert_eq!(gateway.chat("q", "#chunks=1").status, 200);
}
