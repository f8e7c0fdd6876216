//! Prompts before a backend sees them: what cannot fit is refused, and pictures that are elsewhere are fetched where
//! that is allowed.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread::JoinHandle;

use serde_json::{Value, json};

use crate::fake;
use crate::support::{Gateway, PROFILES};

const NARROW: &str = r#"
[[profile]]
name = "narrow"
aliases = ["claude-*"]
model = "./model"
context_length = 1000
"#;

/// One token a word.
const WORDS: &str = r#"{"version":"1.0","truncation":null,"padding":null,"added_tokens":[],"normalizer":null,
    "pre_tokenizer":{"type":"WhitespaceSplit"},"post_processor":null,"decoder":null,
    "model":{"type":"WordLevel","vocab":{"[UNK]":0},"unk_token":"[UNK]"}}"#;

fn narrow() -> Gateway {
    let gateway = Gateway::start(NARROW);
    std::fs::write(gateway.folder.path().join("model/tokenizer.json"), WORDS).unwrap();
    gateway
}

fn user(content: &Value) -> Value {
    json!({"model": "narrow", "max_tokens": 5, "messages": [{"role": "user", "content": content}]})
}

#[test]
fn a_prompt_that_cannot_fit_is_refused_before_a_backend_is_asked() {
    let gateway = narrow();
    let long = json!("word ".repeat(2000));
    let refused = gateway.post("/v1/chat/completions", &user(&long).to_string());
    assert_eq!(refused.error(), (400, "context_length_exceeded".to_owned()), "{refused:?}");
    assert!(refused.body.contains("holds 1000 tokens"), "{refused:?}");
    assert_eq!(gateway.record("refused")["http_status"], 400);
    let by_messages = gateway.post("/v1/messages", &user(&long).to_string());
    assert_eq!(
        (by_messages.status, &by_messages.json()["error"]["type"]),
        (400, &json!("invalid_request_error"))
    );
    let response = json!({"model": "narrow", "input": long});
    let response = gateway.post("/v1/responses", &response.to_string());
    assert_eq!(response.error(), (400, "context_length_exceeded".to_owned()), "{response:?}");
    assert_eq!(gateway.get("/api/v1/servers").json()["servers"][0]["state"], "stopped");
    // As many bytes, in fewer tokens.
    let fits = user(&json!("antidisestablishmentarian ".repeat(400)));
    let fits = gateway.post("/v1/chat/completions", &fits.to_string());
    assert_eq!(fits.status, 200, "{fits:?}");
}

#[test]
fn tokens_are_counted_by_the_models_own_tokenizer() {
    let gateway = narrow();
    let body = json!({"model": "claude-x", "messages": [{"role": "user", "content": "one two three"}]});
    let counted = gateway.post("/v1/messages/count_tokens", &body.to_string()).json();
    // Three words, and what a template puts around one message and before the answer.
    assert_eq!(counted, json!({"input_tokens": 3 + 5 + 3}));
    let body = json!({"model": "narrow", "input": "one two three"});
    assert_eq!(gateway.post("/v1/responses/input_tokens", &body.to_string()).json()["input_tokens"], 11);
}

#[test]
fn a_chat_is_counted_by_its_models_own_template() {
    let gateway = narrow();
    let template = "{% for m in messages %}{{ m.role }} : {{ m.content }} {% endfor %}{{ tools | length if tools else '' }} answer";
    std::fs::write(gateway.folder.path().join("model/chat_template.jinja"), template).unwrap();
    let mut body = json!({"model": "claude-x", "messages": [{"role": "user", "content": "one two three"}]});
    let counted = gateway.post("/v1/messages/count_tokens", &body.to_string()).json();
    assert_eq!(counted, json!({"input_tokens": 3 + 2 + 1}));
    body["system"] = "Be brief.".into();
    body["tools"] = json!([{"name": "f", "input_schema": {"type": "object"}}]);
    let counted = gateway.post("/v1/messages/count_tokens", &body.to_string()).json();
    assert_eq!(counted, json!({"input_tokens": 3 + 2 + 2 + 2 + 1 + 1}));
    // What the template adds counts when a prompt has to fit, too.
    let fits = |words: usize| {
        let asked = user(&json!("word ".repeat(words).trim_end()));
        gateway.post("/v1/chat/completions", &asked.to_string())
    };
    assert_eq!(fits(997).status, 200);
    let refused = fits(998);
    assert_eq!(refused.error(), (400, "context_length_exceeded".to_owned()), "{refused:?}");
    assert!(refused.body.contains("1001"), "{refused:?}");
}

