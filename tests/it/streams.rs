//! Every streaming route ends when its caller loses the right to it, whichever way: a table of routes, each held
//! open by a session and a key of one account while that account, session or key loses something.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;

use serde_json::{Value, json};

use crate::support::http::Stream;
use crate::support::people::PASSWORD;
use crate::support::{Gateway, PROFILES, wait_for};

const ACCEPT: &str = "accept: application/json, text/event-stream\r\n";
const EMAIL: &str = "ada@example.com";
/// Prompts whose answers do not end: one waits, one has short pauses.
const WAITS: &str = "#chunks=4 #gate-after=2";
const FLOWS: &str = "#chunks=1000000 #interval-us=20000";
/// Backends serve so many of these streams at a time.
const TOGETHER: &str = "\n[[profile]]\nname = \"many\"\nmodel = \"./model\"\nmax_concurrent = 200\n";

/// A streaming route, and how it is opened.
struct Row {
    route: &'static str,
    open: fn(&World, &str) -> Stream,
}

/// The gateway and what its streams are about.
struct World {
    gateway: Gateway,
    /// The session of an administrator who loses nothing.
    admin: String,
    download: String,
    /// A hub and a weather service that accept connections and never answer.
    _silent: TcpListener,
}

/// `/v1/completions` passes through as chats do; the scripted server does not stream it.
const ROWS: &[Row] = &[
    Row { route: "GET /api/v1/events", open: |world, who| get(world, who, "/api/v1/events") },
    Row {
        route: "GET /api/v1/servers/{profile}/logs",
        open: |world, who| get(world, who, "/api/v1/servers/many/logs?follow=true"),
    },
    Row {
        route: "GET /api/v1/downloads/{id}/progress",
        open: |world, who| get(world, who, &format!("/api/v1/downloads/{}/progress", world.download)),
    },
    Row { route: "GET /v1/responses/{id}", open: followed_response },
    Row { route: "POST /v1/responses", open: |world, who| response(world, who, &json!({})) },
    Row {
        route: "POST /v1/responses",
        open: |world, who| response(world, who, &json!({"background": true})),
    },
    Row { route: "POST /v1/chat/completions", open: |world, who| chat(world, who, &json!({})) },
    Row { route: "POST /v1/chat/completions", open: |world, who| chat(world, who, &json!({"n": 2})) },
    Row {
        route: "POST /v1/chat/completions",
        open: |world, who| {
            let said = json!({"messages": [{"role": "user", "content": FLOWS}]});
            chat(world, &format!("x-mlx-gateway-tools: calculator\r\n{who}"), &said)
        },
    },
    Row {
        route: "POST /v1/messages",
        open: |world, who| {
            let messages = json!([{"role": "user", "content": WAITS}]);
            let body = json!({"model": "many", "stream": true, "max_tokens": 9, "messages": messages});
            post(world, who, "/v1/messages", &body)
        },
    },
    Row { route: "GET /mcp", open: |world, who| get(world, &mcp_session(world, who), "/mcp") },
    Row {
        route: "POST /mcp",
        open: |world, who| {
            let params = json!({"name": "get_weather", "arguments": {"location": "Paris"}});
            let call = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params});
            post(world, &mcp_session(world, who), "/mcp", &call)
        },
    },
];

/// The same, of a gateway whose engine is being installed by another.
const ENGINE_ROWS: &[Row] = &[
    Row { route: "POST /api/v1/engines/{name}/install", open: |world, who| engine(world, who, "install") },
    Row { route: "POST /api/v1/engines/{name}/upgrade", open: |world, who| engine(world, who, "upgrade") },
    Row { route: "POST /api/v1/engines/{name}/rollback", open: |world, who| engine(world, who, "rollback") },
];

/// Routes that stream a whole file, which ends by itself; a unit test of `http::stream` holds how it is cut off.
const FILES: &[&str] = &["GET /api/v1/backup"];

/// Where streams are made, and in how many places. One that is missing here has no row either.
const MADE: &[(&str, usize)] = &[
    ("admin/backup.rs", 1),
    ("admin/downloads.rs", 1),
    ("admin/engines.rs", 1),
    ("admin/events.rs", 1),
    ("admin/servers.rs", 1),
    ("anthropic/messages.rs", 1),
    ("mcp/mod.rs", 1),
    ("openai/driver.rs", 2),
    ("responses/background.rs", 1),
    ("responses/create.rs", 1),
    ("responses/kept.rs", 1),
];
/// How they are made.
const MAKERS: &[&str] = &[
    "stream::body(",
    "stream::file(",
    "stream::limited(",
    "Events::followed(",
    "Events::of_request(",
    "Events::rewritten(",
];

