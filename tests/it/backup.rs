//! `backup` of a running gateway, `restore` on another machine, and completions.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::support::people::PASSWORD;
use crate::support::{Gateway, PROFILES, wait_for, weather};

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
    // Compressing these takes longer than it takes to notice the copy of the store.
    let large = gateway.folder.path().join("plugins/large");
    std::fs::create_dir_all(&large).unwrap();
    for n in 0..32 {
        std::fs::File::create(large.join(n.to_string())).unwrap().set_len(60 << 20).unwrap();
    }
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

/// Copies what a user carries to another machine by hand: the model, and the configuration.
fn elsewhere(gateway: &Gateway) -> Arc<tempfile::TempDir> {
    let other = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(other.path().join("model")).unwrap();
    for file in ["model/config.json", "config.toml"] {
        std::fs::copy(gateway.folder.path().join(file), other.path().join(file)).unwrap();
    }
    Arc::new(other)
}

/// What a gateway knows, over its API, without what changes by itself.
fn knowledge(gateway: &Gateway, admin: &str, ada: &str, chat: &str) -> serde_json::Map<String, Value> {
    let read = |token: &str, path: &str| {
        let answer = gateway.as_bearer(token, "GET", path, None);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.json()
    };
    let mut known = serde_json::Map::new();
    for path in ["/users", "/keys", "/profiles", "/requests", "/tools", "/captures"] {
        known.insert(path.to_owned(), read(admin, &format!("/api/v1{path}")));
    }
    known.insert("chats".to_owned(), read(ada, "/api/v1/chats"));
    known.insert("chat".to_owned(), read(ada, &format!("/api/v1/chats/{chat}")));
    known.insert("hub".to_owned(), read(admin, "/api/v1/hub"));
    let plugins = read(admin, "/api/v1/plugins");
    known.insert("plugins".to_owned(), plugins["plugins"].clone());
    let mut known = Value::Object(known);
    forget(&mut known);
    match known {
        Value::Object(known) => known,
        other => panic!("{other}"),
    }
}

/// Takes out times of use, figures of this run, and paths of the machine.
fn forget(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for name in [
                "last_used_at",
                "last_login_at",
                "last_seen_at",
                "usage",
                "etag",
                "path",
                "load_ms",
                "mean_ms",
                "calls",
                "errors",
                "backend",
                "state_of_backend",
                "command",
                "command_note",
                "model",
            ] {
                fields.remove(name);
            }
            fields.values_mut().for_each(forget);
        }
        Value::Array(items) => items.iter_mut().for_each(forget),
        _ => {}
    }
}

