//! Every wait for a client ends: for a body that comes byte by byte, on every route that reads one, and for a client
//! that does not read its answer, whatever kind of answer it is.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::net::TcpSocket;

use crate::matrix::{TABLE, UNDESCRIBED};
use crate::support::http::header;
use crate::support::{Gateway, PATIENCE, PROFILES, wait_for};

/// Time between two bytes of a slow client.
const DRIP: Duration = Duration::from_millis(200);
const BRIEF: &str = "[server]\nlisten = \"127.0.0.1:0\"\nbody_timeout = \"1s\"\n";

/// What a client got that sent its body byte by byte.
struct Dripped {
    answer: String,
    took: Duration,
}

impl Dripped {
    fn send(gateway: &Gateway, method: &str, path: &str, headers: &str) -> Dripped {
        let mut connection = TcpStream::connect(&gateway.address).unwrap();
        connection.set_nodelay(true).unwrap();
        connection.set_read_timeout(Some(DRIP)).unwrap();
        let head = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\n{headers}\r\n", gateway.address);
        connection.write_all(head.as_bytes()).unwrap();
        let is_chunked = headers.contains("chunked");
        let (began, mut answer) = (Instant::now(), Vec::new());
        while began.elapsed() < PATIENCE {
            let mut piece = [0; 4096];
            match connection.read(&mut piece) {
                Ok(0) => break,
                Ok(read) => answer.extend_from_slice(&piece[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    // Fails once the gateway has closed; what it said before can still be read.
                    connection.write_all(if is_chunked { b"1\r\n \r\n" } else { b" " }).ok();
                }
                Err(_) => break,
            }
        }
        Dripped { answer: String::from_utf8_lossy(&answer).into_owned(), took: began.elapsed() }
    }

    fn status(&self) -> u16 {
        self.answer.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0)
    }

    /// Whether it was ended for its pace, in the shape of the API at `path`.
    fn is_timeout(&self, path: &str) -> bool {
        let Some((head, body)) = self.answer.split_once("\r\n\r\n") else { return false };
        let body: Value = serde_json::from_str(body).unwrap_or_default();
        let is_shaped = match path {
            "/mcp" => body["jsonrpc"] == "2.0" && body["error"]["code"] == -32_008,
            path if path.starts_with("/v1/messages") => {
                body["type"] == "error" && body["error"]["message"].is_string()
            }
            _ => body["error"]["code"] == "request_timeout",
        };
        self.status() == 408 && is_shaped && header(head, "connection").as_deref() == Some("close")
    }
}

#[test]
fn every_body_that_comes_byte_by_byte_ends_with_408() {
    let gateway = Gateway::start(&format!("{BRIEF}{PROFILES}"));
    let document = gateway.get("/api/openapi.json").json();
    let length = "content-length: 1000\r\n";
    let mut rows = Vec::new();
    for (method, path, _) in TABLE.iter().filter(|(method, ..)| *method != "GET") {
        let is_form = matches!(*path, "/v1/images/edits" | "/v1/audio/transcriptions");
        let kind = if is_form { "multipart/form-data; boundary=BB" } else { "application/json" };
        let described = &document["paths"][path][method.to_lowercase()]["requestBody"];
        let reads_body = described.is_object() || (UNDESCRIBED.contains(path) && *method == "POST");
        rows.push((*method, *path, format!("content-type: {kind}\r\n{length}"), reads_body));
    }
    assert!(rows.iter().filter(|(.., reads_body)| *reads_body).count() > 25, "bodies are described");
    let json = "content-type: application/json\r\n";
    rows.push(("POST", "/api/v1/keys", format!("{json}{length}idempotency-key: k\r\n"), true));
    rows.push(("POST", "/v1/chat/completions", format!("{json}transfer-encoding: chunked\r\n"), true));
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let sent: Vec<_> = rows
            .iter()
            .map(|(method, path, headers, reads_body)| {
                let gateway = &gateway;
                let accept = format!("{headers}accept: application/json, text/event-stream\r\n");
                let target = path.replace('{', "x").replace('}', "");
                let send = move || Dripped::send(gateway, method, &target, &accept);
                (scope.spawn(send), format!("{method} {path}"), *path, *reads_body)
            })
            .collect();
        let judge = |(sent, name, path, reads_body): (
            std::thread::ScopedJoinHandle<'_, Dripped>,
            String,
            &str,
            bool,
        )| {
            let dripped = sent.join().unwrap();
            // What reads no body answers at once, and closes.
            let is_right = if reads_body { dripped.is_timeout(path) } else { dripped.status() > 0 };
            let is_over = dripped.took < PATIENCE / 3;
            (!is_right || !is_over).then(|| format!("{name}: {:?} after {:?}", dripped.answer, dripped.took))
        };
        sent.into_iter().filter_map(judge).collect()
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let refused = gateway.get("/api/v1/requests?status=refused&limit=1000").json();
    let chats = refused["requests"].as_array().unwrap().iter().filter(|record| {
        record["endpoint"] == "/v1/chat/completions" && record["error_code"] == "request_timeout"
    });
    assert_eq!(chats.count(), 2, "{refused}");
}