#[test]
fn every_streaming_route_has_a_row() {
    let mut made = Vec::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http");
    sources(&root, &mut |path, text| {
        let count: usize = MAKERS.iter().map(|maker| text.matches(maker).count()).sum();
        let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        if count > 0 && name != "stream.rs" {
            made.push((name, count));
        }
    });
    made.sort();
    let known: Vec<_> = MADE.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
    assert_eq!(made, known, "a new stream needs a row in ROWS and its place in MADE");

    let gateway = Gateway::start(PROFILES);
    let document = gateway.get("/api/openapi.json").json();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let kinds = operation["responses"]["200"]["content"].as_object();
            let streams = kinds.is_some_and(|kinds| {
                kinds
                    .keys()
                    .any(|kind| ["event-stream", "x-ndjson", "zip"].iter().any(|end| kind.ends_with(end)))
            });
            let route = format!("{} {path}", method.to_uppercase());
            let rows = ROWS.iter().chain(ENGINE_ROWS).map(|row| row.route);
            let has_row = rows.chain(FILES.iter().copied()).any(|known| known == route);
            assert!(!streams || has_row, "{route} streams and has no row");
        }
    }
}

#[test]
fn streams_end_with_every_right_of_their_caller() {
    let world = World::start();
    let mut others = get(&world, &bearer(&world.admin), "/api/v1/events?topics=users");
    lose_rights(&world, ROWS);
    while !others.next().expect("streams of others go on").contains("\"removed\":true") {}
}

#[test]
fn streams_about_engines_end_with_every_right_of_their_caller() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.toml"), "[server]\nlisten = \"127.0.0.1:0\"\n").unwrap();
    let engines = folder.path().join("data/engines");
    std::fs::create_dir_all(&engines).unwrap();
    let installer = std::fs::File::create(engines.join("installer.lock")).unwrap();
    installer.lock().unwrap();
    let gateway = Gateway::serve(std::sync::Arc::new(folder), &[]);
    let (admin, silent) = (gateway.admin(), TcpListener::bind("127.0.0.1:0").unwrap());
    let world = World { gateway, admin, download: String::new(), _silent: silent };
    lose_rights(&world, ENGINE_ROWS);
    world.gateway.crash();
}

#[test]
fn streams_without_a_credential_end_when_one_is_needed() {
    let world = World::start_with(|_| String::new());
    let rows = ROWS.iter().map(|row| (row.route, (row.open)(&world, "")));
    let streams: Vec<_> = rows.collect();
    world.gateway.admin();
    assert_ended("the first account", streams);
}

#[test]
fn a_stream_that_never_pauses_ends_with_its_key() {
    let gateway = Gateway::start(PROFILES);
    let admin = gateway.admin();
    let (key, id) = gateway.key(&admin, &json!({"name": "k"}));
    // More than fits between server and client, so that it is under way until the client reads on.
    let mut stream = gateway.stream_as(&key, "qwen", "#chunks=300000");
    while !stream.next().unwrap().contains("\"content\"") {}
    assert_eq!(gateway.as_bearer(&admin, "DELETE", &format!("/api/v1/keys/{id}"), None).status, 204);
    let rest: Vec<String> = std::iter::from_fn(|| stream.next()).collect();
    let [.., error, done] = rest.as_slice() else { panic!("{rest:?}") };
    assert!(error.contains("\"cancelled\"") && done == "data: [DONE]", "{error}");
    assert!(rest.len() < 290_000, "it went on to its end");
}

#[test]
fn a_change_is_refused_when_its_caller_loses_the_right_before_the_body_arrives() {
    let gateway = Gateway::start(PROFILES);
    let admin = gateway.admin();
    let (key, id) = gateway.key(&admin, &json!({"name": "k", "scopes": ["admin"]}));
    let changes = [
        ("POST", "/api/v1/keys", json!({"name": "late", "scopes": ["admin"]})),
        ("POST", "/api/v1/profiles", json!({"name": "late", "model": "builtin:demo"})),
    ];
    // Each is read as far as its head: the gateway asks for the body.
    let begun = changes.map(|(method, path, body)| {
        let headers = format!("{}expect: 100-continue\r\n", bearer(&key));
        let request = gateway.wire(method, path, &headers, Some(&body));
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        let mut connection = TcpStream::connect(&gateway.address).unwrap();
        connection.write_all(format!("{head}\r\n\r\n").as_bytes()).unwrap();
        let mut asked = [0; 25];
        connection.read_exact(&mut asked).unwrap();
        assert_eq!(asked, *b"HTTP/1.1 100 Continue\r\n\r\n");
        (connection, body.to_owned())
    });
    assert_eq!(gateway.as_bearer(&admin, "DELETE", &format!("/api/v1/keys/{id}"), None).status, 204);
    for (mut connection, body) in begun {
        connection.write_all(body.as_bytes()).unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    }
}

