//! Clients that read nothing of streams without a record, and of whole answers that are complete before they are read:
//! each connection ends with its caller's right, and holds no place of a backend's.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::fake::FakeServer;
use crate::support::{Gateway, wait_for};
use crate::waits::{profiles, send_unread, wait_for_closed, wait_for_free};

const ACCEPT: &str = "accept: application/json, text/event-stream\r\n";
/// An answer below the bound of what is put together and above what sockets buffer.
const LARGE: &str = "#chunks=390 #token-bytes=10000";
/// Bytes that wait for a client when its connection is stuck.
const STUCK: u64 = 100_000;
/// Time without a change after which that is sure.
const SETTLED: Duration = Duration::from_millis(700);

/// A stream: how it is opened with a credential's headers, and what makes it long.
struct Row {
    name: &'static str,
    request: fn(&Gateway, &str) -> String,
    fill: fn(&Gateway, &str),
}

const ROWS: &[Row] = &[
    Row {
        name: "events",
        request: |gateway, headers| gateway.wire("GET", "/api/v1/events", headers, None),
        fill: |gateway, admin| {
            for n in 0..70 {
                let profile = json!({"name": format!("p{n}"), "model": "builtin:demo", "description": "x".repeat(100_000)});
                let added = gateway.as_bearer(admin, "POST", "/api/v1/profiles", Some(&profile));
                assert_eq!(added.status, 201, "{added:?}");
            }
        },
    },
    Row {
        name: "log",
        request: |gateway, headers| {
            gateway.wire("GET", "/api/v1/servers/many/logs?follow=true", headers, None)
        },
        fill: |gateway, admin| {
            for _ in 0..30 {
                assert_eq!(gateway.chat_as(admin, "many", "#log=2000 #chunks=1").status, 200);
            }
        },
    },
    Row { name: "mcp call", request: mcp_call, fill: |_, _| {} },
    Row {
        name: "background response",
        request: |gateway, headers| {
            let body = json!({"model": "many", "stream": true, "background": true, "input": LARGE});
            gateway.wire("POST", "/v1/responses", headers, Some(&body))
        },
        fill: |_, _| {},
    },
    Row {
        name: "followed response",
        request: |gateway, headers| {
            let body = json!({"model": "many", "input": LARGE, "background": true});
            let begun = gateway.call("POST", "/v1/responses", headers, Some(&body)).json();
            let path = format!("/v1/responses/{}", begun["id"].as_str().unwrap());
            wait_for("the response to be in progress", || {
                let status = gateway.call("GET", &path, headers, None).json()["status"].clone();
                (status != "queued").then_some(())
            });
            gateway.wire("GET", &format!("{path}?stream=true"), headers, None)
        },
        fill: |_, _| {},
    },
];

/// Writes a request to a profile.
type Request = fn(&Gateway, &str) -> String;

/// Whole answers.
const WHOLE: &[(&str, Request)] = &[
    ("chat", |gateway, headers| chat(gateway, headers, "many", &json!({}))),
    ("passthrough", |gateway, headers| chat(gateway, headers, "elsewhere", &json!({}))),
    ("n", |gateway, headers| {
        let prompt = "#chunks=190 #token-bytes=10000";
        chat(gateway, headers, "many", &json!({"n": 2, "messages": [{"role": "user", "content": prompt}]}))
    }),
    ("tools", |gateway, headers| {
        chat(gateway, &format!("{headers}x-mlx-gateway-tools: calculator\r\n"), "many", &json!({}))
    }),
    ("messages", |gateway, headers| {
        let messages = json!([{"role": "user", "content": LARGE}]);
        let body = json!({"model": "many", "max_tokens": 2000, "messages": messages});
        gateway.wire("POST", "/v1/messages", headers, Some(&body))
    }),
    ("responses", |gateway, headers| {
        gateway.wire("POST", "/v1/responses", headers, Some(&json!({"model": "many", "input": LARGE})))
    }),
];

fn chat(gateway: &Gateway, headers: &str, model: &str, more: &Value) -> String {
    let mut body = json!({"model": model, "messages": [{"role": "user", "content": LARGE}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    gateway.wire("POST", "/v1/chat/completions", headers, Some(&body))
}

/// A tool call that reports its progress without end, in a session of its own.
fn mcp_call(gateway: &Gateway, headers: &str) -> String {
    let initialize = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"},
    }});
    let answer = gateway.call("POST", "/mcp", &format!("{ACCEPT}{headers}"), Some(&initialize));
    let id = answer.header("mcp-session-id").unwrap_or_else(|| panic!("{answer:?}"));
    let headers = format!("{ACCEPT}{headers}mcp-session-id: {id}\r\nmcp-protocol-version: 2025-06-18\r\n");
    let ready = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    assert_eq!(gateway.call("POST", "/mcp", &headers, Some(&ready)).status, 202);
    let params =
        json!({"name": "progress_flood", "arguments": {}, "_meta": {"progressToken": "x".repeat(50_000)}});
    let call = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params});
    gateway.wire("POST", "/mcp", &headers, Some(&call))
}