#[test]
fn a_backup_restored_on_an_empty_machine_has_accounts_keys_plugins_grants_conversations_and_settings() {
    let env = [("WEATHER_TOKEN", "Bearer s3cret")];
    let gateway = Gateway::with_env(PROFILES, &env);
    let (admin, folder) = (gateway.admin(), gateway.folder.path());
    let (ada, ada_id) = gateway.user(&admin, "ada@example.com");
    let (_, ben_id) = gateway.user(&admin, "ben@example.com");
    let act = |token: &str, method: &str, path: &str, body: &Value| {
        let answer = gateway.as_bearer(token, method, path, Some(body));
        assert!((200..300).contains(&answer.status), "{path}: {answer:?}");
        answer.json()
    };
    act(&admin, "POST", &format!("/api/v1/users/{ben_id}/disable"), &json!({}));
    act(
        &admin,
        "POST",
        &format!("/api/v1/users/{ada_id}/tools"),
        &json!({"tools": ["get_weather", "calculator"]}),
    );
    let (kept, _) = gateway.key(&ada, &json!({"name": "kept"}));
    let (revoked, revoked_id) = gateway.key(&ada, &json!({"name": "revoked"}));
    assert_eq!(
        gateway.as_bearer(&ada, "DELETE", &format!("/api/v1/keys/{revoked_id}"), None).status / 100,
        2
    );
    act(
        &admin,
        "POST",
        "/api/v1/profiles",
        &json!({"name": "stored", "model": "org/none", "system_prompt": "Be kind."}),
    );
    let chat =
        act(&ada, "POST", "/api/v1/chats", &json!({"title": "Trains"}))["id"].as_str().unwrap().to_owned();
    act(&admin, "PUT", "/api/v1/hub/token", &json!({"token": "hf_kept"}));
    assert_eq!(gateway.chat_as(&kept, "qwen", "#chunks=2").status, 200);
    // Installed by command, dropped in as a folder, and as a bare component.
    let own = folder.join("own");
    let secret = "secrets = { \"SERVICE\" = { header = \"authorization\", env = \"WEATHER_TOKEN\" } }\n";
    let seen = weather::write_plugin(&own, secret);
    let key = act(&admin, "POST", "/api/v1/keys", &json!({"name": "cli", "scopes": ["admin"]}))["key"]
        .as_str()
        .unwrap()
        .to_owned();
    let cli = |arguments: &[&str]| gateway.cli_with(&[("MLX_GATEWAY_API_KEY", &key)], arguments);
    let added = cli(&["plugins", "add", own.to_str().unwrap()]);
    assert_eq!(added.status.code(), Some(4), "it asks for a grant: {added:?}");
    let root = env!("CARGO_MANIFEST_DIR");
    let dropped = folder.join("plugins/test_tools");
    std::fs::create_dir_all(&dropped).unwrap();
    std::fs::copy(
        format!("{root}/tests/plugins/test_tools/test_tools.wasm"),
        dropped.join("test_tools.wasm"),
    )
    .unwrap();
    std::fs::write(dropped.join("plugin.toml"), "name = \"test_tools\"\n").unwrap();
    std::fs::copy(
        format!("{root}/plugins/calculator/calculator.wasm"),
        folder.join("plugins/calculator.wasm"),
    )
    .unwrap();
    let granted = cli(&["plugins", "grant", "get_weather", "--yes"]);
    assert_eq!(granted.status.code(), Some(0), "{granted:?}");
    wait_for("the plugins", || {
        let listed = gateway.as_bearer(&admin, "GET", "/api/v1/plugins", None).json();
        let plugins = listed["plugins"].as_array().unwrap();
        let is_ours = |plugin: &Value| plugin["state"] == "ready" && plugin["path"].is_string();
        (plugins.iter().filter(|plugin| is_ours(plugin)).count() == 3).then_some(())
    });
    let tools = |gateway: &Gateway, token: &str| {
        for (tool, arguments) in [
            ("get_weather", json!({"location": "Paris"})),
            ("test_simple_text", json!({})),
            ("calculator", json!({"expression": "6 * 7"})),
        ] {
            let body = json!({"arguments": arguments});
            let answer = gateway.as_bearer(token, "POST", &format!("/api/v1/tools/{tool}/call"), Some(&body));
            assert_eq!(
                (answer.status, &answer.json()["is_error"]),
                (200, &json!(false)),
                "{tool}: {answer:?}"
            );
        }
    };
    tools(&gateway, &admin);
    let before = knowledge(&gateway, &admin, &ada, &chat);
    let file = folder.join("backup.zip");
    let written = cli(&["backup", file.to_str().unwrap()]);
    assert!(written.status.success(), "{written:?}");
    seen.lock().unwrap().clear();

    let other = elsewhere(&gateway);
    let restored = crate::support::cli_in(&other, &["restore", file.to_str().unwrap()]);
    assert!(restored.status.success(), "{restored:?}");
    let second = Gateway::serve(other, &env);
    let after = knowledge(&second, &admin, &ada, &chat);
    for (what, known) in &before {
        assert_eq!(&after[what], known, "{what}");
    }
    assert_eq!(second.chat_as(&kept, "qwen", "#chunks=1").status, 200, "the key works");
    assert_eq!(second.chat_as(&revoked, "qwen", "#chunks=1").status, 401, "the revoked one does not");
    assert_eq!(second.log_in("ben@example.com", PASSWORD).status, 403, "a disabled account stays so");
    // Sessions and passwords are the same ones.
    tools(&second, &second.session("admin@example.com"));
    assert!(seen.lock().unwrap().contains("Bearer s3cret"), "the plugin's secret is sent to its service");
}
