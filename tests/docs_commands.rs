//! Every `mlx-gateway` command of a `sh` block in the documents named here works, in the order shown, against a
//! running gateway whose world is what the document speaks of. (Which test runs which document stands in
//! tests/docs.rs, which checks that every one with commands has its test.)

#[path = "fake/spawn.rs"]
mod fake;
#[path = "it/support/mod.rs"]
#[expect(dead_code, reason = "the documents need the half of it")]
mod support;

use std::path::Path;
use std::process::{Command, Stdio};

use support::{Gateway, PROFILES};

#[test]
fn the_commands_of_operations_work() {
    run_all(&Gateway::start(PROFILES), "docs/operations.md");
}

#[test]
fn the_commands_of_migration_work() {
    let gateway = Gateway::start("");
    let place = |name: &str| gateway.folder.path().join(name);
    std::fs::write(place("llama-swap.yaml"), "models:\n  one:\n    cmd: serve --port ${PORT}\n").unwrap();
    let theirs = rusqlite::Connection::open(place("mlx-manager.db")).unwrap();
    let tables = "CREATE TABLE server_profiles (name TEXT, model_path TEXT);
                  INSERT INTO server_profiles VALUES ('one', 'mlx-community/Qwen3-4B-4bit')";
    theirs.execute_batch(tables).unwrap();
    run_all(&gateway, "docs/migration.md");
}

/// Runs each command as somebody who reads the document types it; each succeeds and says something.
fn run_all(gateway: &Gateway, document: &str) {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(document)).unwrap();
    let lines =
        text.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next()).flat_map(str::lines);
    let commands: Vec<&str> = lines
        .map(|line| line.split(" #").next().unwrap_or(line).trim())
        .filter_map(|line| line.strip_prefix("mlx-gateway "))
        .collect();
    assert!(!commands.is_empty(), "{document} shows commands");
    for command in commands {
        let output = Command::new("sh")
            .args(["-c", &format!("\"$0\" --config config.toml --data-dir data {command}")])
            .arg(env!("CARGO_BIN_EXE_mlx-gateway"))
            .current_dir(gateway.folder.path())
            .env_clear()
            .env("HOME", gateway.folder.path())
            .env("PATH", std::env::var_os("PATH").unwrap())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "{document}: `{command}`: {output:?}");
        assert!(
            !output.stdout.is_empty() || !output.stderr.is_empty(),
            "{document}: `{command}` says nothing"
        );
    }
}