/// Lets an account that administers lose one right after the other while its streams are open.
fn lose_rights(world: &World, rows: &[Row]) {
    let (gateway, admin) = (&world.gateway, world.admin.as_str());
    let (_, id) = gateway.user(admin, EMAIL);
    let change = |what: &str, body: &Value| {
        let changed = gateway.as_bearer(admin, "POST", &format!("/api/v1/users/{id}/{what}"), Some(body));
        assert_eq!(changed.status, 200, "{changed:?}");
        changed.json()
    };
    change("role", &json!({"role": "admin"}));
    let session = || gateway.session(EMAIL);
    let all = json!({"name": "k", "scopes": ["inference", "mcp", "tools", "admin-read", "admin"]});
    let open = |who: &str| -> Vec<(&'static str, Stream)> {
        rows.iter().map(|row| (row.route, (row.open)(world, &bearer(who)))).collect()
    };

    let (mine, streams) = {
        let mine = session();
        let streams = open(&mine);
        (mine, streams)
    };
    assert_eq!(gateway.as_bearer(&mine, "POST", "/api/v1/auth/logout", None).status, 204);
    assert_ended("log-out", streams);

    let mine = session();
    let streams = open(&mine);
    let listed = gateway.as_bearer(&mine, "GET", "/api/v1/auth/sessions", None).json();
    let current = listed["sessions"].as_array().unwrap().iter().find(|one| one["current"] == true).unwrap();
    let path = format!("/api/v1/auth/sessions/{}", current["id"].as_str().unwrap());
    assert_eq!(gateway.as_bearer(admin, "DELETE", &path, None).status, 204);
    assert_ended("the end of the session by another", streams);

    let (key, key_id) = gateway.key(&session(), &all);
    let streams = open(&key);
    assert_eq!(gateway.as_bearer(admin, "DELETE", &format!("/api/v1/keys/{key_id}"), None).status, 204);
    assert_ended("revocation", streams);

    let (key, key_id) = gateway.key(&session(), &all);
    let streams = open(&key);
    let rotate = format!("/api/v1/keys/{key_id}/rotate");
    assert_eq!(gateway.as_bearer(admin, "POST", &rotate, Some(&json!({"grace": "1s"}))).status, 200);
    assert_ended("the end of a rotated secret's grace period", streams);

    let traded = gateway.key(&session(), &all);
    let log_in = gateway.call("POST", "/api/v1/auth/login", "", Some(&json!({"api_key": traded.0})));
    let streams = open(log_in.json()["token"].as_str().unwrap());
    assert_eq!(gateway.as_bearer(admin, "DELETE", &format!("/api/v1/keys/{}", traded.1), None).status, 204);
    assert_ended("revocation of the session's key", streams);

    // The first route alone: opening all of them might take longer.
    let expires = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(5);
    let mut soon = all.clone();
    soon["expires_at"] = expires.to_string().into();
    let (key, _) = gateway.key(&session(), &soon);
    assert_ended("expiry", vec![(rows[0].route, (rows[0].open)(world, &bearer(&key)))]);

    let ways: [(&str, &str, Value); 4] = [
        ("tool restriction", "tools", json!({"tools": ["calculator"]})),
        ("password by an administrator", "reset-password", json!({"password": PASSWORD})),
        ("role", "role", json!({"role": "user"})),
        ("disable", "disable", json!({})),
    ];
    let (key, _) = gateway.key(&session(), &all);
    for (way, what, body) in &ways {
        let mut streams = open(&session());
        streams.extend(open(&key));
        change(what, body);
        assert_ended(way, streams);
        change("tools", &json!({"tools": null}));
        if *what == "role" {
            change("role", &json!({"role": "admin"}));
        }
    }
    change("enable", &json!({}));

    let mut streams = open(&session());
    streams.extend(open(&key));
    let link = change("reset-password", &json!({}))["token"].clone();
    let reset = json!({"token": link, "password": PASSWORD});
    assert_eq!(gateway.call("POST", "/api/v1/auth/reset-password", "", Some(&reset)).status, 204);
    assert_ended("password by link", streams);

    let mut streams = open(&session());
    streams.extend(open(&key));
    assert_eq!(gateway.as_bearer(admin, "DELETE", &format!("/api/v1/users/{id}"), None).status, 204);
    assert_ended("removal", streams);
}

