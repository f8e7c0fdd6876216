//! `/api/v1/profiles` and `mlx-gateway profiles`: made, used, changed, refused, and there again after a
//! restart.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::support::http::Answer;
use crate::support::{Gateway, PROFILES};

fn model(gateway: &Gateway) -> String {
    gateway.folder.path().join("model").display().to_string()
}

/// Sends JSON with one more header line, if any.
fn send(gateway: &Gateway, method: &str, path: &str, header: &str, body: &Value) -> Answer {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    gateway.send(&format!(
        "{method} /api/v1/profiles{path} HTTP/1.1\r\nhost: {}\r\n{header}content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        gateway.address,
        body.len()
    ))
}

#[test]
fn a_profile_that_was_made_serves_at_once_and_after_a_restart() {
    let gateway = Gateway::start(PROFILES);
    let body =
        json!({"name": "mine", "model": model(&gateway), "system_prompt": "Be kind.", "aliases": ["my-*"]});
    let made = send(&gateway, "POST", "", "", &body);
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!((&made.json()["origin"], &made.json()["backend"]), (&json!("store"), &json!("qwen")));
    assert_eq!(gateway.chat("my-own", "#chunks=1").status, 200);
    let folder = gateway.crash();
    let next = Gateway::start_in(Arc::clone(&folder), PROFILES, &[]);
    let shown = next.get("/api/v1/profiles/mine").json();
    assert_eq!(shown["settings"], body);
    assert_eq!(next.chat("mine", "#chunks=1").status, 200);
    assert_eq!(
        send(&next, "DELETE", "/mine", "", &Value::Null).json(),
        json!({"name": "mine", "removed": true, "backend_runs": true})
    );
    assert_eq!(next.chat("mine", "#chunks=1").error(), (404, "model_not_found".into()));
    assert_eq!(send(&next, "DELETE", "/mine", "", &Value::Null).status, 404);
}

#[test]
fn a_change_goes_to_who_has_seen_the_newest_and_says_when_a_restart_is_needed() {
    let gateway = Gateway::start(PROFILES);
    let body = json!({"name": "mine", "model": model(&gateway), "context_length": 512});
    let tag = send(&gateway, "POST", "", "", &body).header("etag").unwrap();
    assert_eq!(gateway.chat("mine", "#chunks=1").status, 200);
    let longer = json!({"model": model(&gateway), "context_length": 1024});
    let changed = send(&gateway, "PUT", "/mine", &format!("if-match: {tag}\r\n"), &longer);
    assert_eq!(changed.status, 200, "{changed:?}");
    assert_eq!(
        (&changed.json()["changed"], &changed.json()["restart_required"]),
        (&json!(["context_length"]), &json!(true))
    );
    let late = send(&gateway, "PUT", "/mine", &format!("if-match: {tag}\r\n"), &body);
    assert_eq!(late.error(), (412, "precondition_failed".into()));
    assert_eq!(send(&gateway, "DELETE", "/mine", &format!("if-match: {tag}\r\n"), &Value::Null).status, 412);
    let prompt = json!({"model": model(&gateway), "context_length": 1024, "system_prompt": "x"});
    assert_eq!(send(&gateway, "PUT", "/mine", "", &prompt).json()["restart_required"], false);
}

#[test]
fn what_is_wrong_is_listed_at_once_and_nothing_is_kept() {
    let gateway = Gateway::start(PROFILES);
    let wrong =
        json!({"name": "x", "modle": "m/a", "keep_alive": "soon", "command": ["sh"], "env": {"A": "b"}});
    let refused = send(&gateway, "POST", "", "", &wrong);
    assert_eq!(refused.error(), (400, "invalid_profile".into()));
    let problems = refused.json()["error"]["problems"].as_array().unwrap().clone();
    let keys: Vec<&str> = problems.iter().filter_map(|problem| problem["key"].as_str()).collect();
    for key in ["modle", "keep_alive", "command", "env"] {
        assert!(keys.contains(&key), "{key} in {keys:?}");
    }
    let taken = json!({"name": "x", "model": model(&gateway), "aliases": ["gpt-4o-mini"]});
    assert_eq!(send(&gateway, "POST", "", "", &taken).json()["error"]["problems"][0]["key"], "aliases");
    let own = json!({"name": "qwen", "model": model(&gateway)});
    assert_eq!(send(&gateway, "POST", "", "", &own).error(), (409, "profile_exists".into()));
    assert_eq!(send(&gateway, "PUT", "/qwen", "", &own).error(), (409, "profile_in_file".into()));
    assert_eq!(send(&gateway, "PUT", "/none", "", &own).status, 404);
    assert_eq!(send(&gateway, "POST", "", "", &json!([1])).status, 400);
    let tried = json!({"name": "y", "model": model(&gateway)});
    assert_eq!(send(&gateway, "POST", "?dry_run=true", "", &tried).status, 200);
    let names: Vec<Value> = gateway.get("/api/v1/profiles").json()["profiles"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["name"].clone())
        .collect();
    assert_eq!(names, [json!("qwen"), json!("qwen-terse"), json!("other")]);
}