/// Bytes that the gateway's system holds for a client; none: the gateway has closed the connection.
fn unsent(gateway: &Gateway, client: &TcpStream) -> Option<u64> {
    let port = |address: &str| address.rsplit_once(':').unwrap().1.parse::<u16>().unwrap();
    let local = format!(":{:04X}", port(&gateway.address));
    let remote = format!(":{:04X}", client.local_addr().unwrap().port());
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let mut lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let columns = lines.find(|columns| {
        // A closed one stays in the table for as long as it has bytes that its client does not take.
        columns.get(1).is_some_and(|at| at.ends_with(&local))
            && columns.get(2).is_some_and(|at| at.ends_with(&remote))
            && columns.get(3) == Some(&"01")
    })?;
    Some(u64::from_str_radix(columns[4].split(':').next().unwrap(), 16).unwrap())
}

/// Waits until the connection takes no more.
fn wait_for_stuck(gateway: &Gateway, name: &str, client: &TcpStream) {
    let mut last = (0, Instant::now());
    wait_for(&format!("{name} to be stuck"), || {
        let now = unsent(gateway, client).unwrap_or_else(|| panic!("{name} was closed"));
        if now != last.0 || now < STUCK {
            last = (now, Instant::now());
        }
        (last.1.elapsed() > SETTLED).then_some(())
    });
}

#[test]
fn streams_that_nobody_reads_end_with_their_callers_right() {
    if !cfg!(target_os = "linux") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let plugin = folder.path().join("plugins/test_tools");
    std::fs::create_dir_all(&plugin).unwrap();
    let wasm = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/plugins/test_tools/test_tools.wasm");
    std::fs::copy(wasm, plugin.join("test_tools.wasm")).unwrap();
    std::fs::write(plugin.join("plugin.toml"), "name = \"test_tools\"\n").unwrap();
    let gateway = Gateway::start_in(std::sync::Arc::new(folder), &profiles(), &[]);
    let admin = gateway.admin();
    assert_eq!(gateway.chat_as(&admin, "many", "#chunks=1").status, 200);
    let mut open = Vec::new();
    for row in ROWS {
        let scopes = json!({"name": row.name, "scopes": ["admin", "inference", "tools", "mcp"]});
        let (key, id) = gateway.key(&admin, &scopes);
        let request = (row.request)(&gateway, &format!("authorization: Bearer {key}\r\n"));
        let client = send_unread(&gateway, &request);
        (row.fill)(&gateway, &admin);
        wait_for_stuck(&gateway, row.name, &client);
        open.push((row.name, client, id));
    }
    for (name, _, key) in &open {
        let revoked = gateway.as_bearer(&admin, "DELETE", &format!("/api/v1/keys/{key}"), None);
        assert_eq!(revoked.status, 204, "{name}");
    }
    wait_for_free(&gateway, &admin);
    wait_for_closed(&gateway);
}

#[test]
fn whole_answers_that_nobody_reads_hold_no_place_and_end_with_their_callers_right() {
    if !cfg!(target_os = "linux") {
        return;
    }
    let upstream = FakeServer::start(&[]);
    let elsewhere = format!(
        "[[profile]]\nname = \"elsewhere\"\nengine = \"url\"\nurl = {:?}\nmodel = \"fake\"\n",
        upstream.url()
    );
    let gateway = Gateway::start(&(profiles() + &elsewhere));
    let admin = gateway.admin();
    let mut open = Vec::new();
    for (name, request) in WHOLE {
        let (key, id) = gateway.key(&admin, &json!({"name": name, "scopes": ["inference", "tools"]}));
        let request = request(&gateway, &format!("authorization: Bearer {key}\r\n"));
        open.push((name, send_unread(&gateway, &request), id));
    }
    for (name, client, _) in &open {
        wait_for_stuck(&gateway, name, client);
    }
    // They are complete: what they wait for is their clients alone, at the least pace that any answer is read with.
    wait_for_free(&gateway, &admin);
    for (name, _, key) in &open {
        let revoked = gateway.as_bearer(&admin, "DELETE", &format!("/api/v1/keys/{key}"), None);
        assert_eq!(revoked.status, 204, "{name}");
    }
    wait_for_closed(&gateway);
}
