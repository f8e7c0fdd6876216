//! The main job with the real thing: the gateway installs `mlx-openai-server`, starts it for a request,
//! streams back, records, and copes when it fails. The installation is shared with the other tests of
//! the real engine and stays with the build.

#[path = "fake/spawn.rs"]
mod fake;
#[path = "hub/spawn.rs"]
mod hub;
#[path = "it/support/mod.rs"]
#[expect(dead_code, reason = "the real engine needs the half of it")]
mod support;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use support::{Gateway, lives, wait_for};

/// For whichever test comes first: the engine is installed and the demo model made, maybe beside a build. Not a figure
/// that is measured; a test that hangs is ended by its runner.
const INSTALLATION: Duration = Duration::from_secs(14 * 60);
const ANSWER: &str = "Hello! This tiny model runs on the real backend and always says exactly these words.";
const THOUGHT: &str = "They greet me, so I reply politely now";

/// A gateway with a data directory of its own that shares installations and the demo model.
fn gateway(profiles: &str) -> Gateway {
    gateway_in(Arc::new(tempfile::tempdir().unwrap()), profiles)
}

fn gateway_in(folder: Arc<tempfile::TempDir>, profiles: &str) -> Gateway {
    let shared = Path::new(env!("CARGO_TARGET_TMPDIR")).join("real-engine");
    let data = folder.path().join("data");
    std::fs::create_dir_all(&data).unwrap();
    for kept in ["engines", "models"] {
        std::fs::create_dir_all(shared.join(kept)).unwrap();
        std::os::unix::fs::symlink(shared.join(kept), data.join(kept)).unwrap();
    }
    let config = format!("[server]\nlisten = \"127.0.0.1:0\"\nshutdown_grace = \"5s\"\n{profiles}");
    std::fs::write(folder.path().join("config.toml"), config).unwrap();
    let mut gateway = Gateway::serve(folder, &[]);
    gateway.patience = INSTALLATION;
    gateway
}

/// One model server at a time, also where all tests run in one process.
fn one_at_a_time() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

const DEMO: &str = "[[profile]]\nname = \"demo\"\nmodel = \"builtin:demo\"\n";

#[test]
fn a_first_request_starts_it_and_its_thinking_answer_and_figures_come_back() {
    let _one = one_at_a_time();
    let gateway = gateway(DEMO);
    assert_eq!(gateway.get("/api/v1/servers").json()["servers"][0]["state"], "stopped");
    let answer = gateway.streamed("demo", "hi");
    let mut said = (String::new(), String::new());
    for data in answer.events().iter().filter(|data| data.as_str() != "[DONE]") {
        let chunk: Value = serde_json::from_str(data).unwrap();
        let delta = &chunk["choices"][0]["delta"];
        said.0 += delta["content"].as_str().unwrap_or_default();
        said.1 += delta["reasoning_content"].as_str().unwrap_or_default();
    }
    assert_eq!(said, (ANSWER.to_owned(), THOUGHT.to_owned()));
    assert_eq!(answer.body.matches("\"role\"").count(), 1);
    let record = gateway.record("completed");
    assert_eq!((&record["completion_tokens"], &record["estimated"]), (&json!(29), &json!(false)));
    assert!(
        record["start_ms"].as_f64().unwrap() > 0.0 && record["decode_tokens_per_s"].as_f64().unwrap() > 0.0
    );
    let whole = gateway.chat("demo", "hi").json();
    assert_eq!(whole["choices"][0]["message"]["content"], ANSWER);
    let shown = gateway.cli(&["usage"]);
    assert!(String::from_utf8_lossy(&shown.stdout).contains("total"), "{shown:?}");
}

