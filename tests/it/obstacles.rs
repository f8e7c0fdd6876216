//! Files that are none: a FIFO, an endless device, 10 GiB and a folder in the place of files that the gateway reads. A
//! request that needs one ends in time and says why; nobody else notices, and neither memory nor threads grow.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::http::body;
use crate::support::process::peak_kib;
use crate::support::{Gateway, PROFILES, run_under, wait_for, write_config};

const OBSTACLES: [&str; 4] = ["fifo", "device", "sparse", "folder"];
/// Requests for each model at one time.
const AT_ONCE: usize = 16;
/// A request that waits for none of them ends within this.
const AT_ONCE_TIME: Duration = Duration::from_secs(5);
const GROWTH_KIB: u64 = 96 << 10;
/// Threads that may be added: those that read files, and tokio's own.
const THREADS_MORE: usize = 160;

fn obstruct(path: &Path, obstacle: &str) {
    match obstacle {
        "fifo" => assert!(Command::new("mkfifo").arg(path).status().unwrap().success()),
        "device" => std::os::unix::fs::symlink("/dev/zero", path).unwrap(),
        "sparse" => std::fs::File::create(path).unwrap().set_len(10 << 30).unwrap(),
        "folder" => std::fs::create_dir(path).unwrap(),
        other => panic!("{other}"),
    }
}

/// A model's folder with an obstacle in the place of one of its files.
fn model(folder: &Path, name: &str, file: &str, obstacle: &str) {
    let model = folder.join(name);
    std::fs::create_dir_all(&model).unwrap();
    for (name, text) in [
        ("config.json", r#"{"model_type":"qwen3","architectures":["Qwen3ForCausalLM"]}"#),
        ("tokenizer.json", "{}"),
        ("model.safetensors", ""),
    ] {
        if name != file {
            std::fs::write(model.join(name), text).unwrap();
        }
    }
    obstruct(&model.join(file), obstacle);
}

fn threads(gateway: &Gateway) -> usize {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", gateway.pid()));
    tasks.map_or(0, Iterator::count)
}

/// Runs requests while others are answered. Returns the answers of the requests.
fn beside<T: Send>(gateway: &Gateway, run: impl FnOnce() -> T + Send) -> T {
    let pid = gateway.pid().as_raw().unsigned_abs();
    let (memory, usual) = (peak_kib(pid), threads(gateway));
    let (answers, most) = std::thread::scope(|scope| {
        let running = scope.spawn(run);
        let mut most = 0;
        loop {
            let last = running.is_finished();
            let began = Instant::now();
            assert_eq!(gateway.get("/livez").status, 200);
            assert_eq!(gateway.chat("qwen", "#chunks=1").status, 200);
            assert!(began.elapsed() < AT_ONCE_TIME, "others waited for {:?}", began.elapsed());
            most = most.max(threads(gateway));
            if last {
                return (running.join().unwrap(), most);
            }
        }
    });
    assert!(most <= usual + THREADS_MORE, "{usual} threads became {most}");
    let grown = peak_kib(pid).saturating_sub(memory);
    assert!(grown < GROWTH_KIB, "the gateway grew by {grown} KiB");
    answers
}

#[test]
fn a_model_whose_configuration_is_no_regular_file_is_refused_and_stops_nobody_else() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let mut profiles = PROFILES.to_owned();
    for obstacle in OBSTACLES {
        model(folder.path(), obstacle, "config.json", obstacle);
        profiles.push_str(&format!("\n[[profile]]\nname = \"{obstacle}\"\nmodel = \"./{obstacle}\"\n"));
    }
    profiles.push_str("\n[hub]\nfolders = [\".\"]\n");
    let gateway = Gateway::start_in(folder, &profiles, &[]);
    assert_eq!(gateway.chat("qwen", "#chunks=1").status, 200);
    let answers = beside(&gateway, || {
        std::thread::scope(|scope| {
            let ask = |n: usize| {
                let (gateway, obstacle) = (&gateway, OBSTACLES[n % OBSTACLES.len()]);
                scope.spawn(move || (obstacle, gateway.chat(obstacle, "hi")))
            };
            let asking: Vec<_> = (0..AT_ONCE * OBSTACLES.len()).map(ask).collect();
            asking.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        })
    });
    for (obstacle, answer) in answers {
        let reason = if obstacle == "sparse" { "larger than" } else { "not a regular file" };
        assert!(answer.status >= 500, "{obstacle}: {answer:?}");
        assert!(
            answer.body.contains("config.json") && answer.body.contains(reason),
            "{obstacle}: {answer:?}"
        );
    }
    let listed = gateway.get("/v1/models").json();
    assert_eq!(listed["data"].as_array().unwrap().len(), 3 + OBSTACLES.len(), "{listed}");
    let library = gateway.get("/api/v1/models").json();
    assert_eq!(library["problems"], json!([]), "{library}");
    assert_eq!(gateway.get("/api/v1/doctor").status, 200);
}

#[test]
fn a_model_whose_tokenizer_or_template_is_no_regular_file_is_served_and_its_tokens_are_estimated() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let mut profiles = PROFILES.to_owned();
    let mut names = Vec::new();
    for file in ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "README.md"] {
        for obstacle in OBSTACLES {
            let name = format!("{}-{obstacle}", file.split('.').next().unwrap());
            model(folder.path(), &name, file, obstacle);
            profiles.push_str(&format!(
                "\n[[profile]]\nname = \"{name}\"\nmodel = \"./{name}\"\nmodel_type = \"lm\"\ncontext_length = 9000\n"
            ));
            names.push(name);
        }
    }
    let gateway = Gateway::start_in(folder, &profiles, &[]);
    assert_eq!(gateway.chat("qwen", "#chunks=1").status, 200);
    let ask = |name: &String| {
        let messages = json!([{"role": "user", "content": "one two three"}]);
        let question = json!({"model": name, "messages": messages}).to_string();
        gateway.post("/v1/messages/count_tokens", &question)
    };
    let answers = beside(&gateway, || names.iter().map(ask).collect::<Vec<_>>());
    for (name, answer) in names.iter().zip(answers) {
        assert_eq!(answer.status, 200, "{name}: {answer:?}");
        assert!(answer.json()["input_tokens"].as_u64().unwrap() > 0, "{name}: {answer:?}");
    }
}

