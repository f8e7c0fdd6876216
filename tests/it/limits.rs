//! Limits of keys: what is admitted before anything is done, what is counted, and how callers share a full queue.

use std::io::Write;
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::fake;
use crate::mcp::session;
use crate::support::http::{Answer, Stream, body};
use crate::support::process::workers;
use crate::support::{Gateway, PROFILES, wait_for};

/// One token a word.
const WORDS: &str = r#"{"version":"1.0","truncation":null,"padding":null,"added_tokens":[],"normalizer":null,
    "pre_tokenizer":{"type":"WhitespaceSplit"},"post_processor":null,"decoder":null,
    "model":{"type":"WordLevel","vocab":{"[UNK]":0},"unk_token":"[UNK]"}}"#;
const MEGABYTE: usize = 1 << 20;
const CHAT: &str = "/v1/chat/completions";

fn bearer(key: &str) -> String {
    format!("authorization: Bearer {key}\r\n")
}

fn used(gateway: &Gateway, admin: &str, id: &str) -> u64 {
    let keys = gateway.as_bearer(admin, "GET", "/api/v1/keys", None).json();
    let mine = keys["keys"].as_array().unwrap().iter().find(|key| key["id"] == id).unwrap().clone();
    mine["used_tokens_day"].as_u64().unwrap()
}

/// Eight parallel requests of 1 MB, and then one after another until one is refused. `tokens`: of each, as the upstream
/// reports them.
fn burst(word: &str, tokens: u64, tokenizer: bool) {
    let gateway = Gateway::start(PROFILES);
    if tokenizer {
        std::fs::write(gateway.folder.path().join("model/tokenizer.json"), WORDS).unwrap();
    }
    let admin = gateway.admin();
    let budget = tokens * 3;
    let (key, id) = gateway.key(&admin, &json!({"name": "k", "tokens_per_day": budget}));
    let prompt = format!("#chunks=1 #prompt-tokens={} {}", tokens - 1, word.repeat(MEGABYTE / word.len()));
    let messages = json!([{"role": "user", "content": prompt}]);
    let body = json!({"model": "qwen", "max_tokens": 5, "messages": messages}).to_string();
    let ask = || gateway.post_with(CHAT, &bearer(&key), &body);
    let mut answers: Vec<Answer> = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        asked.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert!(answers.iter().any(|answer| answer.status == 200), "{:?}", answers[0]);
    assert!(answers.iter().any(|answer| answer.status == 429), "eight are more than the budget");
    while answers.last().unwrap().status == 200 || answers.len() == 8 {
        answers.push(ask());
    }
    for refused in answers.iter().filter(|answer| answer.status != 200) {
        assert_eq!(refused.error(), (429, "rate_limit_exceeded".into()));
        assert!(refused.header("retry-after").is_some(), "{refused:?}");
    }
    let passed = answers.iter().filter(|answer| answer.status == 200).count() as u64;
    let sum = used(&gateway, &admin, &id);
    assert_eq!(sum, passed * tokens, "what the upstream reported");
    assert!(sum <= budget + tokens, "{sum} of {budget}");
    assert_eq!(ask().status, 429, "the next request sees the true sum");
}

#[test]
fn a_burst_of_english_passes_a_budget_by_one_request_at_most() {
    burst("word ", 250_000, false);
    burst("word ", 210_000, true);
}

#[test]
fn a_burst_of_digits_passes_a_budget_by_one_request_at_most() {
    // Each digit is a token of its own.
    burst("0123456789", 1_000_000, false);
    burst("7 ", 500_000, true);
}

#[test]
fn a_burst_of_chinese_passes_a_budget_by_one_request_at_most() {
    burst("你好，世界。", 700_000, false);
    burst("你 ", 260_000, true);
}