fn assert_ended(way: &str, streams: Vec<(&'static str, Stream)>) {
    for (at, (route, mut stream)) in streams.into_iter().enumerate() {
        assert!(stream.reaches_its_end(), "{route} (number {at}) goes on after: {way}");
    }
}

impl World {
    fn start() -> World {
        World::start_with(Gateway::admin)
    }

    fn start_with(admin: fn(&Gateway) -> String) -> World {
        let folder = tempfile::tempdir().unwrap();
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", silent.local_addr().unwrap());
        put_weather(folder.path(), &url);
        let profiles = format!("[hub]\nendpoint = \"{url}\"\n{TOGETHER}");
        let gateway = Gateway::start_in(std::sync::Arc::new(folder), &profiles, &[]);
        assert_eq!(gateway.chat("many", "#chunks=1").status, 200);
        let granted = gateway.cli(&["plugins", "grant", "get_weather", "--yes"]);
        assert!(granted.status.success(), "{granted:?}");
        let begun = gateway.post("/api/v1/downloads", &json!({"model": "o/m"}).to_string());
        assert_eq!(begun.status, 202, "{begun:?}");
        let download = begun.json()["id"].as_str().unwrap().to_owned();
        World { admin: admin(&gateway), gateway, download, _silent: silent }
    }
}

/// The bundled plugin, which asks a service that never answers.
fn put_weather(folder: &Path, url: &str) {
    crate::support::weather::put_plugin(folder);
    let manifest = format!(
        "name = \"get_weather\"\nversion = \"1.0.0\"\n[permissions]\nhttp = [\"{url}\"]\nallow_private = [\"127.0.0.1\"]\n\
         [config]\ngeocoding_url = \"{url}\"\nforecast_url = \"{url}\"\n[limits]\nwall_ms = 60000\n"
    );
    std::fs::write(folder.join("plugins/get_weather/plugin.toml"), manifest).unwrap();
}

fn bearer(token: &str) -> String {
    format!("authorization: Bearer {token}\r\n")
}

fn get(world: &World, headers: &str, path: &str) -> Stream {
    opened(world.gateway.open(&world.gateway.wire("GET", path, &format!("{ACCEPT}{headers}"), None)), path)
}

fn post(world: &World, headers: &str, path: &str, body: &Value) -> Stream {
    opened(
        world.gateway.open(&world.gateway.wire("POST", path, &format!("{ACCEPT}{headers}"), Some(body))),
        path,
    )
}

fn opened(stream: Stream, path: &str) -> Stream {
    assert_eq!(stream.status, 200, "{path}: {}", stream.head);
    assert!(stream.head.contains("transfer-encoding: chunked"), "{path}: {}", stream.head);
    stream
}

fn chat(world: &World, headers: &str, more: &Value) -> Stream {
    let messages = json!([{"role": "user", "content": WAITS}]);
    let mut body = json!({"model": "many", "stream": true, "messages": messages});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let mut stream = post(world, headers, "/v1/chat/completions", &body);
    assert!(stream.next().is_some());
    stream
}

fn response(world: &World, headers: &str, more: &Value) -> Stream {
    let mut body = json!({"model": "many", "stream": true, "input": WAITS});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let mut stream = post(world, headers, "/v1/responses", &body);
    assert!(stream.next().is_some());
    stream
}

fn followed_response(world: &World, headers: &str) -> Stream {
    let body = json!({"model": "many", "input": WAITS, "background": true});
    let begun = world.gateway.call("POST", "/v1/responses", headers, Some(&body)).json();
    let path = format!("/v1/responses/{}", begun["id"].as_str().unwrap());
    wait_for("the response to be in progress", || {
        (world.gateway.call("GET", &path, headers, None).json()["status"] == "in_progress").then_some(())
    });
    get(world, headers, &format!("{path}?stream=true"))
}

fn engine(world: &World, headers: &str, what: &str) -> Stream {
    post(world, headers, &format!("/api/v1/engines/mlx-openai-server/{what}"), &json!({}))
}

/// Headers of a new MCP session.
fn mcp_session(world: &World, headers: &str) -> String {
    let initialize = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"},
    }});
    let who = format!("{ACCEPT}{headers}");
    let answer = world.gateway.call("POST", "/mcp", &who, Some(&initialize));
    let id = answer.header("mcp-session-id").unwrap_or_else(|| panic!("{answer:?}"));
    let headers = format!("{headers}mcp-session-id: {id}\r\nmcp-protocol-version: 2025-06-18\r\n");
    let ready = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    let told = world.gateway.call("POST", "/mcp", &format!("{ACCEPT}{headers}"), Some(&ready));
    assert_eq!(told.status, 202, "{told:?}");
    headers
}

fn sources(folder: &Path, seen: &mut dyn FnMut(&Path, &str)) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, seen);
        } else {
            seen(&path, &std::fs::read_to_string(&path).unwrap());
        }
    }
}
