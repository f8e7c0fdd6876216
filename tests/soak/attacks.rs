//! Requests that are small and would cost much: schemas, answers without end, MCP sessions, large names at log-in,
//! errors of a backend that stall.

use std::time::Duration;

use serde_json::{Value, json};

use crate::clients::{COMPLETED, Dice, LATE, end_of};
use crate::support::bombs::{GROWING, deep, doubling, pattern_bomb};
use crate::{Kind, Soak, chat};

const PATH: &str = "/v1/chat/completions";
const TOO_LARGE: &str = "502 answer_too_large";

pub fn kinds() -> Vec<Kind> {
    vec![
        Kind {
            name: "stalled error",
            clients: (2, 6),
            ask: stalled_error,
            ends: &["500 backend_error", "502 backend_error"],
        },
        Kind {
            name: "schema bomb",
            clients: (2, 4),
            ask: schema_bomb,
            ends: &["400 invalid_request_error", COMPLETED],
        },
        Kind { name: "endless tool chat", clients: (1, 3), ask: endless_tool_chat, ends: &[TOO_LARGE, LATE] },
        Kind {
            name: "endless structured",
            clients: (1, 3),
            ask: endless_structured,
            ends: &[TOO_LARGE, LATE],
        },
        Kind { name: "mcp flood", clients: (1, 3), ask: initialize, ends: &[COMPLETED, "mcp refused"] },
        Kind {
            name: "log-in",
            clients: (1, 2),
            ask: log_in,
            ends: &[
                "400 invalid_request_error",
                "401 invalid_credentials",
                "413 request_too_large",
                "429 too_many_attempts",
            ],
        },
    ]
}

/// The backend answers with an error of which it sends one half.
fn stalled_error(soak: &Soak, dice: &mut Dice, id: &str) -> Option<String> {
    let more = json!({"stream": dice.roll(2) > 0});
    soak.post(id, PATH, "", &chat("free", "#stall=error", more))
}

fn with_schema(schema: &Value, more: &Value) -> Value {
    let format = json!({"type": "json_schema", "json_schema": {"name": "x", "schema": schema}});
    json!({"response_format": format, "stream": more})
}

fn schema_bomb(soak: &Soak, dice: &mut Dice, id: &str) -> Option<String> {
    let streamed = json!(dice.roll(2) > 0);
    let (schema, prompt) = match dice.roll(3) {
        0 => (pattern_bomb(), "x".to_owned()),
        1 => (doubling(), "#text={}".to_owned()),
        _ => (serde_json::from_str(GROWING).unwrap(), format!("#text={}", deep())),
    };
    soak.post(id, PATH, "", &chat("free", &prompt, with_schema(&schema, &streamed)))
}

const ENDLESS: &str = "#endless=20000";

fn endless_tool_chat(soak: &Soak, dice: &mut Dice, id: &str) -> Option<String> {
    soak.post(id, PATH, "", &chat("tooled", ENDLESS, json!({"stream": dice.roll(2) > 0})))
}

fn endless_structured(soak: &Soak, dice: &mut Dice, id: &str) -> Option<String> {
    let more = with_schema(&json!({"type": "object"}), &json!(dice.roll(2) > 0));
    soak.post(id, PATH, "", &chat("structured", ENDLESS, more))
}

/// A session that is never closed.
fn initialize(soak: &Soak, _: &mut Dice, id: &str) -> Option<String> {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "soak", "version": "1"},
    }});
    let headers =
        format!("accept: application/json, text/event-stream\r\nauthorization: Bearer {}\r\n", soak.keys.mcp);
    let request = soak.request(id, "/mcp", &headers, &body.to_string());
    let mut connection = soak.connect(request.as_bytes())?;
    let mut answer = Vec::new();
    std::io::Read::read_to_end(&mut connection, &mut answer).ok()?;
    let head = String::from_utf8_lossy(&answer[..answer.len().min(600)]).into_owned();
    Some(match head.split(' ').nth(1) {
        Some("200") if head.contains("mcp-session-id: ") => COMPLETED.into(),
        Some("429" | "503") if head.contains("retry-after: ") => "mcp refused".into(),
        _ => format!("mcp: {head}"),
    })
}

/// A name of 2 MB, and now and then a short one.
fn log_in(soak: &Soak, dice: &mut Dice, id: &str) -> Option<String> {
    std::thread::park_timeout(Duration::from_millis(100));
    let name = if dice.roll(8) == 0 { "a".into() } else { "a".repeat(2_000_000) };
    let body =
        format!("{{\"email\":\"{name}-{}@example.com\",\"password\":\"wrong password\"}}", dice.roll(100));
    let request = soak.request(id, "/api/v1/auth/login", "", &body);
    Some(end_of(&mut soak.connect(request.as_bytes())?))
}
