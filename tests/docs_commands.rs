//! Every `mlx-gateway` command of a `sh` block in the documents named here works, in the order shown, against a
//! running gateway whose world is what the document speaks of. (Which test runs which document stands in
//! tests/docs.rs, which checks that every one with commands has its test.)

#[path = "fake/spawn.rs"]
mod fake;
#[path = "hub/spawn.rs"]
mod hub;
#[path = "it/support/mod.rs"]
#[expect(dead_code, reason = "the documents need the half of it")]
mod support;

use std::path::Path;
use std::process::{Command, Stdio};

use hub::FakeHub;
use support::{Gateway, PROFILES};

#[test]
fn the_commands_of_operations_work() {
    run_all(&Gateway::start(PROFILES), "docs/operations.md");
}

#[test]
fn the_commands_of_getting_started_work() {
    let hub = FakeHub::start();
    hub.model("mlx-community/Qwen3-4B-4bit", 4096);
    // The demo model is the real engine's; how it comes about is the README's test.
    let demo = "[[profile]]\nname = \"demo\"\nmodel = \"./model\"\n";
    run_all(&Gateway::with_env(demo, &[("HF_ENDPOINT", &hub.url())]), "docs/getting-started.md");
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
    let blocks = text.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let lines: Vec<String> = blocks
        .flat_map(|block| block.replace("\\\n", " ").lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let commands: Vec<String> = lines
        .iter()
        .map(|line| line.split(" #").next().unwrap_or(line).trim())
        .filter_map(|line| command(gateway, line))
        .collect();
    assert!(!commands.is_empty(), "{document} shows commands");
    for command in commands {
        let output = Command::new("sh")
            .args(["-c", &command])
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

/// The command as it is run here; none: make's targets are run elsewhere.
fn command(gateway: &Gateway, line: &str) -> Option<String> {
    if let Some(arguments) = line.strip_prefix("mlx-gateway ") {
        return Some(format!("\"$0\" --config config.toml --data-dir data {arguments}"));
    }
    let here = line.replace("127.0.0.1:10242", &gateway.address);
    here.starts_with("curl ").then(|| format!("{here} -sS --fail"))
}
