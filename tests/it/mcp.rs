//! `/mcp`, as its wire format is.

use serde_json::{Value, json};

use std::sync::Mutex;

use crate::support::http::Answer;
use crate::support::{Gateway, PROFILES};

const ACCEPT: &str = "accept: application/json, text/event-stream\r\n";

fn initialize() -> String {
    json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"},
    }})
    .to_string()
}

/// A session's headers, which begin with those that say who it is.
pub fn session(gateway: &Gateway, who: &str) -> String {
    let who = format!("{ACCEPT}{who}");
    let answer = gateway.post_with("/mcp", &who, &initialize());
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(result(&answer)["capabilities"]["tools"].is_object(), "{answer:?}");
    let id = answer.header("mcp-session-id").unwrap();
    let headers = format!("{who}mcp-session-id: {id}\r\nmcp-protocol-version: 2025-06-18\r\n");
    let ready = json!({"jsonrpc": "2.0", "method": "notifications/initialized"}).to_string();
    assert_eq!(gateway.post_with("/mcp", &headers, &ready).status, 202);
    headers
}

/// The result in the last event that is a response.
fn result(answer: &Answer) -> Value {
    let data = answer.body.lines().filter_map(|line| line.strip_prefix("data:"));
    let messages = data.filter_map(|data| serde_json::from_str::<Value>(data.trim()).ok());
    messages
        .filter_map(|message| message.get("result").cloned())
        .next_back()
        .unwrap_or_else(|| panic!("{answer:?}"))
}

fn ask(gateway: &Gateway, headers: &str, method: &str, params: &Value) -> Answer {
    let body = json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params}).to_string();
    gateway.post_with("/mcp", headers, &body)
}

#[test]
fn tools_are_listed_and_called_and_their_failures_are_results() {
    let gateway = Gateway::start(PROFILES);
    let headers = session(&gateway, "");
    let tools = result(&ask(&gateway, &headers, "tools/list", &json!({})));
    assert_eq!(tools["tools"][0]["name"], "calculator");
    assert_eq!(tools["tools"][0]["annotations"]["readOnlyHint"], true);
    let call = |expression: &str| {
        let params = json!({"name": "calculator", "arguments": {"expression": expression}});
        result(&ask(&gateway, &headers, "tools/call", &params))
    };
    let sum = call("0.1 + 0.2");
    assert_eq!((&sum["content"][0]["text"], &sum["isError"]), (&json!("0.3"), &json!(false)));
    assert_eq!(call("1 / 0")["isError"], true);
    let wrong =
        result(&ask(&gateway, &headers, "tools/call", &json!({"name": "calculator", "arguments": {}})));
    assert_eq!(wrong["isError"], true, "{wrong}");
    let unknown = ask(&gateway, &headers, "tools/call", &json!({"name": "nothing", "arguments": {}}));
    assert!(unknown.body.contains("there is no tool"), "{unknown:?}");
}

#[test]
fn a_key_that_is_restricted_to_tools_sees_and_calls_no_others() {
    let gateway = Gateway::start(PROFILES);
    let admin = gateway.admin();
    let (all, _) = gateway.key(&admin, &json!({"name": "all", "scopes": ["mcp"]}));
    let (one, _) = gateway.key(&admin, &json!({"name": "one", "scopes": ["mcp"], "tools": ["get_weather"]}));
    let sum = json!({"name": "calculator", "arguments": {"expression": "6 * 7"}});
    let seen = |key: &str| {
        let headers = session(&gateway, &format!("authorization: Bearer {key}\r\n"));
        let tools = result(&ask(&gateway, &headers, "tools/list", &json!({})));
        let names = tools["tools"].as_array().unwrap().iter().map(|tool| tool["name"].clone());
        (names.collect::<Vec<_>>(), ask(&gateway, &headers, "tools/call", &sum))
    };
    let (names, called) = seen(&all);
    assert!(names.contains(&json!("calculator")), "{names:?}");
    assert_eq!(result(&called)["content"][0]["text"], "42");
    let (names, called) = seen(&one);
    assert!(!names.contains(&json!("calculator")), "{names:?}");
    assert!(called.body.contains("there is no tool"), "{called:?}");
}

#[test]
fn strangers_are_refused_in_json_rpc() {
    let gateway = Gateway::with_env(PROFILES, &[("MLX_GATEWAY_API_KEY", "secret-key")]);
    let refused = gateway.post_with("/mcp", ACCEPT, &initialize());
    assert_eq!((refused.status, &refused.json()["jsonrpc"]), (401, &json!("2.0")));
    let headers = format!("{ACCEPT}authorization: Bearer secret-key\r\n");
    assert_eq!(gateway.post_with("/mcp", &headers, &initialize()).status, 200);
    let foreign = format!("{headers}origin: https://evil.example\r\n");
    assert_eq!(gateway.post_with("/mcp", &foreign, &initialize()).status, 403);
}