/// A kind of answer that is larger than all buffers on its way.
struct Kind {
    name: &'static str,
    request: fn(&Gateway, &str, &str) -> String,
}

const FLOOD: &str = "#chunks=2000 #token-bytes=10000";
const KINDS: &[Kind] = &[
    Kind { name: "chat", request: |gateway, headers, brief| chat(gateway, headers, brief, &json!({})) },
    Kind { name: "n", request: |gateway, headers, brief| chat(gateway, headers, brief, &json!({"n": 2})) },
    Kind {
        name: "tools",
        request: |gateway, headers, brief| {
            chat(gateway, &format!("{headers}x-mlx-gateway-tools: calculator\r\n"), brief, &json!({}))
        },
    },
    Kind {
        name: "messages",
        request: |gateway, headers, brief| {
            let messages = json!([{"role": "user", "content": FLOOD}]);
            let body = json!({"model": format!("many{brief}"), "stream": true, "max_tokens": 2000, "messages": messages});
            gateway.wire("POST", "/v1/messages", headers, Some(&body))
        },
    },
    Kind {
        name: "responses",
        request: |gateway, headers, brief| {
            let body = json!({"model": format!("many{brief}"), "stream": true, "input": FLOOD});
            gateway.wire("POST", "/v1/responses", headers, Some(&body))
        },
    },
];

fn chat(gateway: &Gateway, headers: &str, brief: &str, more: &Value) -> String {
    let messages = json!([{"role": "user", "content": FLOOD}]);
    let mut body = json!({"model": format!("many{brief}"), "stream": true, "messages": messages});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    gateway.wire("POST", "/v1/chat/completions", headers, Some(&body))
}

pub(crate) fn profiles() -> String {
    let profile = |name: &str, more: &str| {
        format!("[[profile]]\nname = {name:?}\nmodel = \"./model\"\nmax_concurrent = 200\n{more}\n")
    };
    profile("many", "") + &profile("many-brief", "timeouts = { total = \"3s\" }")
}

/// Sends a request whose answer is not read, by a client that has next to no room for one.
pub(crate) fn send_unread(gateway: &Gateway, request: &str) -> TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let connected = runtime.block_on(async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        socket.connect(gateway.address.parse().unwrap()).await.unwrap()
    });
    let mut stream = connected.into_std().unwrap();
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

/// Waits until the answers to so many requests have begun and are stuck.
fn wait_for_stuck(gateway: &Gateway, admin: &str, count: usize) {
    let mut last = (Value::Null, Instant::now());
    wait_for("answers to be stuck", || {
        let path = "/api/v1/requests?status=running&limit=1000";
        let running = gateway.as_bearer(admin, "GET", path, None).json()["requests"].clone();
        let running = running.as_array().unwrap();
        let tokens = running.iter().map(|record| record["completion_tokens"].clone()).collect();
        if tokens != last.0 || running.len() != count {
            last = (tokens, Instant::now());
        }
        (last.1.elapsed() > Duration::from_millis(700)).then_some(())
    });
}

pub(crate) fn wait_for_free(gateway: &Gateway, admin: &str) {
    wait_for("every lease to be free", || {
        let servers = gateway.as_bearer(admin, "GET", "/api/v1/servers", None).json();
        servers["servers"].as_array().unwrap().iter().all(|server| server["in_flight"] == 0).then_some(())
    });
}

/// Waits until the gateway has closed every connection; what a client has not read keeps none open.
pub(crate) fn wait_for_closed(gateway: &Gateway) {
    if !cfg!(target_os = "linux") {
        return;
    }
    let port: u16 = gateway.address.rsplit_once(':').unwrap().1.parse().unwrap();
    let local = format!("0100007F:{port:04X}");
    wait_for("connections to be closed", || {
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let is_open = |line: &&str| {
            let columns: Vec<&str> = line.split_whitespace().collect();
            columns.get(1) == Some(&local.as_str()) && columns.get(3) == Some(&"01")
        };
        (table.lines().filter(is_open).count() == 0).then_some(())
    });
}

