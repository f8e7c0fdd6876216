//! What upstreams elsewhere may send instead of a plain answer: encodings, empty answers, trailers, breaks.

use serde_json::json;

use crate::support::http::Answer;
use crate::support::raw::RawUpstream;
use crate::support::{Gateway, wait_for};

const JSON: &str =
    "{\"choices\":[{\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4}}";

/// What an upstream's answer becomes, and the record of it.
fn through(answer: &str, model: &str, stream: bool) -> (Answer, serde_json::Value) {
    let upstream = RawUpstream::start(answer);
    let profile = upstream.profile("q");
    let gateway = Gateway::start(&format!("{profile}{model}"));
    let body = crate::support::http::body("q", "hi", stream);
    let answer = gateway.post("/v1/chat/completions", &body);
    assert!(upstream.heads.recv().unwrap().contains("accept-encoding: identity"));
    let record = wait_for("the end of the request", || {
        let requests = gateway.get("/api/v1/requests").json()["requests"].clone();
        assert_eq!(requests.as_array().map(Vec::len), Some(1), "{requests}");
        (requests[0]["status"] != "running").then(|| requests[0].clone())
    });
    (answer, record)
}

/// Status and error code of a record.
fn end(record: &serde_json::Value) -> (&serde_json::Value, &serde_json::Value) {
    (&record["status"], &record["error_code"])
}

#[test]
fn an_encoded_answer_passes_with_its_header_and_is_an_error_where_it_has_to_be_read() {
    for encoding in ["gzip", "br", "deflate"] {
        let wire = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: {encoding}\r\ncontent-length: 7\r\n\r\nencoded"
        );
        let (answer, record) = through(&wire, "", false);
        assert_eq!((answer.status, answer.body.as_str()), (200, "encoded"));
        assert_eq!(answer.header("content-encoding").as_deref(), Some(encoding));
        assert_eq!(record["status"], "completed", "{record}");
    }
    let wire = "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-type: text/event-stream\r\ncontent-length: 7\r\n\r\nencoded";
    for (model, stream) in [("model = \"other\"\n", false), ("", true)] {
        let (answer, record) = through(wire, model, stream);
        assert_eq!(answer.error(), (502, "backend_error".into()), "{answer:?}");
        assert!(answer.body.contains("gzip"), "{answer:?}");
        assert_eq!(record["status"], "failed", "{record}");
    }
    let plain = format!(
        "HTTP/1.1 200 OK\r\ncontent-encoding: identity\r\ncontent-length: {}\r\n\r\n{JSON}",
        JSON.len()
    );
    let (answer, record) = through(&plain, "", false);
    assert_eq!((answer.status, answer.body.as_str()), (200, JSON));
    assert_eq!(record["completion_tokens"], 4, "{record}");
}

#[test]
fn an_answer_without_content_is_complete_and_keeps_its_status() {
    for (wire, status) in [
        ("HTTP/1.1 204 No Content\r\n\r\n", 204),
        ("HTTP/1.1 205 Reset Content\r\ncontent-length: 0\r\n\r\n", 205),
        ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", 200),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 200),
    ] {
        let (answer, record) = through(wire, "", false);
        assert_eq!((answer.status, answer.body.as_str()), (status, ""), "{wire}");
        assert_eq!(end(&record), (&json!("completed"), &json!(null)), "{wire}: {record}");
        assert_eq!(record["http_status"], status);
    }
    for wire in [
        "HTTP/1.1 304 Not Modified\r\n\r\n",
        "HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 0\r\n\r\n",
    ] {
        let (answer, record) = through(wire, "", false);
        assert_eq!(answer.error(), (502, "backend_error".into()), "{wire}");
        assert_eq!(end(&record), (&json!("failed"), &json!("backend_error")), "{wire}: {record}");
    }
}

#[test]
fn an_answer_with_trailers_is_complete_and_goes_on_without_them() {
    let size = JSON.len();
    let wire = format!(
        "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\
         trailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n{size:x}\r\n{JSON}\r\n0\r\nx-sum: 1\r\n\r\n"
    );
    let (answer, record) = through(&wire, "", false);
    assert!(
        answer.status == 200 && answer.body.contains(JSON) && !answer.body.contains("x-sum"),
        "{answer:?}"
    );
    assert_eq!(
        (&record["status"], &record["completion_tokens"]),
        (&json!("completed"), &json!(4)),
        "{record}"
    );
}

#[test]
fn an_answer_that_breaks_before_its_first_byte_is_a_502_and_later_ends_the_connection() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    for framing in [
        "content-length: 10\r\n\r\n",
        "transfer-encoding: chunked\r\n\r\n",
        "transfer-encoding: chunked\r\n\r\nzz\r\n",
    ] {
        let (answer, record) = through(&format!("{head}{framing}"), "", false);
        assert_eq!(answer.error(), (502, "backend_error".into()), "{framing}");
        assert_eq!((&record["status"], &record["http_status"]), (&json!("failed"), &json!(502)), "{record}");
    }
    // Less than was promised: the client was told the length, and can see that it is not all.
    let (answer, record) = through(&format!("{head}content-length: 10\r\n\r\nhalf"), "", false);
    assert_eq!((answer.status, answer.header("content-length").as_deref()), (200, Some("10")));
    assert_eq!(answer.body, "half");
    assert_eq!(end(&record), (&json!("failed"), &json!("backend_error")), "{record}");
    // More than was promised is no part of the answer.
    let (answer, record) = through(&format!("{head}content-length: 4\r\n\r\nwhole and more"), "", false);
    assert_eq!((answer.status, answer.body.as_str()), (200, "whol"));
    assert_eq!(record["status"], "completed", "{record}");
    let (answer, _) =
        through(&format!("{head}content-length: 4\r\ncontent-length: 5\r\n\r\nwhole"), "", false);
    assert_eq!(answer.error(), (502, "backend_error".into()));
}

#[test]
fn a_head_without_end_is_a_502() {
    let long = format!("x-long: {}\r\n", "a".repeat(2 << 20));
    let many: String = (0..10_000).map(|n| format!("x-{n}: a\r\n")).collect();
    for headers in [long, many] {
        let (answer, record) = through(&format!("HTTP/1.1 200 OK\r\n{headers}\r\n"), "", false);
        assert_eq!(answer.error(), (502, "backend_error".into()));
        assert_eq!(end(&record), (&json!("failed"), &json!("backend_error")), "{record}");
    }
}
