//! Pictures to edit and recordings to transcribe: forms, as clients send them.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::http::Answer;
use crate::support::{Gateway, PATIENCE};

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

/// A connection on which a form is sent bit by bit.
fn begin(gateway: &Gateway, path: &str) -> TcpStream {
    let mut connection = TcpStream::connect(&gateway.address).unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\
         content-type: multipart/form-data; boundary=BB\r\ntransfer-encoding: chunked\r\n\r\n",
        gateway.address
    );
    connection.write_all(head.as_bytes()).unwrap();
    connection
}

fn send_chunk(connection: &mut TcpStream, bytes: &[u8]) {
    let chunk = [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
    connection.write_all(&chunk).unwrap();
}

fn answer(mut connection: TcpStream) -> String {
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    answer
}

fn field(name: &str, value: &str) -> String {
    format!("--BB\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
}

const FILE: &str = "--BB\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\n";
const MIB: usize = 1 << 20;

/// A server of somebody else's: what it gets of a request is told while it comes, and then it answers.
fn listening() -> (String, Receiver<usize>, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let (tell, told) = channel();
    let serving = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut got, mut piece) = (Vec::new(), vec![0; MIB]);
        while !got.ends_with(b"\r\n0\r\n\r\n") {
            match stream.read(&mut piece).unwrap() {
                0 => break,
                length => got.extend_from_slice(&piece[..length]),
            }
            tell.send(got.len()).unwrap();
        }
        drop(stream.write_all(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 13\r\n\r\n{\"text\":\"hi\"}",
        ));
        String::from_utf8_lossy(&got).into_owned()
    });
    (url, told, serving)
}

fn elsewhere(url: &str) -> Gateway {
    Gateway::start(&format!("[[profile]]\nname = \"hears\"\nengine = \"url\"\nurl = \"{url}\"\n"))
}

#[test]
fn a_long_form_goes_on_while_it_is_still_being_sent() {
    let (url, told, serving) = listening();
    let gateway = elsewhere(&url);
    let mut sending = begin(&gateway, "/v1/audio/transcriptions");
    // The model behind the file: until it has come nothing goes on.
    send_chunk(&mut sending, format!("{FILE}{}\r\n", "x".repeat(2 * MIB)).as_bytes());
    send_chunk(&mut sending, field("model", "hears").as_bytes());
    send_chunk(&mut sending, FILE.replace("file", "more").as_bytes());
    while told.recv_timeout(PATIENCE).unwrap() < 2 * MIB {}
    // The last byte is still to be sent.
    send_chunk(&mut sending, &vec![b'y'; MIB]);
    while told.recv_timeout(PATIENCE).unwrap() < 3 * MIB {}
    send_chunk(&mut sending, format!("\r\n{}--BB--\r\n", field("language", "de")).as_bytes());
    send_chunk(&mut sending, b"");
    let answer = answer(sending);
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("{\"text\":\"hi\"}"), "{answer}");
    let got = serving.join().unwrap();
    assert!(got.contains("transfer-encoding: chunked") && got.contains("name=\"language\""));
    assert_eq!(gateway.record("completed")["profile"], "hears");
}

#[test]
fn a_long_form_is_bounded_and_what_is_wrong_with_it_late_is_told() {
    let gateway =
        Gateway::start(&format!("[server]\nlisten = \"127.0.0.1:0\"\nmax_body = \"4MiB\"\n{PROFILES}"));
    let path = "/v1/audio/transcriptions";
    let large = "x".repeat(2 * MIB);
    let whole = |more: &[(&str, &str)]| {
        let fields = [&[("model", "hears"), ("@file", large.as_str())][..], more].concat();
        send(&gateway, path, &fields)
    };
    let heard = whole(&[("language", "de"), ("x", "y")]);
    assert!(heard.status == 200 && heard.body.contains("file=2097152 bytes, language=de"), "{heard:?}");
    assert!(!heard.body.contains("x=y"), "{heard:?}");
    assert!(gateway.record("completed")["warnings"].to_string().contains("\\\"x\\\""), "{heard:?}");
    let text = whole(&[("response_format", "text")]);
    assert!(text.body.starts_with("model=") && text.head.contains("text/plain"), "{text:?}");
    let streamed = whole(&[("stream", "true")]);
    assert!(streamed.body.contains("transcript.text.done"), "{streamed:?}");
    for (more, words) in [
        (&[("response_format", "srt")][..], "json or text"),
        (&[("model", "hears")], "comes twice"),
        (&[("stream", "maybe")], "true or false"),
    ] {
        let refused = whole(more);
        assert!(refused.status == 400 && refused.body.contains(words), "{refused:?}");
    }
    let mut sending = begin(&gateway, path);
    send_chunk(&mut sending, format!("{}{FILE}", field("model", "hears")).as_bytes());
    // The last bytes of the fourth are too many; more would be in the way of the answer.
    for _ in 0..4 {
        send_chunk(&mut sending, &large.as_bytes()[..MIB]);
    }
    let refused = answer(sending);
    assert!(refused.starts_with("HTTP/1.1 413"), "{refused}");
    assert_eq!(gateway.record("refused")["http_status"], 413);
}

#[test]
fn a_client_that_leaves_in_the_middle_of_a_long_form_is_recorded_so() {
    let (url, told, serving) = listening();
    let gateway = elsewhere(&url);
    let mut sending = begin(&gateway, "/v1/audio/transcriptions");
    send_chunk(&mut sending, format!("{}{FILE}{}", field("model", "hears"), "x".repeat(2 * MIB)).as_bytes());
    while told.recv_timeout(PATIENCE).unwrap() < MIB {}
    drop(sending);
    gateway.record("cancelled");
    serving.join().unwrap();
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