#[test]
fn an_account_that_is_restricted_to_tools_sees_and_calls_no_others_whichever_way_it_comes() {
    let gateway = Gateway::start(PROFILES);
    let admin = gateway.admin();
    let (ada, id) = gateway.user(&admin, "ada@example.com");
    let key = |wish: Value| gateway.key(&ada, &wish).0;
    let wide = key(json!({"name": "wide", "scopes": ["mcp", "tools"]}));
    let weather = key(json!({"name": "weather", "scopes": ["mcp", "tools"], "tools": ["get_weather"]}));
    let restrict = |who: &str, tools: Value| {
        gateway.as_bearer(who, "POST", &format!("/api/v1/users/{id}/tools"), Some(&json!({"tools": tools})))
    };
    let sum = json!({"name": "calculator", "arguments": {"expression": "6*7"}});
    // Over MCP and over the admin API: what is listed, and whether the calculator can be called.
    let seen = |who: &str| {
        let bearer = format!("authorization: Bearer {who}\r\n");
        let headers = session(&gateway, &bearer);
        let names = |list: &Value| -> Vec<String> {
            list.as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
        };
        let listed = names(&result(&ask(&gateway, &headers, "tools/list", &json!({})))["tools"]);
        let called = ask(&gateway, &headers, "tools/call", &sum);
        let over_admin = gateway.as_bearer(who, "GET", "/api/v1/tools", None).json();
        let admin_call = gateway.as_bearer(
            who,
            "POST",
            "/api/v1/tools/calculator/call",
            Some(&json!({"arguments": sum["arguments"]})),
        );
        let can = called.body.contains("\"42\"");
        assert_eq!(can, admin_call.status == 200, "{called:?} {admin_call:?}");
        assert_eq!(can, names(&over_admin["tools"]).contains(&"calculator".to_owned()));
        (listed.contains(&"calculator".to_owned()), can)
    };
    assert_eq!((seen(&ada), seen(&wide), seen(&weather)), ((true, true), (true, true), (false, false)));

    assert_eq!(restrict(&ada, Value::Null).status, 403, "nobody chooses that for themselves");
    assert_eq!(restrict(&admin, json!(["get_weather"])).json()["tools"], json!(["get_weather"]));
    assert_eq!((seen(&ada), seen(&wide), seen(&weather)), ((false, false), (false, false), (false, false)));
    assert_eq!(restrict(&admin, json!(["calculator"])).status, 200);
    assert_eq!((seen(&ada), seen(&wide), seen(&weather)), ((true, true), (true, true), (false, false)));
    assert_eq!(restrict(&admin, json!([])).status, 200);
    assert_eq!((seen(&ada), seen(&wide)), ((false, false), (false, false)));

    let left_out = gateway.as_bearer(&admin, "POST", &format!("/api/v1/users/{id}/tools"), Some(&json!({})));
    assert_eq!(left_out.status, 400, "{left_out:?}");
    assert_eq!(restrict(&admin, json!([""])).status, 400);
    assert_eq!(seen(&ada), (false, false), "what is refused changes nothing");

    // It outlives the process, and is lifted on the command line.
    let gateway = Gateway::serve(gateway.crash(), &[]);
    let told =
        |arguments: &[&str]| gateway.cli_json(&[&["users", "tools", "ada@example.com"], arguments].concat());
    let listed = gateway.cli(&["users", "ls"]);
    assert!(String::from_utf8_lossy(&listed.stdout).contains("none"), "{listed:?}");
    assert_eq!(told(&["calculator", "get_weather"])["tools"], json!(["calculator", "get_weather"]));
    assert_eq!(told(&["--none"])["tools"], json!([]));
    assert_eq!(told(&["--all"])["tools"], Value::Null);
    assert_eq!(gateway.cli(&["users", "tools", "ada@example.com"]).status.code(), Some(2), "which ones?");
}

/// Begins a session without using it; `who`: the headers that say who it is.
fn begin(gateway: &Gateway, who: &str) -> (u16, String) {
    let answer = gateway.post_with("/mcp", &format!("{ACCEPT}{who}"), &initialize());
    (answer.status, answer.header("mcp-session-id").unwrap_or_default())
}

