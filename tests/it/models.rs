//! Models: the library, the hub's search and details, and the commands.

use serde_json::json;

use crate::hub::FakeHub;
use crate::support::{Gateway, wait_for};

fn gateway(hub: &FakeHub, profiles: &str) -> Gateway {
    Gateway::with_env(profiles, &[("HF_ENDPOINT", &hub.url())])
}

fn three_models(hub: &FakeHub) {
    for (id, about) in [
        (
            "mlx-community/big",
            r#"{"downloads": 900, "likes": 1, "lastModified": "2026-03-01T00:00:00.000Z"}"#,
        ),
        (
            "mlx-community/small",
            r#"{"downloads": 100, "likes": 7, "lastModified": "2026-05-01T00:00:00.000Z"}"#,
        ),
        ("other/torch", r#"{"downloads": 5000, "tags": ["pytorch"]}"#),
    ] {
        hub.model(id, 4096);
        hub.put(id, ".hub.json", about.as_bytes());
    }
}

fn ids(found: &serde_json::Value) -> Vec<String> {
    let models = found["models"].as_array().unwrap();
    models.iter().map(|model| model["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_hub_is_searched_by_text_owner_and_library_and_sorted_in_pages() {
    let hub = FakeHub::start();
    three_models(&hub);
    let gateway = gateway(&hub, "");
    let search = |query: &str| gateway.get(&format!("/api/v1/models/search?{query}")).json();
    assert_eq!(ids(&search("")), ["mlx-community/big", "mlx-community/small"], "models for MLX");
    assert_eq!(ids(&search("library=any"))[0], "other/torch");
    assert_eq!(ids(&search("q=SMALL")), ["mlx-community/small"]);
    assert_eq!(ids(&search("author=other&library=any")), ["other/torch"]);
    assert_eq!(ids(&search("sort=likes"))[0], "mlx-community/small");
    assert_eq!(ids(&search("sort=date"))[0], "mlx-community/small");
    let page = search("limit=1");
    assert_eq!((ids(&page).len(), &page["next_offset"]), (1, &json!(1)));
    assert_eq!(ids(&search("limit=1&offset=1")), ["mlx-community/small"]);
    let hit = &search("q=big")["models"][0];
    assert_eq!(hit["facts"]["model_type"], "qwen3", "{hit}");
    assert_eq!(hit["facts"]["context_length"]["value"], 4096);
    assert_eq!((&hit["license"], &hit["local"]), (&json!("apache-2.0"), &json!(false)));
    assert_eq!(gateway.get("/api/v1/models/search?sort=size").status, 400);
    assert_eq!(gateway.get("/api/v1/models/search?offset=5000").status, 400);
    assert_eq!(gateway.get("/api/v1/models/search?wrong=1").status, 400);
}

#[test]
fn details_join_what_the_hub_says_with_what_is_here() {
    let hub = FakeHub::start();
    three_models(&hub);
    let gateway = gateway(&hub, "");
    let details = gateway.get("/api/v1/models/mlx-community/big").json();
    assert_eq!(details["hub"]["downloads"], 900);
    assert!(details["readme"].as_str().unwrap().contains("# A model"));
    assert_eq!(details["facts"]["quantization"]["value"]["bits"], 4);
    let files = details["hub"]["files"].as_array().unwrap();
    let unwanted: Vec<_> = files.iter().filter(|file| file["wanted"] == false).collect();
    assert_eq!((files.len(), &unwanted[0]["path"]), (7, &json!("pytorch_model.bin")));
    assert_eq!(details["local"], json!(null));
    assert_eq!(
        gateway.get("/api/v1/models/mlx-community/nothing").status,
        403,
        "there is none, or it is private"
    );
    assert_eq!(gateway.get("/api/v1/models/mlx-community/nothing?hub=false").status, 404);
    assert_eq!(gateway.get("/api/v1/models/nonsense").status, 404);
}

#[test]
fn a_hub_that_cannot_be_asked_is_an_ordinary_answer() {
    let mut hub = FakeHub::start();
    three_models(&hub);
    let gateway = gateway(&hub, "");
    let pulled = gateway.cli(&["models", "pull", "mlx-community/small"]);
    assert!(pulled.status.success(), "{pulled:?}");
    hub.faults(&json!([{"status": 429, "retry_after": 17}]));
    let limited = gateway.get("/api/v1/models/search?q=x");
    assert_eq!(limited.status, 200);
    assert_eq!(limited.json()["problem"]["code"], "hub_rate_limited");
    assert_eq!(limited.json()["problem"]["retry_after_s"], 17.0, "as long as the hub says");
    let told = String::from_utf8(gateway.cli(&["models", "search", "x"]).stderr).unwrap();
    assert!(told.contains("try again in 17 s"), "{told}");
    let refused = gateway.get("/api/v1/models/mlx-community/big");
    assert_eq!((refused.error().0, refused.header("retry-after").as_deref()), (503, Some("17")));
    hub.stop();
    let offline = gateway.get("/api/v1/models/search?q=x");
    assert_eq!((offline.status, &offline.json()["problem"]["code"]), (200, &json!("hub_offline")));
    let here = gateway.get("/api/v1/models/mlx-community/small").json();
    assert_eq!(here["local"]["complete"], true, "what is here is shown without the hub");
    assert_eq!(here["problem"]["code"], "hub_offline");
    let told = gateway.cli(&["models", "search", "x"]);
    assert_eq!(told.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&told.stderr).contains("cannot be reached"), "{told:?}");
    assert_eq!(gateway.cli_json(&["models", "ls"])["models"][0]["id"], "mlx-community/small");
}

#[test]
fn a_gated_model_comes_with_a_token_that_is_never_shown_again() {
    let hub = FakeHub::start();
    hub.model("org/gated", 4096);
    hub.put("org/gated", ".hub.json", br#"{"gated": "auto"}"#);
    let gateway = gateway(&hub, "");
    let refused = gateway.cli(&["models", "pull", "org/gated"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("accept its terms"), "{refused:?}");
    let put = |body: &str| {
        let request = gateway.request("/api/v1/hub/token", "", body).replacen("POST", "PUT", 1);
        gateway.send(&request)
    };
    assert_eq!(put(r#"{"token": "a b"}"#).status, 400);
    let set = put(r#"{"token": "hf_good"}"#);
    assert_eq!((set.status, &set.json()["token_from"]), (200, &json!("store")));
    assert!(!set.body.contains("hf_good") && !gateway.get("/api/v1/hub").body.contains("hf_good"));
    let pulled = gateway.cli(&["models", "pull", "org/gated"]);
    assert!(pulled.status.success(), "{pulled:?}");
    let second = Gateway::serve(gateway.crash(), &[("HF_ENDPOINT", &hub.url())]);
    assert_eq!(second.get("/api/v1/hub").json()["token_from"], "store", "it is kept");
    assert!(!second.log().contains("hf_good"));
}

#[test]
fn the_commands_find_fetch_show_and_remove_a_model() {
    let hub = FakeHub::start();
    three_models(&hub);
    let gateway = gateway(&hub, "");
    let text = |arguments: &[&str]| {
        let ran = gateway.cli(arguments);
        assert!(ran.status.success(), "{arguments:?}: {ran:?}");
        String::from_utf8(ran.stdout).unwrap()
    };
    assert!(text(&["models", "search", "small"]).contains("mlx-community/small"));
    assert!(text(&["models", "pull", "mlx-community/small"]).contains("is here"));
    let lines = gateway.cli(&["models", "pull", "mlx-community/small", "--json"]).stdout;
    let last = String::from_utf8(lines).unwrap().lines().last().unwrap().to_owned();
    assert!(last.contains("\"completed\""), "{last}");
    let listed = text(&["models", "ls"]);
    assert!(listed.contains("mlx-community/small") && listed.contains("4 bit"), "{listed}");
    let shown = text(&["models", "show", "mlx-community/small", "--files"]);
    assert!(shown.contains("4,096 tokens") && shown.contains("left out"), "{shown}");
    assert!(text(&["models", "du"]).contains("in all"));
    assert!(text(&["models", "rm", "mlx-community/small"]).contains("is removed"));
    assert_eq!(gateway.cli(&["models", "rm", "mlx-community/small"]).status.code(), Some(5));
    assert!(!gateway.folder.path().join(".cache/huggingface/hub/models--mlx-community--small").exists());
}

#[test]
fn a_model_in_use_stays_and_the_refusal_says_by_what() {
    let hub = FakeHub::start();
    hub.model("org/m", 4096);
    let gateway = gateway(&hub, "[[profile]]\nname = \"q\"\nmodel = \"org/m\"\nauto_download = true\n");
    assert_eq!(gateway.chat("q", "#chunks=1").status, 200);
    let rm = |arguments: &[&str]| gateway.cli(&[&["models", "rm", "org/m"], arguments].concat());
    let refused = rm(&["--force"]);
    assert_eq!(refused.status.code(), Some(6));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("in use by q"), "{refused:?}");
    let listed = gateway.get("/api/v1/models").json();
    let model = &listed["models"][0];
    assert_eq!((&model["used_by"], &model["running"]), (&json!(["q"]), &json!(["q"])));
    wait_for("the record", || gateway.get("/api/v1/models").json()["models"][0]["last_used_ms"].as_i64());
    assert!(gateway.cli(&["stop", "q"]).status.success());
    assert_eq!(rm(&[]).status.code(), Some(6), "a profile names it");
    assert!(rm(&["--force"]).status.success());
    assert_eq!(gateway.get("/api/v1/models").json()["models"], json!([]));
}

#[test]
fn models_of_other_tools_and_of_added_folders_appear_by_themselves() {
    let hub = FakeHub::start();
    let folder = std::sync::Arc::new(tempfile::tempdir().unwrap());
    let put = |path: &str, text: &str| {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    put("mine/lab/tiny/config.json", r#"{"model_type":"llama"}"#);
    put("mine/lab/tiny/model.safetensors", "x");
    let settings = "[server]\nlisten = \"127.0.0.1:0\"\n[hub]\nfolders = [\"./mine\"]\n";
    let gateway = Gateway::start_in(folder.clone(), settings, &[("HF_ENDPOINT", &hub.url())]);
    assert_eq!(gateway.get("/api/v1/models").json()["models"].as_array().unwrap().len(), 1);
    let repo = ".cache/huggingface/hub/models--org--theirs";
    put(&format!("{repo}/snapshots/abc/config.json"), r#"{"model_type":"qwen3"}"#);
    put(&format!("{repo}/snapshots/abc/model.safetensors"), "x");
    put(&format!("{repo}/refs/main"), "abc");
    let listed = gateway.get("/api/v1/models").json();
    let models = listed["models"].as_array().unwrap();
    assert!(
        models.iter().any(|model| model["id"] == "org/theirs" && model["facts"]["model_type"] == "qwen3")
    );
    let mine = models.iter().find(|model| model["source"] == "folder").unwrap()["id"].as_str().unwrap();
    let refused = gateway.cli(&["models", "rm", mine]);
    assert_eq!(refused.status.code(), Some(6), "{refused:?}");
    assert!(gateway.get("/api/v1/models?unused_days=1").json()["models"].as_array().unwrap().is_empty());
}

#[test]
fn commands_work_without_a_gateway_and_a_fetch_that_they_began_is_finished_by_one() {
    let hub = FakeHub::start();
    hub.model("org/m", 4096);
    let mut gateway = gateway(&hub, "");
    gateway.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(gateway.ended(), Some(0));
    let config = format!("[hub]\nendpoint = \"{}\"\n", hub.url());
    std::fs::write(gateway.folder.path().join("config.toml"), config).unwrap();
    let pulled = gateway.cli(&["models", "pull", "org/m"]);
    assert!(pulled.status.success(), "{pulled:?}");
    assert_eq!(gateway.cli_json(&["models", "ls"])["models"][0]["id"], "org/m");
}

#[test]
fn the_commands_in_the_document_work_in_the_order_shown() {
    let hub = FakeHub::start();
    hub.model("mlx-community/Qwen3-4B-4bit", 4096);
    let gateway = gateway(&hub, "");
    let document = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/models.md")).unwrap();
    let commands: Vec<&str> = document.lines().filter_map(|line| line.strip_prefix("mlx-gateway ")).collect();
    assert_eq!(commands.len(), 7);
    for command in commands {
        let ran = gateway.cli(&command.split(' ').collect::<Vec<_>>());
        assert!(
            ran.status.success() && !(ran.stdout.is_empty() && ran.stderr.is_empty()),
            "{command}: {ran:?}"
        );
    }
}
