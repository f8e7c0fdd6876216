//! Values from outside (names, records, logs, errors, model output) in every command that prints some: none of them
//! steers the terminal or a pipe, none begins a line of its own, and JSON stays JSON.

use super::gateway::{Gateway, Json, Pieces, Ran, Reply};
use crate::system::terminal::steers;

/// Placeholder of the hostile text in the answers below.
const MARK: &str = "~";
/// As JSON: escape sequences in both forms, line ends of every kind, an override of direction.
const HOSTILE: &str =
    "a\\u001b[2J\\u009b31mb\\r\\nFORGED\\nFORGED\\rFORGED\\u2028FORGED\\u202e\\u2066\\u0007\\u0000\\u007f";
/// A part of it as it is printed.
const SHOWN: &str = "a\\u{1b}[2J\\u{9b}31mb";
/// The same in JSON.
const SHOWN_JSON: &str = "a\\u001b[2J\\u009b31mb";

const PLUGIN: &str = r#"{"name":"~","version":"~","description":"~","state":"~","reason":"~","bundled":false,"path":"~","tools":["~","~"],
    "size_bytes":1,"digest":"~","permissions":{"http":["https://x.example"]},"granted":{},"asks":{"http":["https://x.example"]},
    "limits":null,"load_ms":1,"calls":1,"failures":0,"errors":{"~":1},"mean_ms":null}"#;
const SERVER: &str = r#"{"id":"~","profiles":["~"],"engine":"~","model":"~","state":"failed","detail":"~",
    "error":{"message":"~"},"log_tail":["~"]}"#;
const STARTING: &str = r#"{"id":"~","profiles":["~"],"state":"~","detail":"~"}"#;
const SYSTEM: &str = r#"{"version":"~","data_dir":"~","config_file":"~","listen":["~"],"auth":{"message":"~"},"backends":{"~":1},
    "memory":{"pressure":"~"},"thermal":"~"}"#;
const REQUEST: &str = r#"{"id":"~","client_request_id":"~","endpoint":"~","requested_model":"~","profile":"~","model":"~","key":"~",
    "user":"~","status":"~","error_code":"~","error_message":"~","finish_reason":"~","warnings":["~"],
    "attempts":[{"backend":"~","status":"~","error":"~"}]}"#;
const PROFILE: &str = r#"{"name":"~","aliases":["~"],"origin":"~","shadowed":false,"engine":"~","model":"~","etag":"x",
    "settings":{"system_prompt":"~"},"command":["~"],"command_note":"~","restart_required":true,"changed":[],"warnings":["~"]}"#;
const LOCAL: &str =
    r#"{"id":"~","source":"~","path":"~","size_bytes":1,"complete":false,"used_by":["~"],"problem":"~"}"#;
const USER: &str = r#"{"id":"u","email":"~","role":"~","status":"~","last_login_at":"~","tools":["~"]}"#;
const KEY: &str = r#"{"id":"k","key":"~","name":"~","prefix":"~","status":"~","scopes":["~"],"profiles":["~"],"user_email":"~",
    "last_used_at":"~","old_until":"~"}"#;
const REFUSED: &str = r#"{"error":{"message":"~","code":"~","log_tail":["~"]}}"#;

/// A command, what it asks, and the answer.
struct Case {
    command: &'static str,
    question: &'static str,
    status: u16,
    answer: String,
}

fn case(command: &'static str, question: &'static str, answer: impl Into<String>) -> Case {
    Case { command, question, status: 200, answer: answer.into() }
}