#[test]
fn plugins_whose_files_are_no_regular_files_fail_alone() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let plugins = folder.path().join("plugins");
    for obstacle in OBSTACLES {
        let by_component = plugins.join(format!("component-{obstacle}"));
        std::fs::create_dir_all(&by_component).unwrap();
        std::fs::write(
            by_component.join("plugin.toml"),
            format!("name = \"c_{obstacle}\"\nwasm = \"p.wasm\"\n"),
        )
        .unwrap();
        obstruct(&by_component.join("p.wasm"), obstacle);
        let by_manifest = plugins.join(format!("manifest-{obstacle}"));
        std::fs::create_dir_all(&by_manifest).unwrap();
        obstruct(&by_manifest.join("plugin.toml"), obstacle);
        obstruct(&plugins.join(format!("bare_{obstacle}.wasm")), obstacle);
    }
    let gateway = Gateway::start_in(folder, PROFILES, &[]);
    let listed = beside(&gateway, || gateway.get("/api/v1/plugins").json());
    let states: Vec<(&str, &str)> = listed["plugins"]
        .as_array()
        .unwrap()
        .iter()
        .map(|plugin| (plugin["name"].as_str().unwrap(), plugin["state"].as_str().unwrap()))
        .collect();
    for (name, state) in &states {
        let is_ours = ["calculator", "get_weather"].contains(name);
        assert_eq!(*state, if is_ours { "ready" } else { "failed" }, "{states:?}");
    }
    // What is no regular file in the place of a manifest or a bare component is not taken for a plugin at all.
    assert_eq!(states.len(), 2 + OBSTACLES.len() + 2, "{states:?}");
    let call = json!({"arguments": {"expression": "1 + 1"}}).to_string();
    assert_eq!(gateway.post("/api/v1/tools/calculator/call", &call).status, 200);
}

/// What a gateway says that does not start.
fn complaint(folder: &tempfile::TempDir) -> String {
    let output = run_under(folder, "exec timeout 20 \"$0\" \"$@\"");
    assert!(output.status.code().is_some_and(|code| code != 0 && code != 124), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_gateway_whose_configuration_or_certificate_is_no_regular_file_does_not_start_and_names_it() {
    for obstacle in OBSTACLES {
        let reason = if obstacle == "sparse" { "larger than" } else { "not a regular file" };
        let folder = tempfile::tempdir().unwrap();
        obstruct(&folder.path().join("config.toml"), obstacle);
        let words = complaint(&folder);
        assert!(words.contains("config.toml") && words.contains(reason), "{obstacle}: {words}");
        let folder = tempfile::tempdir().unwrap();
        obstruct(&folder.path().join("cert.pem"), obstacle);
        std::fs::write(folder.path().join("key.pem"), "").unwrap();
        let tls = "[server]\nlisten = \"127.0.0.1:0\"\ntls = { cert = \"cert.pem\", key = \"key.pem\" }\n";
        write_config(folder.path(), &format!("{tls}{PROFILES}"));
        let words = complaint(&folder);
        assert!(words.contains("cert.pem"), "{obstacle}: {words}");
    }
}

#[test]
fn an_upstream_whose_key_file_is_no_regular_file_fails_alone() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let mut profiles = PROFILES.to_owned();
    for obstacle in OBSTACLES {
        let key = folder.path().join(format!("key-{obstacle}"));
        obstruct(&key, obstacle);
        profiles.push_str(&format!(
            "\n[[profile]]\nname = \"{obstacle}\"\nengine = \"url\"\nurl = \"http://127.0.0.1:9/v1\"\napi_key_file = \"key-{obstacle}\"\n"
        ));
    }
    let gateway = Gateway::start_in(folder, &profiles, &[]);
    for obstacle in OBSTACLES {
        let answer = gateway.chat(obstacle, "hi");
        assert!(answer.status >= 500 && answer.body.contains("key file"), "{obstacle}: {answer:?}");
    }
    assert_eq!(gateway.chat("qwen", "#chunks=1").status, 200);
}

#[test]
fn a_configuration_that_becomes_no_regular_file_while_serving_changes_nothing() {
    let gateway = Gateway::start(PROFILES);
    let config = gateway.folder.path().join("config.toml");
    std::fs::remove_file(&config).unwrap();
    obstruct(&config, "fifo");
    assert_eq!(gateway.chat("qwen", "#chunks=1").status, 200);
    std::fs::remove_file(&config).unwrap();
    write_config(
        gateway.folder.path(),
        &format!("{PROFILES}\n[[profile]]\nname = \"new\"\nmodel = \"./model\"\n"),
    );
    let is_there =
        |listed: &Value| listed["data"].as_array().unwrap().iter().any(|model| model["id"] == "new");
    wait_for("the new profile", || Some(gateway.get("/v1/models").json()).filter(is_there));
    let answer = gateway.post("/v1/chat/completions", &body("new", "#chunks=1", false));
    assert_eq!(answer.status, 200, "{answer:?}");
}
