//! `import`: what it prints is a configuration that the gateway takes.

use std::sync::Arc;

use crate::support::cli_in;

const SWAP: &str = "models:\n  small:\n    cmd: llama-server --port ${PORT} -m /models/small.gguf\n    aliases: [tiny]\n  qwen:\n    cmd: mlx_lm.server --model mlx-community/Qwen3-4B-4bit --port ${PORT}\n";

#[test]
fn the_profiles_of_llama_swap_are_a_valid_configuration() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let source = folder.path().join("llama-swap.yaml");
    std::fs::write(&source, SWAP).unwrap();
    let printed = cli_in(&folder, &["import", source.to_str().unwrap()]);
    assert!(printed.status.success(), "{printed:?}");
    std::fs::write(folder.path().join("config.toml"), &printed.stdout).unwrap();
    let checked = cli_in(&folder, &["check", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&checked.stdout).unwrap();
    assert_eq!(report["profiles"], serde_json::json!(["qwen", "small"]), "{checked:?}");
    let wrong = cli_in(&folder, &["import", folder.path().join("config.toml").to_str().unwrap()]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("neither the database of MLX Model Manager"));
}

#[test]
fn the_servers_of_the_model_manager_are_a_valid_configuration() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let source = folder.path().join("mlx-manager.db");
    let made = rusqlite::Connection::open(&source).unwrap().execute_batch(
        "CREATE TABLE server_profiles (id INTEGER PRIMARY KEY, name TEXT, model_path TEXT, model_type TEXT, \
         port INTEGER, queue_timeout INTEGER, queue_size INTEGER, system_prompt TEXT);
         INSERT INTO server_profiles VALUES (1, 'daily', 'mlx-community/Qwen3-4B-4bit', 'lm', 10240, 300, 100, \
         'Be \"brief\".')",
    );
    made.unwrap();
    let printed = cli_in(&folder, &["import", source.to_str().unwrap()]);
    assert!(printed.status.success(), "{printed:?}");
    std::fs::write(folder.path().join("config.toml"), &printed.stdout).unwrap();
    let checked = cli_in(&folder, &["check", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&checked.stdout).unwrap();
    assert_eq!(report["profiles"], serde_json::json!(["daily"]), "{checked:?}");
}
