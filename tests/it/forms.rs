//! Pictures to edit and recordings to transcribe: forms, as clients send them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::Gateway;
use crate::support::http::Answer;

const PROFILES: &str = r#"
[[profile]]
name = "hears"
model = "./model"
model_type = "whisper"

[[profile]]
name = "paints"
model = "./model"
model_type = "image-edit"
"#;

/// A form; names with a `@` before them are files.
fn send(gateway: &Gateway, path: &str, fields: &[(&str, &str)]) -> Answer {
    let mut body = String::new();
    for (name, value) in fields {
        let (name, file) = match name.strip_prefix('@') {
            Some(name) => (name, "; filename=\"it.bin\"\r\nContent-Type: application/octet-stream"),
            None => (*name, ""),
        };
        body += &format!("--BB\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n{value}\r\n");
    }
    body += "--BB--\r\n";
    let text = format!(
        "POST {path} HTTP/1.1\r\nhost: x.localhost\r\nconnection: close\r\n\
         content-type: multipart/form-data; boundary=BB\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    gateway.send(&text.replace("x.localhost", &gateway.address))
}

#[test]
fn a_recording_is_transcribed_whatever_the_order_of_the_fields() {
    let gateway = Gateway::start(PROFILES);
    let path = "/v1/audio/transcriptions";
    let whole =
        send(&gateway, path, &[("@file", "RIFF1234"), ("language", "de"), ("model", "hears"), ("x", "y")]);
    assert_eq!(whole.status, 200, "{whole:?}");
    let heard = whole.json()["text"].as_str().unwrap().to_owned();
    assert!(heard.starts_with("file=8 bytes, language=de, model=") && !heard.contains("x=y"), "{heard}");
    let record = gateway.record("completed");
    assert_eq!((&record["endpoint"], &record["profile"]), (&json!(path), &json!("hears")));
    let text = send(&gateway, path, &[("model", "hears"), ("response_format", "text"), ("@file", "RIFF")]);
    assert!(
        text.body.starts_with("model=") && text.header("content-type").unwrap().starts_with("text/plain"),
        "{text:?}"
    );
    let streamed = send(&gateway, path, &[("model", "hears"), ("@file", "RIFF"), ("stream", "true")]);
    let events: Vec<Value> = streamed
        .body
        .lines()
        .filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok())
        .collect();
    let (last, deltas) = events.split_last().unwrap();
    let said: String = deltas.iter().map(|event| event["delta"].as_str().unwrap()).collect();
    assert_eq!(
        (&last["type"], &last["text"]),
        (&json!("transcript.text.done"), &json!(said)),
        "{streamed:?}"
    );
    assert!(deltas.len() > 2 && said.contains("file=4 bytes"), "{streamed:?}");
}

#[test]
fn a_picture_is_edited_and_pictures_come_as_several() {
    let gateway = Gateway::start(PROFILES);
    let fields = [
        ("@image[]", "PNG1"),
        ("@image[]", "PNG22"),
        ("prompt", "bluer"),
        ("model", "paints"),
        ("quality", "high"),
    ];
    let answer = send(&gateway, "/v1/images/edits", &fields);
    assert_eq!(answer.status, 200, "{answer:?}");
    let said = STANDARD.decode(answer.json()["data"][0]["b64_json"].as_str().unwrap()).unwrap();
    let said = String::from_utf8(said).unwrap();
    assert!(
        said.starts_with("image=4 bytes, image=5 bytes, prompt=bluer, model=") && !said.contains("quality"),
        "{said}"
    );
}

#[test]
fn what_is_no_such_form_is_refused_before_a_backend_is_asked() {
    let gateway =
        Gateway::start(&format!("[server]\nlisten = \"127.0.0.1:0\"\nmax_body = \"1KiB\"\n{PROFILES}"));
    let path = "/v1/audio/transcriptions";
    let json = gateway.post(path, r#"{"model":"hears"}"#);
    assert_eq!(json.status, 400, "{json:?}");
    assert!(json.body.contains("multipart/form-data"), "{json:?}");
    let wrong = send(&gateway, path, &[("model", "paints"), ("@file", "RIFF")]);
    assert_eq!(wrong.status, 400, "{wrong:?}");
    assert!(wrong.body.contains("type image-edit") && wrong.body.contains("/v1/images/edits"), "{wrong:?}");
    assert_eq!(send(&gateway, path, &[("@file", "RIFF")]).json()["error"]["param"], "model");
    assert_eq!(send(&gateway, path, &[("model", "nope"), ("@file", "RIFF")]).status, 404);
    assert_eq!(send(&gateway, path, &[("model", "hears"), ("@file", &"x".repeat(2000))]).status, 413);
    let format = send(&gateway, path, &[("model", "hears"), ("@file", "x"), ("response_format", "srt")]);
    assert_eq!(format.json()["error"]["param"], "response_format", "{format:?}");
    for server in gateway.get("/api/v1/servers").json()["servers"].as_array().unwrap() {
        assert_eq!(server["state"], "stopped", "{server}");
    }
}