#[test]
fn a_prompt_is_reserved_as_it_was_counted_and_without_a_tokenizer_by_its_bytes() {
    let word = "antidisestablishmentarianism ";
    let body = |endpoint: &str| {
        let text = format!("#gate-after=1 #chunks=3 {}", word.repeat(1000));
        match endpoint {
            CHAT => json!({"model": "qwen", "max_tokens": 9, "stream": true,
                "messages": [{"role": "user", "content": text}]}),
            "/v1/messages" => json!({"model": "claude-x", "max_tokens": 9, "stream": true,
                "messages": [{"role": "user", "content": text}]}),
            _ => json!({"model": "qwen", "max_output_tokens": 9, "stream": true, "input": text}),
        }
        .to_string()
    };
    for (endpoint, tokenizer) in
        [(CHAT, true), ("/v1/messages", true), ("/v1/responses", true), (CHAT, false)]
    {
        let gateway = Gateway::start(PROFILES);
        if tokenizer {
            std::fs::write(gateway.folder.path().join("model/tokenizer.json"), WORDS).unwrap();
        }
        let admin = gateway.admin();
        // Two counted prompts fit, and one that may have a token for every byte fits alone.
        let (key, id) = gateway.key(&admin, &json!({"name": "k", "tokens_per_day": 20_000}));
        let open = || gateway.open(&gateway.request(endpoint, &bearer(&key), &body(endpoint)));
        let mut first = open();
        let second = open();
        assert_eq!((first.status, second.status), (200, if tokenizer { 200 } else { 429 }), "{endpoint}");
        fake::open_gate(&gateway.backend_address_as(&admin, "qwen"));
        while first.next().is_some() {}
        drop(second);
        let sum = wait_for("the sum", || Some(used(&gateway, &admin, &id)).filter(|sum| *sum > 0));
        assert!(sum < 3000, "{sum}");
    }
}

