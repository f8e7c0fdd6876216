//! config.toml is followed while running: only what changed is touched, and streams survive.

use std::path::Path;

use serde_json::Value;

use crate::fake;
use crate::support::{Gateway, lives, wait_for};

const TWO: &str = r#"
[[profile]]
name = "a"
model = "./model"

[[profile]]
name = "b"
model = "./model"
context_length = 1000
"#;

fn change(gateway: &Gateway, from: &str, to: &str) {
    let path = gateway.folder.path().join("config.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{text}");
    put(&path, &text.replace(from, to));
}

/// As editors do: a new file in the place of the old one.
fn put(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    std::fs::write(&beside, text).unwrap();
    std::fs::rename(beside, path).unwrap();
}

fn pid(gateway: &Gateway, id: &str) -> i64 {
    gateway.backend(id, "ready")["pid"].as_i64().unwrap()
}

fn config(gateway: &Gateway) -> Value {
    gateway.get("/api/v1/system").json()["config"].clone()
}

fn until_read(gateway: &Gateway, before: &Value) {
    wait_for("the file to be read", || {
        (config(gateway)["loaded_at_ms"] != before["loaded_at_ms"]).then_some(())
    });
}

#[test]
fn only_the_backend_whose_launch_settings_changed_starts_again_and_streams_survive() {
    let gateway = Gateway::start(TWO);
    assert_eq!(gateway.chat("a", "#chunks=1").status, 200);
    let mut stream = gateway.stream("b", "#chunks=4 #gate-after=2");
    while !stream.next().unwrap().contains("\"content\"") {}
    let (a, b) = (pid(&gateway, "a"), pid(&gateway, "b"));
    let backend = gateway.backend_address("b");
    let before = config(&gateway);
    change(&gateway, "context_length = 1000", "context_length = 2000");
    until_read(&gateway, &before);
    gateway.backend("b", "draining");
    assert!(lives(b), "it finishes its answer first");
    fake::open_gate(&backend);
    let mut last = String::new();
    while let Some(event) = stream.next() {
        last = event;
    }
    assert_eq!(last, "data: [DONE]");
    assert_eq!(gateway.chat("b", "#chunks=1").status, 200);
    assert_ne!(pid(&gateway, "b"), b);
    assert!(gateway.backend("b", "ready")["command"].to_string().contains("2000"));
    assert_eq!(pid(&gateway, "a"), a, "the other did not notice");
}

#[test]
fn profiles_come_and_go_without_a_restart() {
    let gateway = Gateway::start(TWO);
    assert_eq!(gateway.chat("a", "#chunks=1").status, 200);
    let a = pid(&gateway, "a");
    let before = config(&gateway);
    change(&gateway, "name = \"b\"", "name = \"c\"");
    until_read(&gateway, &before);
    assert_eq!(gateway.chat("c", "#chunks=1").status, 200);
    assert_eq!(gateway.chat("b", "hi").error(), (404, "model_not_found".into()));
    assert_eq!(pid(&gateway, "a"), a);
    // A name for the same launch settings, before the one that gave the backend its name.
    let before = config(&gateway);
    change(
        &gateway,
        "[[profile]]\nname = \"a\"",
        "[[profile]]\nname = \"z\"\nmodel = \"./model\"\n[[profile]]\nname = \"a\"",
    );
    until_read(&gateway, &before);
    assert_eq!(gateway.chat("z", "#chunks=1").status, 200);
    assert_eq!(pid(&gateway, "a"), a, "one backend for both");
}

#[test]
fn a_file_that_is_not_valid_changes_nothing_and_says_why() {
    let gateway = Gateway::start(TWO);
    change(&gateway, "name = \"a\"", "nmae = \"a\"");
    let error = wait_for("the refusal", || config(&gateway)["error"].as_str().map(ToOwned::to_owned));
    assert!(error.contains("nmae"), "{error}");
    // What the gateway writes is read by a thread of its own, a moment later.
    wait_for("the log to say so", || gateway.log().contains("is not valid").then_some(()));
    assert_eq!(gateway.chat("a", "#chunks=1").status, 200);
    change(&gateway, "nmae = \"a\"", "name = \"a\"");
    wait_for("the error to go", || config(&gateway)["error"].is_null().then_some(()));
}

#[test]
fn an_emptied_file_takes_no_profile_away_and_the_next_one_is_read() {
    let gateway = Gateway::start(TWO);
    let path = gateway.folder.path().join("config.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let profiles = || gateway.get("/v1/models").json()["data"].as_array().unwrap().len();
    let all = profiles();
    for empty in ["", "\n  \n"] {
        std::fs::write(&path, empty).unwrap();
        let error = wait_for("the refusal", || config(&gateway)["error"].as_str().map(str::to_owned));
        assert!(error.contains("is empty"), "{error}");
        assert_eq!(profiles(), all);
        std::fs::write(&path, &text).unwrap();
        wait_for("the file to be read", || config(&gateway)["error"].is_null().then_some(()));
        assert_eq!(profiles(), all);
    }
    std::fs::write(&path, "# nothing").unwrap();
    wait_for("the profiles to go", || (profiles() == 0).then_some(()));
}

#[test]
fn what_only_a_start_reads_is_named() {
    let gateway = Gateway::start(&format!("[memory]\nmin_stay = \"1s\"\n{TWO}"));
    let before = config(&gateway);
    change(&gateway, "min_stay = \"1s\"", "min_stay = \"2s\"");
    until_read(&gateway, &before);
    assert_eq!(config(&gateway)["needs_restart"], serde_json::json!(["memory"]));
}
