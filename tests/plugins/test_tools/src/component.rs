//! All of them, by name.

wit_bindgen::generate!({ path: "../../../plugins/wit", world: "http-tool-plugin", generate_all });

use exports::mlx_gateway::plugin::tools::Guest;
use mlx_gateway::plugin::types::{Blob, Body, CallContext, Content, Embedded, Tool, ToolError, ToolResult};
use mlx_gateway::plugin::{logging, progress};
use wasi::http::outgoing_handler::handle;
use wasi::http::types::{Fields, OutgoingRequest, Scheme};

const ANYTHING: &str = r#"{"type":"object"}"#;
const NUMBER: &str = r#"{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"]}"#;
const MISBEHAVING: [&str; 15] = [
    "spin", "hog", "crash", "recurse", "flood", "many_items", "log_flood", "progress_flood", "print_flood",
    "wrong_result", "no_result", "broken_result", "fetch", "sleep", "look_around",
];
const CONFORMING: [&str; 9] = [
    "test_simple_text", "test_image_content", "test_audio_content", "test_embedded_resource",
    "test_multiple_content_types", "test_tool_with_logging", "test_tool_with_progress", "test_error_handling",
    "json_schema_2020_12_tool",
];
const MODERN: &str = r##"{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","$defs":{"address":{"type":"object","properties":{"street":{"type":"string"},"city":{"type":"string"}}}},"properties":{"name":{"type":"string"},"address":{"$ref":"#/$defs/address"}},"additionalProperties":false}"##;
/// One red pixel.
const PNG: &[u8] = &[
    0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a, 0, 0, 0, 0x0d, b'I', b'H', b'D', b'R', 0, 0, 0, 1, 0, 0, 0, 1, 8, 2,
    0, 0, 0, 0x90, b'w', b'S', 0xde, 0, 0, 0, 0x0c, b'I', b'D', b'A', b'T', 0x08, 0xd7, 0x63, 0xf8, 0xcf, 0xc0, 0, 0, 3,
    1, 1, 0, 0x18, 0xdd, 0x8d, 0xb0, 0, 0, 0, 0, b'I', b'E', b'N', b'D', 0xae, b'B', 0x60, 0x82,
];
/// No sound at all.
const WAV: &[u8] = b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x40\x1f\0\0\x01\0\x08\0data\0\0\0\0";

struct TestTools;
export!(TestTools);

impl Guest for TestTools {
    fn list_tools() -> Result<Vec<Tool>, String> {
        Ok(MISBEHAVING.iter().chain(&CONFORMING).map(|name| tool(name)).collect())
    }