#[test]
fn a_request_that_is_larger_than_a_budget_only_by_estimate_passes_when_nothing_else_does() {
    let gateway = Gateway::start(PROFILES);
    let admin = gateway.admin();
    let (key, id) = gateway.key(&admin, &json!({"name": "k", "tokens_per_day": 1000}));
    let ask = |more: &Value| {
        let text = format!("#chunks=2 #prompt-tokens=700 {}", "word ".repeat(1000));
        let mut body = json!({"model": "qwen", "messages": [{"role": "user", "content": text}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        gateway.post_with(CHAT, &bearer(&key), &body.to_string())
    };
    assert_eq!(ask(&json!({"max_tokens": 1000})).status, 429, "an answer of that size never fits");
    assert_eq!(ask(&json!({})).status, 200);
    assert_eq!(used(&gateway, &admin, &id), 702);
    let refused = ask(&json!({"max_tokens": 5}));
    assert_eq!(refused.error(), (429, "rate_limit_exceeded".into()));
    let picture = format!("data:image/png;base64,{}", "A".repeat(100_000));
    let content =
        json!([{"type": "text", "text": "#chunks=1"}, {"type": "image_url", "image_url": {"url": picture}}]);
    let (key, _) = gateway.key(&admin, &json!({"name": "pictures", "tokens_per_day": 2500}));
    let body = json!({"model": "qwen", "max_tokens": 5, "messages": [{"role": "user", "content": content}]});
    let answer = gateway.post_with(CHAT, &bearer(&key), &body.to_string());
    assert_ne!(answer.status, 429, "a picture counts as 2,048 tokens, whatever its bytes: {answer:?}");
}

#[test]
fn a_prompt_counts_when_its_client_leaves_while_the_model_reads_it() {
    let gateway = Gateway::start(PROFILES);
    let admin = gateway.admin();
    let (key, id) = gateway.key(&admin, &json!({"name": "k", "tokens_per_day": 10_000}));
    assert_eq!(gateway.chat_as(&key, "qwen", "#chunks=1 #prompt-tokens=1").status, 200);
    let body = body("qwen", &format!("#hang {}", "word ".repeat(400)), false);
    let mut connection = TcpStream::connect(&gateway.address).unwrap();
    connection.write_all(gateway.request(CHAT, &bearer(&key), &body).as_bytes()).unwrap();
    fake::seen(&gateway.backend_address_as(&admin, "qwen"), "requests=2&wait-ms=20000");
    assert_eq!(used(&gateway, &admin, &id), 2);
    drop(connection);
    wait_for("the prompt to count", || (used(&gateway, &admin, &id) > 500).then_some(()));
}

#[test]
fn embeddings_and_completions_count_against_a_budget_by_their_input() {
    let server = fake::FakeServer::start(&[]);
    let far = format!(
        "[[profile]]\nname = \"far\"\nengine = \"url\"\nurl = {:?}\nmodel = \"fake\"\n",
        server.url()
    );
    let embed = "[[profile]]\nname = \"embed\"\nmodel = \"./model\"\nmodel_type = \"embeddings\"\n";
    let gateway = Gateway::start(&format!("{PROFILES}{embed}{far}"));
    let admin = gateway.admin();
    for (path, body) in [
        ("/v1/embeddings", json!({"model": "embed", "input": ["word ".repeat(300), "word ".repeat(300)]})),
        ("/v1/completions", json!({"model": "far", "prompt": "word ".repeat(600), "max_tokens": 5})),
        ("/v1/completions", json!({"model": "far", "prompt": "x", "max_tokens": 300, "n": 4})),
    ] {
        let (key, _) = gateway.key(&admin, &json!({"name": "k", "tokens_per_minute": 1000}));
        let ask = || gateway.post_with(path, &bearer(&key), &body.to_string());
        assert_ne!(ask().status, 429, "a single one may have the whole minute");
        let (key, _) = gateway.key(&admin, &json!({"name": "k", "tokens_per_day": 1000}));
        let spend = json!({"model": "qwen", "max_tokens": 5,
            "messages": [{"role": "user", "content": "#chunks=1 #prompt-tokens=100"}]});
        assert_eq!(gateway.post_with(CHAT, &bearer(&key), &spend.to_string()).status, 200);
        let refused = gateway.post_with(path, &bearer(&key), &body.to_string());
        assert_eq!(refused.error(), (429, "rate_limit_exceeded".into()), "{path}");
    }
}

/// A form with a file and the model's name.
fn form(model: &str) -> (String, String) {
    let part = |name: &str, value: &str| {
        format!("--BB\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let file = "--BB\r\nContent-Disposition: form-data; name=\"file\"; filename=\"it.bin\"\r\n\r\nRIFF\r\n";
    let body = format!("{}{file}--BB--\r\n", part("model", model));
    let head = format!(
        "content-type: multipart/form-data; boundary=BB\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    (head, body)
}

#[test]
fn an_exhausted_rate_refuses_every_route_before_anything_is_done() {
    let gateway = Gateway::start(PROFILES);
    let admin = gateway.admin();
    let (key, id) = gateway.key(
        &admin,
        &json!({"name": "k", "requests_per_minute": 1, "scopes": ["inference", "tools", "mcp"]}),
    );
    let headers = bearer(&key);
    // Sessions and lists are free; a call that fails counts.
    let mcp = session(&gateway, &headers);
    assert_eq!(gateway.as_bearer(&key, "GET", "/v1/models", None).status, 200);
    let unknown = "/api/v1/tools/nothing/call";
    let counted = gateway.as_bearer(&key, "POST", unknown, Some(&json!({})));
    assert_eq!(counted.status, 404, "{counted:?}");
    let call = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call",
        "params": {"name": "calculator", "arguments": {"expression": "1"}}});

    let chat = |more: Value| {
        let mut body = json!({"model": "qwen", "messages": [{"role": "user", "content": "#chunks=1"}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body.to_string()
    };
    let schema = json!({"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}});
    let routes = [
        (CHAT, chat(json!({}))),
        (CHAT, chat(json!({"stream": true}))),
        (CHAT, chat(json!({"n": 2, "response_format": schema}))),
        (CHAT, chat(json!({"tools": [{"type": "mcp", "server_label": "mlx-gateway"}]}))),
        (CHAT, "{broken".to_owned()),
        ("/v1/completions", json!({"model": "qwen", "prompt": "x"}).to_string()),
        ("/v1/embeddings", json!({"model": "qwen", "input": "x"}).to_string()),
        ("/v1/images/generations", json!({"model": "qwen", "prompt": "x"}).to_string()),
        ("/v1/messages", chat(json!({"max_tokens": 5}))),
        ("/v1/messages", "{broken".to_owned()),
        ("/v1/messages/count_tokens", chat(json!({}))),
        ("/v1/responses", json!({"model": "qwen", "input": "x"}).to_string()),
        ("/v1/responses", json!({"model": "qwen", "input": "x", "background": true}).to_string()),
        ("/v1/responses", "{broken".to_owned()),
        ("/v1/responses/input_tokens", json!({"model": "qwen", "input": "x"}).to_string()),
        ("/api/v1/tools/calculator/call", json!({"arguments": {"expression": "1"}}).to_string()),
        ("/api/v1/tools/calculator/call", "{broken".to_owned()),
    ];
    let mut refused: Vec<(&str, Answer)> =
        routes.iter().map(|(path, body)| (*path, gateway.post_with(path, &headers, body))).collect();
    for path in ["/v1/images/edits", "/v1/audio/transcriptions"] {
        let (head, body) = form("qwen");
        let request = format!("POST {path} HTTP/1.1\r\nhost: {}\r\n{headers}{head}{body}", gateway.address);
        refused.push((path, gateway.send(&request)));
    }
    refused.push(("/mcp", gateway.post_with("/mcp", &mcp, &call.to_string())));
    for (path, answer) in &refused {
        assert_eq!(answer.status, 429, "{path}: {answer:?}");
        let header =
            |name: &str| answer.header(name).unwrap_or_else(|| panic!("{path} has no {name}: {answer:?}"));
        assert_eq!(header("x-ratelimit-limit-requests"), "1");
        assert_eq!(header("x-ratelimit-remaining-requests"), "0");
        assert!((1..=60).contains(&header("retry-after").parse::<u32>().unwrap()), "{path}");
        let error = &answer.json()["error"];
        match *path {
            "/mcp" => assert_eq!((&answer.json()["id"], &error["code"]), (&json!(7), &json!(-32_029))),
            path if path.starts_with("/v1/messages") => {
                assert_eq!(
                    (&answer.json()["type"], &error["type"]),
                    (&json!("error"), &json!("rate_limit_error"))
                );
            }
            _ => assert_eq!(error["code"], "rate_limit_exceeded", "{path}"),
        }
    }
    assert_eq!(gateway.get_as(&admin, "/api/v1/servers")["servers"][0]["state"], "stopped");
    assert!(workers(gateway.pid().as_raw().unsigned_abs()).is_empty());
    let plugins = gateway.get_as(&admin, "/api/v1/plugins");
    assert!(plugins["plugins"].as_array().unwrap().iter().all(|plugin| plugin["calls"] == 0), "{plugins}");
    let records = gateway.get_as(&admin, "/api/v1/requests?limit=100");
    let records = records["requests"].as_array().unwrap();
    let inference = |path: &&str| !path.ends_with("_tokens") && !path.starts_with("/api") && *path != "/mcp";
    assert_eq!(records.len(), refused.iter().map(|(path, _)| *path).filter(inference).count());
    for record in records {
        assert_eq!(
            (&record["status"], &record["error_code"], &record["key"]),
            (&json!("refused"), &json!("rate_limit_exceeded"), &json!(id)),
        );
    }
}

#[test]
fn counting_tokens_and_calling_tools_take_a_request_of_the_rate_and_no_tokens() {
    let gateway = Gateway::start(PROFILES);
    let admin = gateway.admin();
    let (key, id) = gateway.key(
        &admin,
        &json!({"name": "k", "requests_per_minute": 4, "tokens_per_day": 1, "scopes": ["inference", "tools", "mcp"]}),
    );
    let headers = bearer(&key);
    let mcp = session(&gateway, &headers);
    let messages = json!([{"role": "user", "content": "one two three"}]);
    let call = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call",
        "params": {"name": "calculator", "arguments": {"expression": "6*7"}}});
    for (left, path, headers, body) in [
        ("3", "/v1/messages/count_tokens", &headers, json!({"model": "qwen", "messages": messages})),
        ("2", "/v1/responses/input_tokens", &headers, json!({"model": "qwen", "input": "one two three"})),
        ("1", "/api/v1/tools/calculator/call", &headers, json!({"arguments": {"expression": "6*7"}})),
        ("0", "/mcp", &mcp, call),
    ] {
        let answer = gateway.post_with(path, headers, &body.to_string());
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        assert_eq!(answer.header("x-ratelimit-remaining-requests").as_deref(), Some(left), "{path}");
    }
    assert_eq!(used(&gateway, &admin, &id), 0);
}

/// A gateway whose backend is busy with a gated stream, and the keys of two people.
fn crowded(queue: usize) -> (Gateway, Stream, String, [(String, String); 2]) {
    let gateway = Gateway::start(&format!(
        "[[profile]]\nname = \"q\"\naliases = [\"claude-*\"]\nmodel = \"./model\"\nmax_concurrent = 1\nqueue = {{ size = {queue} }}\n"
    ));
    let admin = gateway.admin();
    let keys = ["ada@example.com", "ben@example.com"].map(|email| {
        let (session, _) = gateway.user(&admin, email);
        gateway.key(&session, &json!({"name": "k"}))
    });
    let mut gated = gateway.stream_as(&keys[0].0, "q", "#chunks=3 #gate-after=1");
    while !gated.next().unwrap().contains("\"content\"") {}
    (gateway, gated, admin, keys)
}

fn dialects(stream: bool) -> [(&'static str, String); 3] {
    let messages = json!([{"role": "user", "content": "#chunks=1"}]);
    let chat = json!({"model": "q", "stream": stream, "messages": messages});
    let message = json!({"model": "claude-x", "max_tokens": 5, "stream": stream, "messages": messages});
    let response = json!({"model": "q", "stream": stream, "input": "#chunks=1"});
    [(CHAT, chat.to_string()), ("/v1/messages", message.to_string()), ("/v1/responses", response.to_string())]
}

fn queued(gateway: &Gateway, admin: &str, count: usize) {
    wait_for(&format!("{count} to queue"), || {
        let servers = gateway.get_as(admin, "/api/v1/servers");
        (servers["servers"][0]["queued"] == count).then_some(())
    });
}

/// The records of requests of that key that were refused, as endpoint and status.
fn refusals(gateway: &Gateway, admin: &str, key: &str) -> Vec<(String, u64)> {
    let records = gateway.get_as(admin, "/api/v1/requests?limit=100&status=refused");
    let mine = records["requests"].as_array().unwrap().iter().filter(|record| record["key"] == key);
    let mut mine: Vec<_> = mine
        .map(|record| {
            assert_eq!(record["error_code"], "queue_full", "{record}");
            (record["endpoint"].as_str().unwrap().to_owned(), record["http_status"].as_u64().unwrap())
        })
        .collect();
    mine.sort();
    mine
}

#[test]
fn a_caller_with_the_most_waiting_requests_gives_up_its_last_ones_for_another() {
    let (gateway, mut gated, admin, [(ada, ada_id), (ben, ben_id)]) = crowded(6);
    let send = |key: &str, (path, body): &(&str, String)| gateway.post_with(path, &bearer(key), body);
    let filler = &dialects(false)[0];
    std::thread::scope(|scope| {
        let mut waiting = Vec::new();
        for request in [filler; 3].into_iter().chain(&dialects(false)) {
            let (send, ada, request) = (&send, &ada, request.clone());
            waiting.push((request.0, scope.spawn(move || send(ada, &request))));
            queued(&gateway, &admin, waiting.len());
        }
        assert_eq!(send(&ada, filler).error(), (429, "queue_full".into()), "it has the most itself");
        // The newest goes first.
        for _ in 0..3 {
            let (path, given_up) = waiting.pop().unwrap();
            waiting.insert(0, (CHAT, scope.spawn(|| send(&ben, filler))));
            let answer = given_up.join().unwrap();
            assert_eq!(answer.status, 429, "{path}: {answer:?}");
            assert!(answer.header("retry-after").is_some());
            let error = &answer.json()["error"];
            match path {
                "/v1/messages" => assert_eq!(error["type"], "rate_limit_error", "{answer:?}"),
                _ => assert_eq!(error["code"], "queue_full", "{answer:?}"),
            }
            assert!(error["message"].as_str().unwrap().contains("a caller with fewer"), "{answer:?}");
        }
        assert_eq!(send(&ben, filler).error(), (429, "queue_full".into()), "both have as many");
        fake::open_gate(&gateway.backend_address_as(&admin, "q"));
        while gated.next().is_some() {}
        assert!(waiting.into_iter().all(|(_, one)| one.join().unwrap().status == 200));
    });
    let path = |path: &str| (path.to_owned(), 429);
    let mine = [CHAT, CHAT, "/v1/messages", "/v1/responses"].map(path);
    assert_eq!(refusals(&gateway, &admin, &ada_id), mine);
    assert_eq!(refusals(&gateway, &admin, &ben_id), [path(CHAT)]);
}

#[test]
fn a_stream_that_has_begun_ends_with_an_error_event_when_it_gives_up_its_place() {
    let (gateway, mut gated, admin, [(ada, ada_id), (ben, _)]) = crowded(6);
    let filler = dialects(true)[0].clone();
    std::thread::scope(|scope| {
        let mut opening = Vec::new();
        for (path, body) in [(); 3].map(|()| filler.clone()).into_iter().chain(dialects(true)) {
            let request = gateway.request(path, &bearer(&ada), &body);
            let gateway = &gateway;
            opening.push((path, scope.spawn(move || gateway.open(&request))));
            queued(gateway, &admin, opening.len());
        }
        // They begin with a comment after ten seconds.
        let mut streams: Vec<(&str, Stream)> =
            opening.into_iter().map(|(path, stream)| (path, stream.join().unwrap())).collect();
        assert!(streams.iter().all(|(_, stream)| stream.status == 200));
        let mut others = Vec::new();
        for _ in 0..3 {
            let (path, mut stream) = streams.pop().unwrap();
            others.push(scope.spawn(|| gateway.chat_as(&ben, "q", "#chunks=1")));
            let mut events = Vec::new();
            while let Some(event) = stream.next() {
                events.push(event);
            }
            let told = events.join("\n\n");
            match path {
                CHAT => assert!(
                    told.contains("\"code\":\"queue_full\"") && told.ends_with("data: [DONE]"),
                    "{told}"
                ),
                "/v1/messages" => {
                    assert!(told.contains("event: error") && told.contains("rate_limit_error"), "{told}");
                }
                _ => {
                    assert!(
                        told.contains("event: response.failed") && told.contains("\"rate_limit_exceeded\""),
                        "{told}"
                    );
                }
            }
        }
        fake::open_gate(&gateway.backend_address_as(&admin, "q"));
        while gated.next().is_some() {}
        assert!(others.into_iter().all(|one| one.join().unwrap().status == 200));
        for (_, mut stream) in streams {
            let mut last = String::new();
            while let Some(event) = stream.next() {
                last = event;
            }
            assert_eq!(last, "data: [DONE]");
        }
    });
    let path = |path: &str| (path.to_owned(), 200);
    assert_eq!(refusals(&gateway, &admin, &ada_id), [CHAT, "/v1/messages", "/v1/responses"].map(path));
}
