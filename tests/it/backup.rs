//! `backup` of a running gateway, `restore` on another machine, and completions.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use serde_json::json;

use crate::support::{Gateway, PROFILES, wait_for};

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
    assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o077, 0);
    assert_eq!(gateway.cli(&["backup", file]).status.code(), Some(6), "it is there already");
    assert_eq!(gateway.cli(&["restore", file]).status.code(), Some(6), "a gateway runs");

    let other = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(other.path().join("data")).unwrap();
    let config = std::fs::read_to_string(gateway.folder.path().join("config.toml")).unwrap();
    std::fs::create_dir_all(other.path().join("model")).unwrap();
    std::fs::copy(gateway.folder.path().join("model/config.json"), other.path().join("model/config.json"))
        .unwrap();
    std::fs::write(other.path().join("config.toml"), config).unwrap();
    let other = Arc::new(other);
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
fn a_gateway_killed_while_it_makes_a_backup_leaves_no_secrets_to_the_next() {
    let gateway = Gateway::start(PROFILES);
    // Whoever opens this for reading waits for a writer, which never comes: the backup stands still there.
    let secret = gateway.data_dir().join("session.key");
    if secret.exists() {
        std::fs::remove_file(&secret).unwrap();
    }
    assert!(Command::new("mkfifo").arg(&secret).status().unwrap().success());
    let (address, work) = (gateway.address.clone(), gateway.data_dir().join("backup-work"));
    let asking = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(&address).unwrap();
        let request = format!("GET /api/v1/backup HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        // It ends with the process: with nothing, or with a reset.
        drop(stream.read_to_end(&mut answer));
        answer
    });
    wait_for("a copy of the store", || copies(&work).pop());
    let folder = gateway.crash();
    assert_eq!(asking.join().unwrap(), b"", "no backup was sent");
    let left = copies(&work);
    assert_eq!(left.len(), 1, "the killed process has left it");
    std::fs::remove_file(&secret).unwrap();
    let next = Gateway::start_in(folder, PROFILES, &[]);
    assert_eq!(copies(&work), Vec::<std::path::PathBuf>::new());
    assert!(!work.exists());
    assert!(next.log().contains("Removed the remains of an interrupted backup"), "{}", next.log());
}

/// Copies of the store that lie in work folders of backups.
fn copies(work: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(work).into_iter().flatten().flatten();
    entries.map(|entry| entry.path().join("gateway.db")).filter(|copy| copy.exists()).collect()
}

#[test]
fn a_restore_that_died_between_two_files_is_brought_to_its_end_by_the_next_start() {
    let source = Gateway::start(PROFILES);
    let admin = source.admin();
    let (key, _) = source.key(&admin, &json!({"name": "kept"}));
    let file = source.folder.path().join("backup.zip");
    assert!(source.cli(&["backup", file.to_str().unwrap()]).status.success());

    let other = Gateway::start(PROFILES);
    other.chat("qwen", "#chunks=1");
    let data = other.data_dir();
    let folder = other.crash();
    // What a killed `restore` leaves: everything verified and written down, the store of before moved away.
    let restoring = data.join("restoring");
    let unpacked = restoring.join("files");
    std::fs::create_dir_all(&unpacked).unwrap();
    mlx_gateway::backup::read(&file, &unpacked).unwrap();
    let kept = data.join("before-restore-1");
    let aside = |name: &str| json!({"item": name, "kind": "aside"});
    let place = |name: &str| json!({"item": name, "kind": "into_place"});
    let mut moves: Vec<_> = ["gateway.db-wal", "gateway.db-shm"]
        .into_iter()
        .filter(|name| data.join(name).exists())
        .map(aside)
        .collect();
    assert!(!moves.is_empty(), "a killed gateway leaves its log");
    moves.extend([aside("gateway.db"), place("gateway.db"), place("session.key")]);
    let journal = json!({"format": 2, "began_at_ms": 1, "moves": moves});
    std::fs::write(restoring.join("moves.json"), journal.to_string()).unwrap();
    std::fs::create_dir(&kept).unwrap();
    std::fs::rename(data.join("gateway.db"), kept.join("gateway.db")).unwrap();

    let next = Gateway::serve(folder, &[]);
    assert!(next.log().contains("Finished an interrupted restore"), "{}", next.log());
    assert_eq!(next.chat_as(&key, "qwen", "#chunks=1").status, 200, "the key of the backup is known");
    assert!(kept.join("gateway.db").exists() && kept.join("gateway.db-wal").exists());
    assert!(!restoring.exists());
}

#[test]
fn a_file_that_is_no_backup_is_refused_by_its_name() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    std::fs::write(folder.path().join("config.toml"), "").unwrap();
    let wrong = folder.path().join("config.toml");
    let answer = crate::support::cli_in(&folder, &["restore", wrong.to_str().unwrap()]);
    assert_eq!(answer.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&answer.stderr).contains("is no backup of mlx-gateway"), "{answer:?}");
}

#[test]
fn every_shell_gets_its_completions() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    for shell in ["bash", "zsh", "fish"] {
        let answer = crate::support::cli_in(&folder, &["completions", shell]);
        let script = String::from_utf8_lossy(&answer.stdout).into_owned();
        assert!(script.contains("mlx-gateway") && script.contains("profiles"), "{shell}");
    }
    assert_eq!(crate::support::cli_in(&folder, &["completions", "tcsh"]).status.code(), Some(2));
}