/// Every command that prints what a gateway answers.
fn cases() -> Vec<Case> {
    let list = |name: &str, one: &str| format!("{{\"{name}\":[{one}]}}");
    vec![
        case("status", "GET /api/v1/system", SYSTEM),
        case(
            "doctor",
            "GET /api/v1/doctor",
            list("findings", r#"{"title":"~","level":"ok","message":"~","mend":"~"}"#),
        ),
        case("ps", "GET /api/v1/servers", list("servers", SERVER)),
        case("start x", "POST /api/v1/servers/x/start?wait=true", STARTING),
        case("restart x", "POST /api/v1/servers/x/restart?wait=true", SERVER),
        case("stop x", "POST /api/v1/servers/x/stop", STARTING),
        case("log-level", "GET /api/v1/log", r#"{"filter":"~","at_start":"~1","file":"~"}"#),
        case(
            "usage",
            "GET /api/v1/usage?group_by=day&tz=Europe%2FBerlin",
            r#"{"groups":[{"group":"~","requests":1}],"total":{"requests":1}}"#,
        ),
        case("requests", "GET /api/v1/requests?limit=20", list("requests", REQUEST)),
        case("requests show x", "GET /api/v1/requests/x", REQUEST),
        case("profiles ls", "GET /api/v1/profiles", list("profiles", PROFILE)),
        case("profiles show x", "GET /api/v1/profiles/x", PROFILE),
        case("profiles create x --model y", "POST /api/v1/profiles", PROFILE),
        case(
            "engine ls",
            "GET /api/v1/engines",
            list(
                "engines",
                r#"{"name":"~","state":"~","version":"~","previous":"~","latest":"~","path":"~"}"#,
            ),
        ),
        case("keys ls", "GET /api/v1/keys", list("keys", KEY)),
        case("keys create x", "POST /api/v1/keys", KEY),
        case("users ls", "GET /api/v1/users", list("users", USER)),
        case("plugins ls", "GET /api/v1/plugins", list("plugins", PLUGIN)),
        case("plugins info x", "GET /api/v1/plugins/x", PLUGIN),
        case("plugins rm x", "DELETE /api/v1/plugins/x", PLUGIN),
        case(
            "models search x",
            "GET /api/v1/models/search?sort=downloads&limit=20&offset=0&q=x",
            r#"{"models":[{"id":"~","license":"~","last_modified":"~"}]}"#,
        ),
        case(
            "models ls",
            "GET /api/v1/models",
            format!(r#"{{"models":[{LOCAL}],"total_bytes":1,"cache":"~"}}"#),
        ),
        case(
            "models du",
            "GET /api/v1/models",
            format!(r#"{{"models":[{LOCAL}],"total_bytes":1,"cache":"~"}}"#),
        ),
        case(
            "models show x/y",
            "GET /api/v1/models/x%2Fy",
            format!(r#"{{"id":"~","local":{LOCAL},"problem":{{"message":"~"}}}}"#),
        ),
        case("models rm x/y", "DELETE /api/v1/models/x%2Fy", LOCAL),
        Case { status: 409, ..case("models pull x/y", "POST /api/v1/downloads", REFUSED) },
        Case { status: 409, ..case("requests cancel x", "POST /api/v1/requests/x/cancel", REFUSED) },
        Case { status: 404, ..case("logs x", "GET /api/v1/servers/x/logs?lines=100", REFUSED) },
        Case { status: 500, ..case("run x hi", "POST /v1/chat/completions", REFUSED) },
    ]
}

/// Routes live as long as the test's process.
fn route(question: &'static str, reply: Reply) -> &'static [(&'static str, Reply)] {
    Box::leak(Box::new([(question, reply)]))
}

fn leak(text: String) -> &'static str {
    Box::leak(text.into_boxed_str())
}

async fn run(case: &Case, json: bool, terminal: bool) -> Ran {
    let answer = leak(case.answer.replace(MARK, HOSTILE));
    let gateway = Gateway::answering(route(case.question, Json(case.status, answer))).await;
    let mut arguments: Vec<&str> = case.command.split(' ').collect();
    if json {
        arguments.push("--json");
    }
    let ran = gateway.run_with(&arguments, "", terminal).await;
    let asked = gateway.asked();
    assert!(asked.iter().any(|asked| asked.starts_with(case.question)), "{asked:?} {ran:?}");
    ran
}

/// The program's own sequences.
fn without_own(text: &str) -> String {
    ["\r\x1b[2K", "\x1b[2m", "\x1b[1;31m", "\x1b[0m", "\x1b[H\x1b[J"]
        .iter()
        .fold(text.to_owned(), |text, own| text.replace(own, ""))
}

fn is_tame(ran: &Ran) -> bool {
    let steering = |c| steers(c) && c != '\n' && c != '\t';
    [&ran.stdout, &ran.stderr].iter().all(|text| !without_own(text).contains(steering))
}

#[tokio::test]
async fn no_command_prints_a_value_that_steers_or_begins_a_line() {
    let mut wrong = Vec::new();
    for case in cases() {
        for terminal in [false, true] {
            let ran = run(&case, false, terminal).await;
            let all = format!("{}{}", ran.stdout, ran.stderr);
            let forged = all.lines().any(|line| line.starts_with("FORGED"));
            // A command that printed none of it would pass for nothing.
            if !is_tame(&ran) || forged || !all.contains(SHOWN) {
                wrong.push((case.command, terminal, ran));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn json_of_every_command_is_escaped_and_the_same_json() {
    let mut wrong = Vec::new();
    for case in cases() {
        let ran = run(&case, true, false).await;
        let text = if case.status == 200 { &ran.stdout } else { &ran.stderr };
        let read = serde_json::from_str::<serde_json::Value>(text);
        if !is_tame(&ran) || read.is_err() || !text.contains(SHOWN_JSON) {
            wrong.push((case.command, read, ran));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn model_output_and_logs_keep_their_lines_and_tabs_and_nothing_else_that_steers() {
    const CHUNKS: &[&str] = &[
        ": loading \u{1b}[2J\n\n",
        "data: {\"choices\":[{\"delta\":{\"reasoning_content\":\"th\\u001b[2Jink\\r\\nmore\"}}]}\n\n",
        "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"name\":\"n\\u009b2J\",\"arguments\":\"\\u0007\"}}]}}]}\n\n",
        "data: {\"choices\":[{\"delta\":{\"content\":\"one\\r\\n\\ttwo\\u001b]0;t\\u0007\\u202e\"}}]}\n\ndata: [DONE]\n\n",
    ];
    for terminal in [false, true] {
        let gateway = Gateway::answering(route("POST /v1/chat/completions", Pieces(CHUNKS))).await;
        let ran = gateway.run_with(&["run", "x", "hi"], "", terminal).await;
        assert!(is_tame(&ran), "{ran:?}");
        assert_eq!(ran.stdout, "one\n\ttwo\\u{1b}]0;t\\u{7}\\u{202e}\n");
        assert!(without_own(&ran.stderr).contains("th\\u{1b}[2Jink\nmore"), "{}", ran.stderr);
    }
    const LINES: &[&str] = &["a\u{1b}[31mb\tc\u{9b}d\r\r\n", "e\u{202e}\n"];
    let gateway = Gateway::answering(route("GET /api/v1/servers/x/logs?lines=100", Pieces(LINES))).await;
    let ran = gateway.run(&["logs", "x"]).await;
    assert_eq!(ran.stdout, "a\\u{1b}[31mb\tc\\u{9b}d\\r\ne\\u{202e}\n");
    const TOOL: &str = "{\"content\":[{\"type\":\"text\",\"text\":\"a\\nb\\u001b[2J\"}],\"structured\":null,\"is_error\":false}";
    let gateway = Gateway::answering(route("POST /api/v1/tools/x/call", Json(200, TOOL))).await;
    let ran = gateway.run(&["plugins", "call", "x"]).await;
    assert_eq!(ran.stdout, "a\nb\\u{1b}[2J\n");
    const TOML: &[&str] = &["[[profile]]\n", "name = \"x\u{9b}\"\n"];
    let gateway = Gateway::answering(route("GET /api/v1/profiles/x/export", Pieces(TOML))).await;
    let ran = gateway.run(&["profiles", "export", "x"]).await;
    assert_eq!(ran.stdout, "[[profile]]\nname = \"x\\u{9b}\"\n");
}
