//! Downloads: from a hub that goes wrong in every way it can, through pauses, crashes and restarts.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::fake;
use crate::hub::{FakeHub, noise};
use crate::support::{Gateway, wait_for};

const MB: usize = 1 << 20;

fn gateway(hub: &FakeHub) -> Gateway {
    Gateway::with_env("", &[("HF_ENDPOINT", &hub.url())])
}

fn again(hub: &FakeHub, folder: Arc<tempfile::TempDir>) -> Gateway {
    Gateway::serve(folder, &[("HF_ENDPOINT", &hub.url())])
}

fn start(gateway: &Gateway, model: &str) -> String {
    let answer = gateway.post("/api/v1/downloads", &json!({"model": model}).to_string());
    assert_eq!(answer.status, 202, "{answer:?}");
    answer.json()["id"].as_str().unwrap().to_owned()
}

fn order(gateway: &Gateway, id: &str, what: &str) -> (u16, Value) {
    let answer = gateway.post(&format!("/api/v1/downloads/{id}/{what}"), "");
    (answer.status, answer.json())
}

fn view(gateway: &Gateway, id: &str) -> Value {
    gateway.get(&format!("/api/v1/downloads/{id}")).json()
}

/// The download, once it has the status; one that failed instead says why.
fn until(gateway: &Gateway, id: &str, status: &str) -> Value {
    wait_for(&format!("the download to be {status}"), || {
        let view = view(gateway, id);
        assert!(status == "failed" || view["status"] != "failed", "{view}");
        (view["status"] == status).then_some(view)
    })
}

fn cache(gateway: &Gateway) -> PathBuf {
    gateway.folder.path().join(".cache/huggingface/hub")
}

fn repo(cache: &Path, id: &str) -> PathBuf {
    cache.join(format!("models--{}", id.replace('/', "--")))
}

/// Everything of the model that is wanted is in the cache, byte by byte, and nothing else.
fn assert_same(hub: &FakeHub, cache: &Path, id: &str) {
    let repo = repo(cache, id);
    let commit = std::fs::read_to_string(repo.join("refs/main")).unwrap();
    let snapshot = repo.join("snapshots").join(commit);
    let mut blobs = std::collections::BTreeSet::new();
    for path in [
        "config.json",
        "README.md",
        "sub dir/notes #1.txt",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
    ] {
        let (theirs, ours) = (hub.folder(id).join(path), snapshot.join(path));
        assert!(std::fs::read(theirs).unwrap() == std::fs::read(&ours).unwrap(), "{path} differs");
        blobs.insert(std::fs::canonicalize(&ours).unwrap());
    }
    assert!(!snapshot.join("pytorch_model.bin").exists(), "MLX does not read it");
    let all = std::fs::read_dir(repo.join("blobs")).unwrap().map(|entry| entry.unwrap().path());
    let all: std::collections::BTreeSet<_> = all.map(|path| std::fs::canonicalize(path).unwrap()).collect();
    assert_eq!(all, blobs, "no half file and no file of nobody's");
}

#[test]
fn a_model_is_fetched_into_the_cache_and_the_token_stays_with_the_hub() {
    let hub = FakeHub::start();
    hub.model("org/m", MB);
    let gateway = Gateway::with_env("", &[("HF_ENDPOINT", &hub.url()), ("HF_TOKEN", "hf_good")]);
    let id = start(&gateway, "org/m");
    let done = until(&gateway, &id, "completed");
    assert_same(&hub, &cache(&gateway), "org/m");
    assert_eq!(done["done_bytes"], done["total_bytes"]);
    assert_eq!(done["files"].as_array().unwrap().len(), 6);
    for request in hub.seen() {
        let own = request["host"] == hub.authority.as_str();
        assert_eq!(request["authorization"] == "Bearer hf_good", own, "{request}");
    }
    let listed = gateway.get("/api/v1/models").json();
    assert_eq!(
        (&listed["models"][0]["id"], &listed["models"][0]["complete"]),
        (&json!("org/m"), &json!(true))
    );
}

#[test]
fn two_requests_for_one_model_share_a_job_and_a_new_one_begins_when_it_is_over() {
    let hub = FakeHub::start();
    hub.model("org/m", MB);
    hub.faults(&json!([{"path": "/cdn/", "hold_after": 1000}]));
    let gateway = gateway(&hub);
    let id = start(&gateway, "org/m");
    assert_eq!(start(&gateway, "org/m"), id);
    hub.faults(&json!([]));
    until(&gateway, &id, "completed");
    hub.forget();
    let again = start(&gateway, "org/m");
    assert_ne!(again, id);
    until(&gateway, &again, "completed");
    assert!(
        !hub.seen().iter().any(|request| request["path"].as_str().unwrap().contains("/cdn/")),
        "all was there"
    );
    assert_eq!(gateway.get("/api/v1/downloads").json()["downloads"].as_array().unwrap().len(), 1);
}

