//! Attacks on the code that compiles and evaluates schemas, templates and tokenizers: the smallest inputs that once
//! froze the gateway or took its memory. It answers others meanwhile, stays small, and says what was not checked.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::support::bombs::{GROWING, deep, doubling, pattern_bomb};
use crate::support::http::Answer;
use crate::support::process::{peak_kib, workers};
use crate::support::{Gateway, lives, wait_for};

/// Memory by which an attack may make the gateway grow, and all that a worker may have: its allocator's memory, its
/// stack, and the parts of the program's file that it runs.
const GATEWAY_GROWTH_MIB: u64 = 96;
const WORKER_PEAK_KIB: u64 = (768 + 256) << 10;

/// One token a word.
const WORDS: &str = r#"{"version":"1.0","truncation":null,"padding":null,"added_tokens":[],"normalizer":null,
    "pre_tokenizer":{"type":"WhitespaceSplit"},"post_processor":null,"decoder":null,
    "model":{"type":"WordLevel","vocab":{"[UNK]":0},"unk_token":"[UNK]"}}"#;

/// Lists 100,000 deep, whose end is a recursion.
const NESTED: &str =
    "{% set n = namespace(x=[]) %}{% for i in range(100000) %}{% set n.x = [n.x] %}{% endfor %}{{ n.x }}";
/// A list that is short in memory, and has 2^40 items when it is written.
const SHARED: &str = "{% set n = namespace(x=['a']) %}{% for i in range(40) %}{% set n.x = [n.x, n.x] %}{% endfor %}{{ n.x | tojson }}";
const PADDED: &str = "{{ '{:>2000000000}'.format('a') }}";
/// Two such lists, compared.
const COMPARED: &str = "{% set n = namespace(x=['a'], y=['a']) %}{% for i in range(40) %}{% set n.x = [n.x, n.x] %}{% set n.y = [n.y, n.y] %}{% endfor %}{{ n.x == n.y }}";

fn chat(schema: &Value, prompt: &str, stream: bool) -> (&'static str, Value) {
    let format = json!({"type": "json_schema", "json_schema": {"name": "x", "schema": schema}});
    let messages = json!([{"role": "user", "content": prompt}]);
    let body = json!({"model": "m", "stream": stream, "messages": messages, "response_format": format});
    ("/v1/chat/completions", body)
}

fn response(schema: &Value, prompt: &str) -> (&'static str, Value) {
    let format = json!({"type": "json_schema", "name": "x", "schema": schema});
    ("/v1/responses", json!({"model": "m", "input": prompt, "text": {"format": format}}))
}

