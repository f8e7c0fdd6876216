//! `backup` of a running gateway, `restore` on another machine, and completions.

use serde_json::json;

use crate::support::{Gateway, PROFILES};

#[test]
fn a_backup_of_a_running_gateway_is_restored_elsewhere_with_all_that_it_knew() {
    let gateway = Gateway::start(PROFILES);
    gateway.chat("qwen", "#chunks=3 hi");
    gateway.record("completed");
    let model = gateway.folder.path().join("model");
    let made = gateway.cli(&["profiles", "create", "mine", "--model", model.to_str().unwrap()]);
    assert!(made.status.success(), "{made:?}");
    let admin = gateway.admin();
    let (key, _) = gateway.key(&admin, &json!({"name": "kept"}));
    let mut streaming = gateway.stream_as(&key, "qwen", "#chunks=3 #gate-after=1");
    while !streaming.next().unwrap().contains("\"content\"") {}
    let file = gateway.folder.path().join("backup.zip");
    let file = file.to_str().unwrap();
    let written = gateway.cli(&["backup", file]);
    assert!(written.status.success(), "{written:?}");
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(file).unwrap().permissions()) & 0o077,
        0
    );
    assert_eq!(gateway.cli(&["backup", file]).status.code(), Some(6), "it is there already");
    assert_eq!(gateway.cli(&["restore", file]).status.code(), Some(6), "a gateway runs");

    let other = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(other.path().join("data")).unwrap();
    let config = std::fs::read_to_string(gateway.folder.path().join("config.toml")).unwrap();
    std::fs::create_dir_all(other.path().join("model")).unwrap();
    std::fs::copy(gateway.folder.path().join("model/config.json"), other.path().join("model/config.json"))
        .unwrap();
    std::fs::write(other.path().join("config.toml"), config).unwrap();
    let other = std::sync::Arc::new(other);
    let restored = crate::support::cli_in(&other, &["restore", file]);
    assert!(restored.status.success(), "{restored:?}");
    let second = Gateway::serve(other, &[]);
    assert_eq!(second.chat_as(&key, "mine", "#chunks=1").status, 200, "the key and the profile are known");
    let requests = second.cli_json(&["requests", "--limit", "10"]);
    let statuses: Vec<_> =
        requests["requests"].as_array().unwrap().iter().map(|one| one["status"].clone()).collect();
    assert!(
        statuses.contains(&json!("completed")) && statuses.contains(&json!("interrupted")),
        "{statuses:?}"
    );
}

#[test]
fn a_file_that_is_no_backup_is_refused_by_its_name() {
    let folder = std::sync::Arc::new(tempfile::tempdir().unwrap());
    std::fs::write(folder.path().join("config.toml"), "").unwrap();
    let wrong = folder.path().join("config.toml");
    let answer = crate::support::cli_in(&folder, &["restore", wrong.to_str().unwrap()]);
    assert_eq!(answer.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&answer.stderr).contains("is no backup of mlx-gateway"), "{answer:?}");
}

#[test]
fn every_shell_gets_its_completions() {
    let folder = std::sync::Arc::new(tempfile::tempdir().unwrap());
    for shell in ["bash", "zsh", "fish"] {
        let answer = crate::support::cli_in(&folder, &["completions", shell]);
        let script = String::from_utf8_lossy(&answer.stdout).into_owned();
        assert!(script.contains("mlx-gateway") && script.contains("profiles"), "{shell}");
    }
    assert_eq!(crate::support::cli_in(&folder, &["completions", "tcsh"]).status.code(), Some(2));
}