#[test]
fn a_cut_connection_is_continued_at_the_byte_where_it_broke() {
    let hub = FakeHub::start();
    hub.model("org/m", MB);
    hub.faults(&json!([{"path": "/cdn/", "cut_after": 100_000, "times": 3}]));
    let gateway = gateway(&hub);
    let id = start(&gateway, "org/m");
    until(&gateway, &id, "completed");
    assert_same(&hub, &cache(&gateway), "org/m");
    let ranges: Vec<String> =
        hub.seen().iter().filter_map(|seen| Some(seen["range"].as_str()?.to_owned())).collect();
    assert!(ranges.iter().any(|range| range == "bytes=100000-"), "{ranges:?}");
}

#[test]
fn a_paused_download_goes_on_where_it_stopped_also_after_a_restart() {
    let hub = FakeHub::start();
    hub.model("org/m", 4 * MB);
    hub.faults(&json!([{"path": "/cdn/", "hold_after": 700_000}]));
    let gateway = gateway(&hub);
    let id = start(&gateway, "org/m");
    wait_for("bytes", || (view(&gateway, &id)["done_bytes"].as_u64().unwrap() > 1_400_000).then_some(()));
    assert_eq!(order(&gateway, &id, "pause").1["status"], "paused");
    assert_eq!(order(&gateway, &id, "pause").0, 200, "paused already");
    hub.faults(&json!([]));
    let gateway = again(&hub, gateway.crash());
    assert_eq!(view(&gateway, &id)["status"], "paused", "it waits to be continued");
    hub.forget();
    assert_eq!(order(&gateway, &id, "resume").0, 200);
    until(&gateway, &id, "completed");
    assert_same(&hub, &cache(&gateway), "org/m");
    let ranges = hub.seen().iter().filter(|seen| seen["range"] == "bytes=700000-").count();
    assert!(ranges >= 2, "both files were continued: {:?}", hub.seen());
    assert_eq!(order(&gateway, &id, "pause").0, 409, "it is over");
}

#[test]
fn ten_crashes_at_random_bytes_leave_a_file_that_is_the_same() {
    let hub = FakeHub::start();
    hub.model("org/m", 8 * MB);
    let mut gateway = gateway(&hub);
    let places = noise(20, 7);
    let mut id = String::new();
    for pair in places.chunks(2) {
        let at = (usize::from(pair[0]) << 8 | usize::from(pair[1])) * 11;
        hub.faults(&json!([{"path": "/cdn/", "bytes_per_s": 40_000_000, "hold_after": 300_000 + at / 10}]));
        if id.is_empty() {
            id = start(&gateway, "org/m");
        }
        let before = view(&gateway, &id)["done_bytes"].as_u64().unwrap();
        wait_for("some bytes", || {
            let now = view(&gateway, &id);
            let done = now["done_bytes"].as_u64().unwrap();
            (done > before + at as u64 / 20 || now["status"] == "completed").then_some(())
        });
        gateway = again(&hub, gateway.crash());
        for entry in std::fs::read_dir(repo(&cache(&gateway), "org/m").join("blobs")).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let whole = !name.ends_with(".incomplete") && name.len() == 64;
            let theirs = std::fs::metadata(hub.folder("org/m").join("model-00001-of-00002.safetensors"))
                .unwrap()
                .len();
            assert!(
                !whole || std::fs::metadata(&path).unwrap().len() == theirs,
                "a half file has a final name"
            );
        }
    }
    hub.faults(&json!([]));
    until(&gateway, &id, "completed");
    assert_same(&hub, &cache(&gateway), "org/m");
}

#[test]
fn a_cancelled_download_leaves_nothing_and_can_be_tried_again() {
    let hub = FakeHub::start();
    hub.model("org/m", MB);
    hub.faults(&json!([{"path": "/cdn/", "hold_after": 1000}]));
    let gateway = gateway(&hub);
    let id = start(&gateway, "org/m");
    wait_for("bytes", || (view(&gateway, &id)["done_bytes"].as_u64().unwrap() > 2000).then_some(()));
    assert_eq!(order(&gateway, &id, "cancel").1["status"], "cancelled");
    let folder = repo(&cache(&gateway), "org/m");
    wait_for("the files to go", || (!folder.exists()).then_some(()));
    hub.faults(&json!([]));
    assert_eq!(order(&gateway, &id, "retry").0, 200);
    until(&gateway, &id, "completed");
    assert_same(&hub, &cache(&gateway), "org/m");
    assert_eq!(order(&gateway, &id, "cancel").0, 409, "it is here already");
}