/// Puts all attacks at one time. The gateway has answered others before the last of them is over, has not
/// grown, and no worker has passed its bound. Returns the answers.
fn attack(gateway: &Gateway, attacks: &[(&str, Value)]) -> Vec<Answer> {
    let pid = gateway.pid().as_raw().unsigned_abs();
    let over = AtomicUsize::new(0);
    let (mut alive, mut peak) = (0, 0);
    let at_once = || {
        std::thread::scope(|scope| {
            let run = |(path, body): &(&str, Value)| {
                let (path, body) = ((*path).to_owned(), body.to_string());
                let over = &over;
                scope.spawn(move || {
                    let answer = gateway.post(&path, &body);
                    over.fetch_add(1, Ordering::SeqCst);
                    answer
                })
            };
            let running: Vec<_> = attacks.iter().map(run).collect();
            while over.load(Ordering::SeqCst) < attacks.len() {
                assert_eq!(gateway.get("/livez").status, 200);
                alive += usize::from(over.load(Ordering::SeqCst) < attacks.len());
                peak = workers(pid).into_iter().map(peak_kib).max().unwrap_or(0).max(peak);
            }
            running.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    };
    let answers = gateway.grows_at_most(GATEWAY_GROWTH_MIB, at_once);
    assert!(alive > 0, "nobody else was answered during the attack");
    assert!(peak < WORKER_PEAK_KIB, "a worker had {peak} KiB");
    answers
}

fn profiles(names: &[&str]) -> String {
    let profile = |name: &&str| {
        let more = if *name == "embeds" { "model_type = \"embeddings\"" } else { "context_length = 1000" };
        format!("[[profile]]\nname = \"{name}\"\nmodel = \"./{name}\"\n{more}\n")
    };
    names.iter().map(profile).collect()
}

/// A gateway with one model for each tokenizer and template.
fn gateway(models: &[(&str, &str, &str)]) -> Gateway {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    for (name, tokenizer, template) in models {
        let model = folder.path().join(name);
        std::fs::create_dir_all(&model).unwrap();
        let config = r#"{"model_type":"qwen3","architectures":["Qwen3ForCausalLM"]}"#;
        std::fs::write(model.join("config.json"), config).unwrap();
        std::fs::write(model.join("tokenizer.json"), tokenizer).unwrap();
        std::fs::write(model.join("chat_template.jinja"), template).unwrap();
    }
    let names: Vec<&str> = models.iter().map(|(name, ..)| *name).collect();
    Gateway::start_in(folder, &profiles(&names), &[])
}

fn plain() -> Gateway {
    gateway(&[("m", WORDS, "{{ messages[0].content }}")])
}

fn count(model: &str) -> (&'static str, Value) {
    let messages = json!([{"role": "user", "content": "aaaaaaaa one two three"}]);
    ("/v1/messages/count_tokens", json!({"model": model, "messages": messages}))
}

#[test]
fn patterns_that_are_large_when_compiled_are_refused_with_the_bound() {
    let gateway = plain();
    let many: Vec<Value> = (0..65).map(|n| json!({"pattern": n.to_string()})).collect();
    let long = json!({"pattern": "x".repeat(70_000)});
    let refused = |answers: Vec<Answer>, words: &str| {
        for answer in answers {
            assert_eq!(answer.status, 400, "{answer:?}");
            assert!(answer.body.contains(words), "{answer:?}");
        }
    };
    let all = |schema: &Value| [chat(schema, "x", false), chat(schema, "x", true), response(schema, "x")];
    refused(attack(&gateway, &all(&pattern_bomb())), "more than 1048576 bytes");
    for (schema, words) in [(json!({"anyOf": many}), "65 patterns, 64 at most"), (long, "65536 at most")] {
        let post = |(path, body): (&str, Value)| gateway.post(path, &body.to_string());
        refused(all(&schema).into_iter().map(post).collect(), words);
    }
    // No model has worked for it.
    assert_eq!(gateway.get("/api/v1/servers").json()["servers"][0]["state"], "stopped");
    assert_eq!(gateway.record("refused")["http_status"], 400);
}

#[test]
fn a_schema_is_compiled_after_the_callers_limits_were_checked() {
    let gateway = plain();
    let key = gateway.cli_json(&["keys", "create", "one", "--rpm", "1"])["key"].as_str().unwrap().to_owned();
    let headers = format!("authorization: Bearer {key}\r\n");
    let ask = |schema: &Value| {
        let (path, body) = chat(schema, "#text={}", false);
        gateway.post_with(path, &headers, &body.to_string())
    };
    assert_eq!(ask(&json!({"type": "object"})).status, 200);
    assert_eq!(ask(&pattern_bomb()).error(), (429, "rate_limit_exceeded".into()));
}

#[test]
fn an_answer_whose_check_exceeds_a_bound_is_delivered_and_says_that_it_was_not_checked() {
    let gateway = plain();
    let (growing, deep) = (serde_json::from_str(GROWING).unwrap(), format!("#text={}", deep()));
    let attacks = [
        chat(&doubling(), "#text={}", false),
        chat(&growing, &deep, false),
        response(&growing, &deep),
        chat(&doubling(), "#text={}", true),
    ];
    for answer in attack(&gateway, &attacks) {
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("x-mlx-gateway-unchecked").as_deref(), Some("response_format"));
    }
    let records = gateway.get("/api/v1/requests").json();
    let records = records["requests"].as_array().unwrap();
    assert_eq!(records.len(), attacks.len());
    for record in records {
        assert_eq!(record["status"], "completed");
        assert!(record["warnings"].to_string().contains("was not checked against"), "{record}");
    }
}

#[test]
fn a_pattern_that_needs_backtracking_is_noted_and_the_rest_is_checked() {
    let gateway = plain();
    let schema = json!({"type": "object", "properties": {"a": {"type": "string", "pattern": "^(?!x)"}}, "required": ["a"]});
    let (path, body) = chat(&schema, "#text={\"a\":\"x\"}", false);
    let answer = gateway.post(path, &body.to_string());
    assert_eq!((answer.status, answer.header("x-mlx-gateway-unchecked")), (200, None), "{answer:?}");
    let warnings = gateway.record("completed")["warnings"].to_string();
    assert!(warnings.contains("^(?!x)") && warnings.contains("is not checked"), "{warnings}");
    let (path, body) = chat(&schema, "#text={}", false);
    let answer = gateway.post(path, &body.to_string());
    assert_eq!(answer.error(), (502, "structured_output_invalid".into()), "{answer:?}");
}

#[test]
fn a_template_that_exceeds_a_bound_leaves_the_count_to_an_estimate() {
    let templates = [("nested", NESTED), ("shared", SHARED), ("padded", PADDED), ("compared", COMPARED)];
    let models: Vec<_> = templates.iter().map(|(name, template)| (*name, WORDS, *template)).collect();
    let gateway = gateway(&models);
    let tokens = |model: &str| json!({"model": model, "input": "aaaaaaaa one two three"});
    let long = |model: &str| {
        let messages = json!([{"role": "user", "content": "w ".repeat(1500)}]);
        ("/v1/chat/completions", json!({"model": model, "messages": messages}))
    };
    // The chat path asks whether a prompt fits.
    let input_tokens = ("/v1/responses/input_tokens", tokens("shared"));
    let attacks = [count("nested"), input_tokens, long("padded"), long("compared")];
    for some in attacks.chunks(2) {
        for answer in attack(&gateway, some) {
            assert_eq!(answer.status, 200, "{answer:?}");
        }
    }
    for (name, _) in templates {
        let is_blocked =
            |line: &str| line.contains(&format!("/{name} ")) && line.contains("exceeded a bound");
        assert!(gateway.log().lines().any(is_blocked), "{name}");
        let (path, body) = count(name);
        let counted = gateway.post(path, &body.to_string()).json()["input_tokens"].as_u64();
        assert!(counted.is_some_and(|tokens| tokens > 0), "{name}");
        let (path, body) = long(name);
        assert_eq!(gateway.post(path, &body.to_string()).status, 200);
    }
}

#[test]
fn a_tokenizer_that_multiplies_its_input_leaves_the_count_to_an_estimate() {
    let twenty = json!({"type": "Replace", "pattern": {"String": "a"}, "content": "a".repeat(20)});
    let normalizer = json!({"type": "Sequence", "normalizers": vec![twenty; 8]}).to_string();
    let tokenizer = WORDS.replace("\"normalizer\":null", &format!("\"normalizer\":{normalizer}"));
    let tokenizer = tokenizer.replace("\"[UNK]\":0", "\"[UNK]\":0,\"a\":1");
    let gateway = gateway(&[
        ("multiplies", &tokenizer, "{{ messages[0].content }}"),
        ("embeds", &tokenizer, "{{ messages[0].content }}"),
    ]);
    let embedding = ("/v1/embeddings", json!({"model": "embeds", "input": [1]}));
    let answers = attack(&gateway, &[count("multiplies"), embedding]);
    assert_eq!(answers[0].status, 200, "{answers:?}");
    // Token numbers have no estimate.
    assert_eq!(answers[1].status, 400, "{answers:?}");
    assert!(answers[1].body.contains("did not answer"), "{answers:?}");
    // Not asked again.
    let ended = workers(gateway.pid().as_raw().unsigned_abs());
    assert_eq!(gateway.post(count("multiplies").0, &count("multiplies").1.to_string()).status, 200);
    assert_eq!(workers(gateway.pid().as_raw().unsigned_abs()), ended);
}

/// The component of the tests with another schema for one of its tools, of the same length.
fn put_plugin(folder: &Path, schema: &str) {
    let wasm = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/plugins/test_tools/test_tools.wasm");
    let mut wasm = std::fs::read(wasm).unwrap();
    let begin = b"{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\"";
    let end = b"\"additionalProperties\":false}";
    let at = wasm.windows(begin.len()).position(|bytes| bytes == begin).unwrap();
    let length = wasm[at..].windows(end.len()).position(|bytes| bytes == end).unwrap() + end.len();
    assert!(schema.len() <= length, "the schema has {} bytes, {length} at most", schema.len());
    wasm[at..at + length].copy_from_slice(format!("{schema:length$}").as_bytes());
    let plugin = folder.join("plugins/test_tools");
    std::fs::create_dir_all(&plugin).unwrap();
    std::fs::write(plugin.join("test_tools.wasm"), wasm).unwrap();
    std::fs::write(plugin.join("plugin.toml"), "name = \"test_tools\"").unwrap();
}

const TOOL: &str = "json_schema_2020_12_tool";

#[test]
fn a_tools_arguments_whose_check_exceeds_a_bound_are_an_error_on_every_way() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    put_plugin(folder.path(), GROWING);
    let profile = format!("[[profile]]\nname = \"m\"\nmodel = \"./model\"\ntools = [\"{TOOL}\"]\n");
    let gateway = Gateway::start_in(folder, &profile, &[]);
    let arguments: Value = serde_json::from_str(&deep()).unwrap();
    let prompt = format!("#call={TOOL} #args={}", deep());
    let chat = json!({"model": "m", "messages": [{"role": "user", "content": prompt}]});
    let message = json!({"model": "m", "max_tokens": 99, "messages": [{"role": "user", "content": prompt}]});
    let attacks = [
        (&*format!("/api/v1/tools/{TOOL}/call"), json!({"arguments": arguments})),
        ("/v1/chat/completions", chat),
        ("/v1/messages", message),
        ("/v1/responses", json!({"model": "m", "input": prompt})),
    ];
    for answer in attack(&gateway, &attacks) {
        assert!(answer.body.contains("its arguments could not be checked"), "{answer:?}");
    }
    let call = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": TOOL, "arguments": arguments}});
    let headers = crate::mcp::session(&gateway, "");
    let answer = gateway.post_with("/mcp", &headers, &call.to_string());
    assert!(answer.body.contains("its arguments could not be checked"), "{answer:?}");
}