#[test]
fn token_numbers_are_embedded_as_the_text_they_stand_for() {
    let embedding = "[[profile]]\nname = \"embed\"\nmodel = \"./model\"\nmodel_type = \"embeddings\"\n";
    let gateway = Gateway::start(embedding);
    let known = WORDS.replace("\"[UNK]\":0", "\"[UNK]\":0,\"red\":1,\"heron\":2");
    std::fs::write(gateway.folder.path().join("model/tokenizer.json"), known).unwrap();
    let embed =
        |input: Value| gateway.post("/v1/embeddings", &json!({"model": "embed", "input": input}).to_string());
    let several = embed(json!([[1, 2], [2]]));
    assert_eq!(
        (several.status, several.json()["data"].as_array().map(Vec::len)),
        (200, Some(2)),
        "{several:?}"
    );
    let one = embed(json!([2, 1]));
    assert_eq!((one.status, one.json()["data"].as_array().map(Vec::len)), (200, Some(1)), "{one:?}");
    let seen = fake::seen(&gateway.backend_address("embed"), "requests=2&wait-ms=5000");
    let input = |one: &Value| -> Value {
        serde_json::from_str::<Value>(one["body"].as_str().unwrap()).unwrap()["input"].clone()
    };
    let inputs: Vec<Value> = seen["requests"].as_array().unwrap().iter().map(input).collect();
    assert_eq!(inputs, [json!(["red heron", "heron"]), json!(["heron red"])]);
    for (foreign, words) in [(json!([1, 77]), "another model's"), (json!([[-1]]), "whole numbers from 0")] {
        let refused = embed(foreign);
        assert!(refused.status == 400 && refused.body.contains(words), "{refused:?}");
    }
}

/// Serves one picture, once.
fn picture() -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/heron.png", listener.local_addr().unwrap());
    let serving = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut asked = [0; 4096];
        let length = stream.read(&mut asked).unwrap();
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ncontent-length: 4\r\n\r\n\x89PNG")
            .unwrap();
        String::from_utf8_lossy(&asked[..length]).into_owned()
    });
    (url, serving)
}

fn shows(url: &str) -> String {
    let parts =
        json!([{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": url}}]);
    let mut body = user(&parts);
    body["model"] = "qwen".into();
    body.to_string()
}

#[test]
fn a_picture_by_url_is_fetched_where_that_is_allowed() {
    let allowed = format!("[media]\nfetch = true\nallow_private = [\"127.0.0.1\"]\n{PROFILES}");
    let gateway = Gateway::start(&allowed);
    let (url, serving) = picture();
    let answer = gateway.post("/v1/chat/completions", &shows(&url));
    assert_eq!(answer.status, 200, "{answer:?}");
    let asked = serving.join().unwrap();
    assert!(asked.starts_with("GET /heron.png HTTP/1.1\r\n") && !asked.contains("authorization"), "{asked}");
    let seen = fake::seen(&gateway.backend_address("qwen"), "requests=1&wait-ms=5000");
    assert!(seen["requests"][0]["body"].to_string().contains("data:image/png;base64,iVBORw=="), "{seen}");
    let (gone, serving) = picture();
    drop(std::net::TcpStream::connect(gone.trim_start_matches("http://").trim_end_matches("/heron.png")));
    drop(serving.join());
    let refused = gateway.post("/v1/chat/completions", &shows(&gone));
    assert_eq!(refused.error(), (400, "invalid_image_url".to_owned()), "{refused:?}");
}

#[test]
fn otherwise_it_is_refused_and_private_addresses_are_not_reached() {
    let gateway = Gateway::start(PROFILES);
    let refused = gateway.post("/v1/chat/completions", &shows("http://127.0.0.1:9/a.png"));
    assert!(refused.status == 400 && refused.body.contains("not a data: URL"), "{refused:?}");
    let public = Gateway::start(&format!("[media]\nfetch = true\n{PROFILES}"));
    for url in [
        "http://127.0.0.1:9/a.png",
        "http://localhost:9/",
        "http://[::ffff:10.0.0.1]/",
        "http://169.254.169.254/latest",
    ] {
        let refused = public.post("/v1/chat/completions", &shows(url));
        assert_eq!(refused.error(), (400, "invalid_image_url".to_owned()), "{url}: {refused:?}");
        assert!(refused.body.contains("private address"), "{url}: {refused:?}");
    }
    let file = public.post("/v1/chat/completions", &shows("file:///etc/passwd"));
    assert!(file.status == 400 && file.body.contains("not a data: URL"), "{file:?}");
}