    fn call_tool(name: String, arguments: String, _context: CallContext) -> Result<ToolResult, ToolError> {
        match name.as_str() {
            "spin" => loop {
                std::hint::black_box(0);
            },
            "hog" => {
                let mut all: Vec<Vec<u8>> = Vec::new();
                loop {
                    all.push(vec![1; 1 << 20]);
                    std::hint::black_box(&all);
                }
            }
            "crash" => panic!("as asked: {arguments}"),
            "recurse" => Ok(text(&deeper(1).to_string())),
            "flood" => Ok(text(&"x".repeat(16 << 20))),
            "many_items" => {
                let content = (0..200_000).map(|n| Content::Text(n.to_string())).collect();
                Ok(ToolResult { content, structured: None, is_error: false })
            }
            "log_flood" => loop {
                logging::log(logging::Level::Info, &"log ".repeat(50));
            },
            "progress_flood" => loop {
                progress::report(1.0, None, Some("again"));
            },
            "print_flood" => {
                for _ in 0..20_000 {
                    println!("{}", "print ".repeat(20));
                }
                Ok(text("printed"))
            }
            "wrong_result" => Ok(structured(r#"{"n":"one"}"#)),
            "no_result" => Ok(text("nothing structured")),
            "broken_result" => Ok(structured("{\"n\":")),
            "fetch" => fetch(&arguments).map(|words| text(&words)).map_err(ToolError::Unavailable),
            "sleep" => {
                std::thread::sleep(std::time::Duration::from_secs(3600));
                Ok(text("awake"))
            }
            "look_around" => Ok(text(&look_around())),
            _ => conforming(&name),
        }
    }
}

/// What of the machine can be seen from in here.
fn look_around() -> String {
    let said = |outcome: bool| if outcome { "reached" } else { "refused" };
    let files = std::fs::read_dir("/").is_ok() || std::fs::read("/etc/passwd").is_ok();
    let written = std::fs::write("left-behind", "x").is_ok();
    let variables = std::env::vars().count() + std::env::args().count();
    let connected = std::net::TcpStream::connect("127.0.0.1:80").is_ok();
    let listening = std::net::TcpListener::bind("127.0.0.1:0").is_ok();
    let resolved = std::net::ToSocketAddrs::to_socket_addrs("localhost:80").is_ok();
    let clock = std::time::SystemTime::now() > std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
    let random = std::hash::BuildHasher::hash_one(&std::collections::hash_map::RandomState::new(), 1);
    format!(
        "files {}, writing {}, {variables} variables and arguments, connecting {}, listening {}, names {}, clock {}, random {}",
        said(files), said(written), said(connected), said(listening), said(resolved), said(clock), said(random != 0),
    )
}

fn conforming(name: &str) -> Result<ToolResult, ToolError> {
    let result = |content| ToolResult { content, structured: None, is_error: false };
    let image = || Content::Image(Blob { data: PNG.to_vec(), mime_type: "image/png".into() });
    let embedded = |uri: &str, mime: &str, body: &str| {
        Content::EmbeddedResource(Embedded { uri: uri.into(), mime_type: Some(mime.into()), body: Body::Text(body.into()) })
    };
    Ok(match name {
        "test_simple_text" => text("This is a simple text response for testing."),
        "test_image_content" => result(vec![image()]),
        "test_audio_content" => {
            result(vec![Content::Audio(Blob { data: WAV.to_vec(), mime_type: "audio/wav".into() })])
        }
        "test_embedded_resource" => {
            result(vec![embedded("test://embedded-resource", "text/plain", "This is an embedded resource content.")])
        }
        "test_multiple_content_types" => result(vec![
            Content::Text("Multiple content types test:".into()),
            image(),
            embedded("test://mixed-content-resource", "application/json", r#"{"test":"data","value":123}"#),
        ]),
        "test_tool_with_logging" => {
            for words in ["Tool execution started", "Tool processing data", "Tool execution completed"] {
                logging::log(logging::Level::Info, words);
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
            text("Tool with logging executed successfully")
        }
        "test_tool_with_progress" => {
            for step in [0.0, 50.0, 100.0] {
                progress::report(step, Some(100.0), None);
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
            text("Tool with progress executed successfully")
        }
        "json_schema_2020_12_tool" => text("It fits."),
        "test_error_handling" => {
            let mut failed = text("This tool intentionally returns an error for testing");
            failed.is_error = true;
            failed
        }
        other => return Err(ToolError::UnknownTool(other.into())),
    })
}

fn tool(name: &str) -> Tool {
    let structured = matches!(name, "wrong_result" | "no_result" | "broken_result");
    Tool {
        name: name.into(),
        title: None,
        description: format!("For tests: {name}"),
        input_schema: if name == "json_schema_2020_12_tool" { MODERN } else { ANYTHING }.into(),
        output_schema: structured.then(|| NUMBER.into()),
        annotations: None,
    }
}

fn text(words: &str) -> ToolResult {
    ToolResult { content: vec![Content::Text(words.into())], structured: None, is_error: false }
}

fn structured(json: &str) -> ToolResult {
    ToolResult { content: Vec::new(), structured: Some(json.into()), is_error: false }
}

fn deeper(n: u64) -> u64 {
    let here = std::hint::black_box([n; 64]);
    if n == 0 { here[0] } else { deeper(n + 1) + here[1] }
}

/// Gets `{"url":"…"}`; the status and the length of the body.
fn fetch(arguments: &str) -> Result<String, String> {
    let url = arguments.split('"').nth(3).ok_or("no url")?;
    let (scheme, rest) = url.split_once("://").ok_or("no scheme")?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let request = OutgoingRequest::new(Fields::new());
    let scheme = if scheme == "https" { Scheme::Https } else { Scheme::Http };
    request.set_scheme(Some(&scheme)).map_err(|()| "scheme")?;
    request.set_authority(Some(authority)).map_err(|()| "authority")?;
    request.set_path_with_query(Some(if path.is_empty() { "/" } else { path })).map_err(|()| "path")?;
    let pending = handle(request, None).map_err(|code| format!("{code:?}"))?;
    pending.subscribe().block();
    let response = match pending.get() {
        Some(Ok(Ok(response))) => response,
        other => return Err(format!("{other:?}")),
    };
    let body = response.consume().map_err(|()| "body")?;
    let stream = body.stream().map_err(|()| "stream")?;
    let mut length = 0;
    while let Ok(piece) = stream.blocking_read(64 << 10) {
        length += piece.len();
    }
    Ok(format!("{} {length}", response.status()))
}