#[test]
fn a_wrong_hash_never_gets_a_name_and_the_second_one_ends_it_with_the_reason() {
    let hub = FakeHub::start();
    hub.model("org/m", MB);
    hub.faults(&json!([{"path": "/cdn/", "corrupt": true, "times": 1}]));
    let gateway = gateway(&hub);
    let id = start(&gateway, "org/m");
    until(&gateway, &id, "completed");
    assert_same(&hub, &cache(&gateway), "org/m");

    hub.model("org/other", MB);
    hub.faults(&json!([{"path": "/cdn/", "corrupt": true}]));
    let id = start(&gateway, "org/other");
    let failed = until(&gateway, &id, "failed");
    assert!(failed["reason"].as_str().unwrap().contains("the hub promised"), "{failed}");
    let blobs = repo(&cache(&gateway), "org/other").join("blobs");
    let names =
        std::fs::read_dir(blobs).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(names.filter(|name| name.len() == 64).count() == 0, "no wrong bytes have a final name");
    hub.faults(&json!([]));
    order(&gateway, &id, "retry");
    until(&gateway, &id, "completed");
}

#[test]
fn what_the_hub_refuses_is_said_in_words() {
    let hub = FakeHub::start();
    hub.model("org/gated", MB);
    hub.put("org/gated", ".hub.json", br#"{"gated": "manual"}"#);
    hub.put("org/gguf", "model.gguf", b"x");
    hub.put("org/gguf", "config.json", b"{}");
    let gateway = gateway(&hub);
    for (model, words) in [
        ("org/gated", "accept its terms"),
        ("org/none", "there is no such model, or it is private"),
        ("org/gguf", "no weights in a format that MLX reads"),
    ] {
        let id = start(&gateway, model);
        let failed = until(&gateway, &id, "failed");
        assert!(failed["reason"].as_str().unwrap().contains(words), "{failed}");
    }
    let answer = gateway.post("/api/v1/downloads", r#"{"model": "../../etc"}"#);
    assert_eq!(answer.status, 400, "{answer:?}");
    assert_eq!(gateway.post("/api/v1/downloads", r#"{"modle": "a/b"}"#).status, 400);
    assert_eq!(gateway.post("/api/v1/downloads/nope/pause", "").status, 404);
}

#[test]
fn a_hub_in_trouble_is_asked_again_and_its_retry_after_is_honoured() {
    let hub = FakeHub::start();
    hub.model("org/m", MB);
    hub.faults(&json!([
        {"path": "/api/models", "status": 503, "times": 1},
        {"path": "/tree/", "close": true, "times": 1},
        {"path": "/cdn/", "status": 429, "retry_after": 1, "times": 1},
        {"path": "/cdn/", "status": 500, "times": 1},
        {"path": "/cdn/", "cut_after": 50_000, "times": 1},
        {"path": "/cdn/", "ignore_range": true, "times": 1},
    ]));
    let gateway = gateway(&hub);
    let id = start(&gateway, "org/m");
    let noted = wait_for("the wait to be told", || {
        let now = view(&gateway, &id);
        let note = now["note"].as_str().map(str::to_owned);
        (note.is_some() || now["status"] == "completed").then_some(note)
    });
    assert!(noted.is_some_and(|note| note.contains("tried again in")));
    until(&gateway, &id, "completed");
    assert_same(&hub, &cache(&gateway), "org/m");
}

#[test]
fn an_orderly_end_leaves_a_download_that_goes_on_by_itself() {
    let hub = FakeHub::start();
    hub.model("org/m", MB);
    hub.faults(&json!([{"path": "/cdn/", "hold_after": 1000}]));
    let mut first = gateway(&hub);
    let id = start(&first, "org/m");
    wait_for("bytes", || (view(&first, &id)["done_bytes"].as_u64().unwrap() > 2000).then_some(()));
    first.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(first.ended(), Some(0));
    hub.faults(&json!([]));
    let second = again(&hub, Arc::clone(&first.folder));
    until(&second, &id, "completed");
    assert_same(&hub, &cache(&second), "org/m");
}

#[test]
fn a_request_for_a_model_that_is_not_here_says_how_or_has_it_fetched() {
    let hub = FakeHub::start();
    hub.model("org/m", MB);
    let profiles = "[[profile]]\nname = \"by-hand\"\nmodel = \"org/m\"\n\
        [[profile]]\nname = \"auto\"\nmodel = \"org/m\"\ncontext_length = 1000\nauto_download = true\n";
    let gateway = Gateway::with_env(profiles, &[("HF_ENDPOINT", &hub.url())]);
    let refused = gateway.chat("by-hand", "hi");
    assert_eq!(refused.error(), (503, "backend_failed".into()));
    let message = refused.json()["error"]["message"].to_string();
    assert!(message.contains("mlx-gateway models pull org/m"), "{message}");
    assert!(gateway.get("/api/v1/downloads").json()["downloads"].as_array().unwrap().is_empty());

    let streamed = gateway.streamed("auto", "#chunks=2");
    assert_eq!(streamed.status, 200);
    assert!(streamed.body.contains("w1") && !streamed.body.contains("\"error\""), "{}", streamed.body);
    assert_eq!(gateway.get("/api/v1/downloads").json()["downloads"][0]["status"], "completed");
    let seen = fake::seen(&gateway.backend_address("auto"), "");
    assert!(seen["env"].to_string().contains("HF_HUB_OFFLINE"), "the server fetches nothing itself");
}