#[test]
fn answers_that_nobody_reads_end_by_deadline_cancel_and_revocation() {
    let gateway = Gateway::start(&profiles());
    let admin = gateway.admin();
    let (mut unread, mut ends) = (Vec::new(), Vec::new());
    for end in ["total", "cancel", "revoke"] {
        let brief = if end == "total" { "-brief" } else { "" };
        for kind in KINDS {
            let name = format!("{}-{end}", kind.name);
            let scopes = json!({"name": name, "scopes": ["inference", "tools"]});
            let (key, id) = gateway.key(&admin, &scopes);
            let headers = format!("authorization: Bearer {key}\r\nx-request-id: {name}\r\n");
            unread.push((name.clone(), send_unread(&gateway, &(kind.request)(&gateway, &headers, brief))));
            ends.push((end, name, id));
        }
    }
    let record = |name: &str| {
        let answer = gateway.as_bearer(&admin, "GET", &format!("/api/v1/requests/{name}"), None);
        assert_eq!(answer.status, 200, "{name}: {answer:?}");
        answer.json()
    };
    wait_for_stuck(&gateway, &admin, KINDS.len() * 2);
    for (end, name, key) in &ends {
        let (method, path) = match *end {
            "cancel" => ("POST", format!("/api/v1/requests/{name}/cancel")),
            "revoke" => ("DELETE", format!("/api/v1/keys/{key}")),
            _ => continue,
        };
        let done = gateway.as_bearer(&admin, method, &path, None);
        assert!(matches!(done.status, 200 | 204), "{name}: {done:?}");
    }
    for (end, name, _) in &ends {
        let (status, code) = if *end == "total" { ("failed", "timeout") } else { ("cancelled", "cancelled") };
        let ended = wait_for(&format!("{name} to end"), || {
            let record = record(name);
            (record["status"] != "running").then_some(record)
        });
        assert_eq!(
            (&ended["status"], &ended["error_code"]),
            (&json!(status), &json!(code)),
            "{name}: {ended}"
        );
    }
    wait_for_free(&gateway, &admin);
    wait_for_closed(&gateway);
    for (name, mut stream) in unread {
        let mut got = Vec::new();
        stream.read_to_end(&mut got).ok();
        assert!(got.len() < 10 << 20, "{name} came whole");
    }
    let all = gateway.as_bearer(&admin, "GET", "/api/v1/requests?limit=1000", None).json();
    assert_eq!(all["requests"].as_array().unwrap().len(), ends.len(), "one record each");
}

#[test]
fn answer_read_byte_by_byte_ends_by_its_deadline() {
    let gateway = Gateway::start(&profiles());
    let admin = gateway.admin();
    let headers = format!("authorization: Bearer {admin}\r\nx-request-id: drip\r\n");
    let mut stream = send_unread(&gateway, &chat(&gateway, &headers, "-brief", &json!({})));
    let (stop, stopped) = channel::<()>();
    let reading = std::thread::spawn(move || {
        while stopped.recv_timeout(DRIP) == Err(RecvTimeoutError::Timeout) {
            stream.read_exact(&mut [0]).ok();
        }
    });
    let record = || gateway.as_bearer(&admin, "GET", "/api/v1/requests/drip", None).json();
    let ended = wait_for("its end", || Some(record()).filter(|record| record["status"] == "failed"));
    assert_eq!(ended["error_code"], "timeout", "{ended}");
    wait_for_free(&gateway, &admin);
    wait_for_closed(&gateway);
    drop(stop);
    reading.join().unwrap();
}

#[test]
fn download_that_nobody_reads_ends_when_its_caller_loses_the_right() {
    let gateway = Gateway::start(&profiles());
    let admin = gateway.admin();
    // Nothing that could be compressed.
    let mut state = 1_u64;
    let mut noise = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let bytes: Vec<u8> = (0..2 << 20).flat_map(|_| noise()).collect();
    let plugin = gateway.folder.path().join("plugins/large");
    std::fs::create_dir_all(&plugin).unwrap();
    std::fs::write(plugin.join("large.wasm"), bytes).unwrap();
    let (key, id) = gateway.key(&admin, &json!({"name": "k", "scopes": ["admin"]}));
    let request = gateway.wire("GET", "/api/v1/backup", &format!("authorization: Bearer {key}\r\n"), None);
    let mut stream = send_unread(&gateway, &request);
    stream.read_exact(&mut [0; 4096]).unwrap();
    assert_eq!(gateway.as_bearer(&admin, "DELETE", &format!("/api/v1/keys/{id}"), None).status, 204);
    wait_for_closed(&gateway);
    let mut got = Vec::new();
    stream.read_to_end(&mut got).ok();
    assert!(got.len() < 12 << 20, "{} bytes came", got.len());
}