fn is_alive(gateway: &Gateway, who: &str, id: &str) -> bool {
    let headers = format!("{ACCEPT}{who}mcp-session-id: {id}\r\nmcp-protocol-version: 2025-06-18\r\n");
    match ask(gateway, &headers, "ping", &json!({})).status {
        200 => true,
        404 => false,
        other => panic!("a ping was answered with {other}"),
    }
}

#[test]
fn mcp_sessions_are_bounded_by_caller_and_in_all_and_idle_ones_make_room() {
    let gateway = Gateway::with_env(PROFILES, &[("MLX_GATEWAY_API_KEY", "secret-key")]);
    // The operator's keys belong to no account: each is a caller of its own.
    let bearer = |name: &str| {
        let (key, _) = gateway.key("secret-key", &json!({"name": name, "scopes": ["mcp"]}));
        format!("authorization: Bearer {key}\r\n")
    };
    let owners: Vec<String> = (0..12).map(|n| bearer(&format!("key {n}"))).collect();
    let other = bearer("other");
    let others = begin(&gateway, &other);
    assert_eq!(others.0, 200);
    let open = |who: &str, id: &str| {
        let head = format!(
            "GET /mcp HTTP/1.1\r\nhost: {}\r\naccept: text/event-stream\r\n{who}mcp-session-id: {id}\r\n\r\n",
            gateway.address
        );
        gateway.open(&head)
    };
    let begun: Mutex<Vec<(usize, String)>> = Mutex::default();
    let held = begin(&gateway, &owners[0]);
    let mut stream = open(&owners[0], &held.1);
    assert_eq!(stream.status, 200);
    let flood = || {
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (gateway, begun, owners) = (&gateway, &begun, &owners);
                scope.spawn(move || {
                    for owner in (0..owners.len()).filter(|owner| owner % 4 == thread) {
                        for _ in 0..210 {
                            let (status, id) = begin(gateway, &owners[owner]);
                            assert_eq!(status, 200);
                            begun.lock().unwrap().push((owner, id));
                        }
                    }
                });
            }
        });
    };
    gateway.grows_at_most(200, flood);
    let begun = begun.into_inner().unwrap();
    assert_eq!(begun.len(), 2520);
    let mut alive = [0; 12];
    for (owner, id) in &begun {
        alive[*owner] += usize::from(is_alive(&gateway, &owners[*owner], id));
    }
    assert!(alive.iter().all(|count| *count <= 100), "{alive:?}");
    let all = alive.iter().sum::<usize>() + 2;
    assert!((900..=1000).contains(&all), "{all}: {alive:?}");
    let first = begun.iter().find(|(owner, _)| *owner == 0).unwrap();
    assert!(!is_alive(&gateway, &owners[0], &first.1), "the oldest idle one was evicted");
    assert!(is_alive(&gateway, &owners[0], &held.1), "one with an open stream is not idle");
    assert!(is_alive(&gateway, &other, &others.1), "nobody else's were evicted");
    assert!(!is_alive(&gateway, &owners[1], &held.1), "a session is known to its caller alone");
    assert_eq!(begin(&gateway, &other).0, 200);
    drop(stream.next());
}

#[test]
fn mcp_refuses_a_session_when_none_of_the_callers_is_idle() {
    let gateway = Gateway::start(PROFILES);
    let streams: Vec<_> = (0..100)
        .map(|_| {
            let (_, id) = begin(&gateway, "");
            let head = format!(
                "GET /mcp HTTP/1.1\r\nhost: {}\r\naccept: text/event-stream\r\nmcp-session-id: {id}\r\n\r\n",
                gateway.address
            );
            gateway.open(&head)
        })
        .collect();
    let refused = gateway.post_with("/mcp", ACCEPT, &initialize());
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (429, &json!(-32004)), "{refused:?}");
    assert!(refused.header("retry-after").is_some() && refused.body.contains("100"), "{refused:?}");
    drop(streams);
    let long = initialize().replace("\"test\"", &format!("\"{}\"", "x".repeat(100_000)));
    assert_eq!(gateway.post_with("/mcp", ACCEPT, &long).status, 413);
}

#[test]
fn mcp_begins_no_session_for_a_request_of_a_revision_without_sessions() {
    let gateway = Gateway::start(PROFILES);
    let headers = format!("{ACCEPT}mcp-protocol-version: 2026-07-28\r\nmcp-method: tools/list\r\n");
    let params = json!({"_meta": {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }});
    let answer = ask(&gateway, &headers, "tools/list", &params);
    assert_eq!((answer.status, answer.header("mcp-session-id")), (200, None), "{answer:?}");
    assert!(answer.body.contains("calculator"), "{answer:?}");
}