#[test]
fn a_profile_of_the_file_goes_before_one_of_the_store_which_is_still_shown() {
    let gateway = Gateway::start(PROFILES);
    let mine = json!({"name": "late", "model": model(&gateway), "system_prompt": "mine"});
    assert_eq!(send(&gateway, "POST", "", "", &mine).status, 201);
    let folder = gateway.crash();
    let file = format!(
        "{PROFILES}\n[[profile]]\nname = \"late\"\nmodel = \"./model\"\nsystem_prompt = \"the file's\"\n"
    );
    let next = Gateway::start_in(folder, &file, &[]);
    assert_eq!(next.get("/api/v1/profiles/late").json()["system_prompt"], "the file's");
    let all = next.get("/api/v1/profiles").json();
    let shadowed: Vec<&Value> =
        all["profiles"].as_array().unwrap().iter().filter(|p| p["shadowed"] == true).collect();
    assert_eq!(shadowed.len(), 1, "{all}");
    assert_eq!(shadowed[0]["system_prompt"], "mine");
}

#[test]
fn the_command_line_makes_a_profile_from_its_model_changes_copies_exports_and_removes_it() {
    let gateway = Gateway::start(PROFILES);
    let folder = gateway.folder.path().join("model");
    std::fs::write(folder.join("generation_config.json"), r#"{"temperature":0.6,"top_k":20}"#).unwrap();
    let model = model(&gateway);
    let made = gateway.cli_json(&["profiles", "create", "mine", "--model", &model, "--set", "keep_alive=1h"]);
    assert_eq!(
        made["settings"],
        json!({"name": "mine", "model": model, "keep_alive": "1h", "model_type": "lm",
            "defaults": {"temperature": 0.6, "top_k": 20}})
    );
    assert!(
        gateway
            .cli(&["profiles", "edit", "mine", "--set", "defaults.temperature=0.2", "--unset", "keep_alive"])
            .status
            .success()
    );
    assert!(gateway.cli(&["profiles", "cp", "mine", "other-mine"]).status.success());
    assert_eq!(gateway.cli_json(&["profiles", "show", "other-mine"])["defaults"]["temperature"], 0.2);
    let exported = gateway.cli(&["profiles", "export", "mine"]);
    let toml = String::from_utf8(exported.stdout).unwrap();
    assert!(toml.starts_with("[[profile]]\nname = \"mine\"\n"), "{toml}");
    let file = gateway.folder.path().join("exported.toml");
    std::fs::write(&file, toml).unwrap();
    assert!(gateway.cli(&["profiles", "rm", "mine"]).status.success());
    let code = |arguments: &[&str]| gateway.cli(arguments).status.code();
    assert_eq!(code(&["profiles", "show", "mine"]), Some(5));
    assert_eq!(code(&["profiles", "rm", "qwen"]), Some(6));
    assert_eq!(code(&["profiles", "create", "x", "--model", &model, "--set", "modle=1"]), Some(2));
    assert_eq!(code(&["profiles", "edit", "other-mine"]), Some(2));
    let listed = String::from_utf8(gateway.cli(&["profiles", "ls"]).stdout).unwrap();
    assert!(listed.contains("other-mine") && listed.contains("file"), "{listed}");
}

#[test]
fn a_profile_is_edited_as_a_file_in_the_users_editor_and_no_work_is_lost() {
    let gateway = Gateway::start(PROFILES);
    let made = gateway.cli(&["profiles", "create", "mine", "--model", &model(&gateway), "--plain"]);
    assert!(made.status.success(), "{made:?}");
    let editor = |script: &str| {
        let path = gateway.folder.path().join("editor");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        gateway.cli_with(&[("EDITOR", &format!("{} -w", path.display()))], &["profiles", "edit", "mine"])
    };
    let told = |output: &std::process::Output| String::from_utf8_lossy(&output.stderr).into_owned();
    let changed = editor("test \"$1\" = -w && echo 'context_length = 1234' >> \"$2\"");
    assert!(changed.status.success(), "{changed:?}");
    assert_eq!(gateway.get("/api/v1/profiles/mine").json()["context_length"], 1234);
    let same = editor("true");
    assert!(same.status.success() && told(&same).contains("as it was"), "{same:?}");
    assert_eq!(editor("exit 3").status.code(), Some(1));
    let refused = editor("echo 'modle = 1' >> \"$2\"");
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    let text = told(&refused);
    let kept = text
        .split("--toml < ")
        .nth(1)
        .and_then(|rest| rest.lines().next())
        .unwrap_or_else(|| panic!("{text}"));
    assert!(std::fs::read_to_string(kept).unwrap().contains("modle = 1"));
    std::fs::remove_dir_all(std::path::Path::new(kept).parent().unwrap()).unwrap();
    let without = gateway.cli(&["profiles", "edit", "mine"]);
    assert!(without.status.code() == Some(2) && told(&without).contains("$EDITOR"), "{without:?}");
}

#[test]
fn what_a_start_would_run_is_shown_before_it_runs() {
    let gateway = Gateway::start(PROFILES);
    let shown = gateway.get("/api/v1/profiles/qwen").json();
    let words: Vec<&str> = shown["command"].as_array().unwrap().iter().map(|w| w.as_str().unwrap()).collect();
    let after = |option: &str| words.iter().position(|word| *word == option).map(|at| words[at + 1]);
    assert_eq!(after("--port"), Some("{port}"), "{words:?}");
    assert!(after("--model-path").unwrap().ends_with("/model"), "{words:?}");
    // A change that is only tried shows its own.
    let longer = json!({"name": "y", "model": model(&gateway), "context_length": 4321});
    let tried = send(&gateway, "POST", "?dry_run=true", "", &longer).json();
    assert!(tried["command"].to_string().contains("4321"), "{tried}");
    let text = String::from_utf8(gateway.cli(&["profiles", "show", "qwen"]).stdout).unwrap();
    assert!(text.contains("runs: ") && text.contains("--port {port}"), "{text}");
    // What runs is what was shown, with a port and a folder of its own.
    assert_eq!(gateway.chat("qwen", "#chunks=1").status, 200);
    let runs = gateway.backend("qwen", "ready")["command"].as_array().unwrap().clone();
    assert_eq!(runs.len(), words.len());
    let differ = |(shown, runs): (&&str, &Value)| *shown != runs.as_str().unwrap() && !shown.contains('{');
    assert!(!words.iter().zip(&runs).any(differ), "{words:?} {runs:?}");
    let missing = json!({"name": "z", "model": "org/not-here"});
    let tried = send(&gateway, "POST", "?dry_run=true", "", &missing).json();
    assert!(tried["command_note"].as_str().unwrap().contains("models pull"), "{tried}");
}

#[test]
fn profiles_can_be_made_while_no_gateway_runs() {
    let mut gateway = Gateway::start(PROFILES);
    let model = model(&gateway);
    gateway.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(gateway.ended(), Some(0));
    let made = gateway.cli(&["profiles", "create", "offline", "--model", &model]);
    assert!(made.status.success(), "{made:?}");
    let next = Gateway::start_in(Arc::clone(&gateway.folder), PROFILES, &[]);
    assert_eq!(next.chat("offline", "#chunks=1").status, 200);
}

#[test]
fn the_commands_in_the_document_work_in_their_order() {
    let gateway = Gateway::start("[[profile]]\nname = \"other\"\nmodel = \"./model\"\n");
    let document = include_str!("../../docs/profiles.md");
    let block = document.split("```sh\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    for line in block.lines() {
        let command = line.split(" #").next().unwrap();
        let words: Vec<&str> = command.split_whitespace().skip(1).collect();
        let output = gateway.cli(&words);
        assert!(output.status.success(), "{command}: {output:?}");
    }
    let left = gateway.get("/api/v1/profiles").json();
    let names: Vec<&str> =
        left["profiles"].as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["other", "qwen", "shorter"]);
}