#[test]
fn a_plugin_with_a_pattern_that_is_large_when_compiled_is_not_loaded() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let schema = json!({"type": "object", "properties": {"a": {"pattern": "[\\p{L}\\p{N}]{150}"}}});
    put_plugin(folder.path(), &schema.to_string());
    let gateway = Gateway::start_in(folder, &profiles(&["model"]), &[]);
    let plugins = gateway.get("/api/v1/plugins").json().to_string();
    assert!(plugins.contains("more than 1048576 bytes"), "{plugins}");
}

#[test]
fn a_worker_that_is_killed_costs_no_caller_its_answer() {
    let gateway = plain();
    let (path, body) = count("m");
    let (pid, body) = (gateway.pid().as_raw().unsigned_abs(), body.to_string());
    let exact = json!({"input_tokens": 4});
    assert_eq!(gateway.post(path, &body).json(), exact);
    loop {
        let worker = *workers(pid).first().unwrap();
        let send = |signal| kill(Pid::from_raw(i32::try_from(worker).unwrap()), signal);
        let killed = || gateway.log().matches("exceeded its time").count();
        let before = killed();
        send(Signal::SIGSTOP).unwrap();
        let answered = AtomicUsize::new(0);
        let answers: Vec<Value> = std::thread::scope(|scope| {
            let ask = || {
                let answer = gateway.post(path, &body).json();
                answered.fetch_add(1, Ordering::SeqCst);
                answer
            };
            let both = [scope.spawn(ask), scope.spawn(ask)];
            // The second worker answers one, so the other one is in the first.
            wait_for("the first answer", || (answered.load(Ordering::SeqCst) > 0).then_some(()));
            send(Signal::SIGKILL).unwrap_or_default();
            both.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        // On a slow machine the gateway has killed it first, for its time.
        if killed() == before {
            assert_eq!(answers, [exact.clone(), exact.clone()]);
            break;
        }
        let template = gateway.folder.path().join("m/chat_template.jinja");
        std::fs::write(template, "{{ messages[0].content }}").unwrap();
    }
    assert!(gateway.log().contains("Worker died"), "{}", gateway.log());
}

#[test]
fn no_worker_outlives_its_gateway_even_while_it_evaluates() {
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let mut gateway = plain();
        let pid = gateway.pid().as_raw().unsigned_abs();
        let (path, body) = chat(&doubling(), "#text={}", true);
        let request = gateway.request(path, "", &body.to_string());
        std::thread::scope(|scope| {
            let address = gateway.address.clone();
            scope.spawn(move || {
                use std::io::{Read, Write};
                let mut connection = std::net::TcpStream::connect(address).unwrap();
                connection.write_all(request.as_bytes()).unwrap();
                drop(connection.read_to_end(&mut Vec::new()));
            });
            let found = wait_for("a worker", || workers(pid).first().copied());
            gateway.signal(signal);
            gateway.wait();
            wait_for("the worker's end", || (!lives(found.into())).then_some(()));
        });
    }
}