#[test]
fn a_tool_call_is_passed_to_the_client_and_a_limit_is_told_as_length() {
    let _one = one_at_a_time();
    let gateway = gateway(DEMO);
    let tool = json!({"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}});
    let message = json!([{"role": "user", "content": "Weather in Paris?"}]);
    let body = json!({"model": "demo", "tools": [tool], "messages": message});
    let choice = gateway.post("/v1/chat/completions", &body.to_string()).json()["choices"][0].clone();
    assert_eq!(choice["finish_reason"], "tool_calls");
    let function = &choice["message"]["tool_calls"][0]["function"];
    assert_eq!(
        (&function["name"], &function["arguments"]),
        (&json!("get_weather"), &json!("{\"city\": \"Paris\"}"))
    );
    let short = json!({"model": "demo", "max_completion_tokens": 12, "stop": "never", "messages": message});
    let choice = gateway.post("/v1/chat/completions", &short.to_string()).json()["choices"][0].clone();
    assert_eq!(choice["finish_reason"], "length");
}

#[test]
fn a_chat_that_calls_the_gateways_get_weather_is_answered_through_the_loop() {
    let _one = one_at_a_time();
    let folder = Arc::new(tempfile::tempdir().unwrap());
    support::weather::put_plugin(folder.path());
    let gateway = gateway_in(folder, &format!("{DEMO}tools = [\"get_weather\"]\n"));
    let granted = gateway.post("/api/v1/plugins/get_weather/grant", "{}");
    assert_eq!(granted.json()["state"], "ready", "{granted:?}");
    let message = json!([{"role": "user", "content": "Weather in Paris?"}]);
    for stream in [false, true] {
        let body = json!({"model": "demo", "stream": stream, "messages": message});
        let answer = gateway.post("/v1/chat/completions", &body.to_string());
        assert_eq!(answer.status, 200, "{answer:?}");
        if stream {
            // Each word of the answer is an event of its own.
            assert!(
                answer.body.contains(": running get_weather") && answer.body.contains("exactly"),
                "{answer:?}"
            );
            assert!(!answer.body.contains("tool_calls"), "{answer:?}");
        } else {
            let choice = answer.json()["choices"][0].clone();
            assert_eq!(
                (&choice["message"]["content"], &choice["finish_reason"]),
                (&json!(ANSWER), &json!("stop"))
            );
        }
        let attempts = gateway.record("completed")["attempts"].clone();
        let steps: Vec<_> =
            attempts.as_array().unwrap().iter().map(|one| (&one["backend"], &one["status"])).collect();
        let done = json!("completed");
        assert_eq!(steps.len(), 3, "{attempts}");
        assert_eq!(steps[1], (&json!("tool:get_weather"), &done), "{attempts}");
        assert!(attempts[2]["prompt_tokens"].as_u64() > attempts[0]["prompt_tokens"].as_u64(), "{attempts}");
    }
}

#[test]
fn a_client_that_leaves_ends_the_generation_and_an_idle_process_is_stopped() {
    let _one = one_at_a_time();
    let gateway = gateway(&format!("{DEMO}keep_alive = \"0s\"\n"));
    let mut stream = gateway.stream("demo", "#loop");
    let mut content = 0;
    while content < 40 {
        content += usize::from(stream.next().unwrap().contains("\"content\""));
    }
    let pid = gateway.backend("demo", "ready")["pid"].as_i64().unwrap();
    drop(stream);
    let record = gateway.record("cancelled");
    assert!(record["completion_tokens"].as_u64().unwrap() >= 40 && record["estimated"] == true, "{record}");
    gateway.backend("demo", "stopped");
    wait_for("the process's end", || (!lives(pid)).then_some(()));
}

#[test]
fn a_handler_that_is_killed_in_mid_stream_ends_the_stream_with_an_error_at_once() {
    let _one = one_at_a_time();
    // With these waits only the end of the handler itself can tell.
    let waits = "timeouts = { idle = \"1h\", first_token = \"1h\" }\n";
    let gateway = gateway(&format!("{DEMO}{waits}"));
    let mut stream = gateway.stream("demo", "#loop");
    while !stream.next().unwrap().contains("\"content\"") {}
    let parent = gateway.backend("demo", "ready")["pid"].as_i64().unwrap();
    let handler = wait_for("the handler process", || largest_child(parent));
    kill(Pid::from_raw(i32::try_from(handler).unwrap()), Signal::SIGKILL).unwrap();
    let mut last = Vec::new();
    while let Some(event) = stream.next() {
        last.push(event);
    }
    let error = &last[last.len() - 2];
    assert!(error.contains("\"error\"") && last[last.len() - 1] == "data: [DONE]", "{error}");
    assert!(gateway.record("failed")["completion_tokens"].as_u64().unwrap() > 0);
    let told =
        wait_for("the reason", || gateway.backend("demo", "failed")["error"].as_str().map(str::to_owned));
    assert!(told.contains(&format!("worker process {handler} ended")), "{told}");
    let whole = gateway.chat("demo", "hi").json();
    assert_eq!(whole["choices"][0]["message"]["content"], ANSWER, "the next one gets a new process");
}

#[test]
fn a_model_that_is_not_there_fails_with_its_reason() {
    let _one = one_at_a_time();
    let gateway = gateway("[[profile]]\nname = \"gone\"\nmodel = \"./nope\"\n");
    let answer = gateway.chat("gone", "hi");
    assert_eq!(answer.error(), (503, "backend_failed".into()));
    assert!(answer.json()["error"]["message"].as_str().unwrap().contains("nope"), "{answer:?}");
}

/// The child of `parent` with the most memory: the handler that holds the model.
fn largest_child(parent: i64) -> Option<i64> {
    let listed = std::process::Command::new("ps").args(["-A", "-o", "pid=,ppid=,rss="]).output().unwrap();
    let text = String::from_utf8(listed.stdout).unwrap();
    let children = text.lines().filter_map(|line| {
        let columns: Vec<i64> = line.split_whitespace().filter_map(|column| column.parse().ok()).collect();
        (columns.get(1) == Some(&parent)).then(|| (columns[2], columns[0]))
    });
    children.max().map(|(_, pid)| pid)
}

#[test]
fn a_model_is_pulled_from_the_hub_made_a_profile_by_its_facts_and_answers() {
    let _one = one_at_a_time();
    let hub = hub::FakeHub::start();
    let first = gateway(DEMO);
    assert_eq!(first.chat("demo", "hi").status, 200, "the demo model is made");
    let made = std::fs::read_dir(first.data_dir().join("models")).unwrap().map(|entry| entry.unwrap().path());
    let made = made.filter(|path| path.join("config.json").is_file()).last().unwrap();
    for file in std::fs::read_dir(made).unwrap().map(|entry| entry.unwrap()) {
        hub.put("org/tiny", &file.file_name().to_string_lossy(), &std::fs::read(file.path()).unwrap());
    }
    drop(first);
    let gateway = gateway(&format!("[hub]\nendpoint = \"{}\"\n", hub.url()));
    for command in
        [&["models", "pull", "org/tiny"][..], &["profiles", "create", "mine", "--model", "org/tiny"]]
    {
        let ran = gateway.cli(command);
        assert!(ran.status.success(), "{command:?}: {ran:?}");
    }
    let answer = gateway.chat("mine", "hi").json();
    assert_eq!(answer["choices"][0]["message"]["content"], ANSWER);
    assert_eq!(gateway.cli(&["models", "rm", "org/tiny"]).status.code(), Some(6), "it is in use");
}

#[test]
fn two_profiles_alternate_under_a_budget_for_one() {
    let _one = one_at_a_time();
    let gateway = gateway(&format!(
        "[memory]\nbudget = \"1200MiB\"\nmin_stay = \"0s\"\n{DEMO}memory = \"1000MiB\"\n\
         [[profile]]\nname = \"second\"\nmodel = \"builtin:demo\"\ncontext_length = 2048\nmemory = \"1000MiB\"\n"
    ));
    let mut last = None;
    for name in ["demo", "second", "demo"] {
        let answer = gateway.chat(name, "hi").json();
        assert_eq!(answer["choices"][0]["message"]["content"], ANSWER);
        let pid = gateway.backend(name, "ready")["pid"].as_i64().unwrap();
        if let Some(before) = last.replace(pid) {
            assert!(!lives(before), "the other was gone before");
        }
    }
}

#[test]
fn embeddings_of_a_bert_model_come_as_numbers_and_as_base64_with_their_usage() {
    let _one = one_at_a_time();
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tiny-bert");
    let gateway = gateway(&format!("[[profile]]\nname = \"bert\"\nmodel = \"{model}\"\n"));
    let embedded = |input: Value, encoding: &str| {
        let body = json!({"model": "bert", "input": input, "encoding_format": encoding});
        let answer = gateway.post("/v1/embeddings", &body.to_string());
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    };
    let two = embedded(json!(["the cat sat", "a dog ran on the mat"]), "float");
    assert_eq!((&two["object"], &two["model"]), (&json!("list"), &json!("bert")));
    // The engine tells none: it is estimated from the bytes, four to a token.
    assert_eq!(two["usage"], json!({"prompt_tokens": 8, "total_tokens": 8}));
    let vectors: Vec<Vec<f32>> =
        two["data"].as_array().unwrap().iter().map(|one| numbers(&one["embedding"])).collect();
    let lengths = vectors.iter().map(|vector| vector.iter().map(|x| x * x).sum::<f32>().sqrt());
    assert!(lengths.clone().all(|length| (length - 1.0).abs() < 0.01), "{vectors:?}");
    assert!(vectors.len() == 2 && vectors[0].len() == 16 && vectors[0] != vectors[1], "{vectors:?}");
    let one = embedded(json!("the cat sat"), "base64");
    let packed = BASE64_STANDARD.decode(one["data"][0]["embedding"].as_str().unwrap()).unwrap();
    let unpacked: Vec<f32> =
        packed.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect();
    let apart = unpacked.iter().zip(&vectors[0]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(unpacked.len() == 16 && apart < 1e-4, "{unpacked:?} {:?}", vectors[0]);
    let record = gateway.record("completed");
    let told = (&record["profile"], &record["prompt_tokens"], &record["estimated"]);
    assert_eq!(told, (&json!("bert"), &json!(3), &json!(true)));
    let chat = gateway.chat("bert", "hi");
    assert_eq!(chat.status, 400, "{chat:?}");
    assert!(chat.body.contains("embeddings"), "{chat:?}");
}

fn numbers(list: &Value) -> Vec<f32> {
    list.as_array().unwrap().iter().map(|number| number.as_f64().unwrap() as f32).collect()
}
