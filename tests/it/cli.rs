//! The command line against a running gateway, and without one.

use std::process::Output;

use crate::support::{Gateway, PROFILES};

fn text(output: &Output) -> (String, String) {
    (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

#[test]
fn a_backend_is_started_asked_listed_and_stopped() {
    let gateway = Gateway::start(PROFILES);
    let started = gateway.cli(&["start", "qwen"]);
    assert!(started.status.success(), "{started:?}");
    assert_eq!(gateway.cli_json(&["ps"])["servers"][0]["state"].as_str().map(str::is_empty), Some(false));
    let (answer, figures) = text(&gateway.cli(&["run", "qwen", "#chunks=3 #think=2"]));
    assert_eq!(answer.trim_end(), "w0 w1 w2");
    assert!(figures.contains("tokens/s"), "{figures}");
    let (logs, _) = text(&gateway.cli(&["logs", "qwen"]));
    assert!(logs.contains("Uvicorn running") && !logs.contains('\u{1b}'), "{logs}");
    let restarted = gateway.cli(&["restart", "qwen"]);
    assert!(restarted.status.success(), "{restarted:?}");
    assert!(gateway.cli(&["stop", "qwen"]).status.success());
    gateway.backend("qwen", "stopped");
    let (status, _) = text(&gateway.cli(&["status"]));
    assert!(status.contains(&gateway.address), "{status}");
}

#[test]
fn exit_codes_tell_what_went_wrong() {
    let mut gateway = Gateway::start(PROFILES);
    let code = |gateway: &Gateway, arguments: &[&str]| gateway.cli(arguments).status.code();
    assert_eq!(code(&gateway, &["start", "nope"]), Some(5));
    assert_eq!(code(&gateway, &["run", "nope", "hi"]), Some(5));
    assert_eq!(code(&gateway, &["requests", "show", "nope"]), Some(5));
    assert_eq!(code(&gateway, &["frobnicate"]), Some(2));
    assert_eq!(code(&gateway, &["--server", &format!("http://{}", gateway.address), "ps"]), Some(0));
    gateway.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(gateway.ended(), Some(0));
    assert_eq!(code(&gateway, &["ps"]), Some(3));
    assert_eq!(code(&gateway, &["usage"]), Some(0), "the data directory can be read without a gateway");
    assert_eq!(code(&gateway, &["engine", "ls"]), Some(0));
}

#[test]
fn check_names_every_problem_with_its_line_before_anything_is_bound() {
    let gateway = Gateway::start(PROFILES);
    assert!(gateway.cli(&["check"]).status.success());
    let file = gateway.folder.path().join("broken.toml");
    std::fs::write(&file, "[server]\nlisten = 5\nlitsen = \"x\"\n[[profile]]\nname = \"a\"\nmodel = \"./model\"\nengine = \"mlx\"\n").unwrap();
    for command in [&["check"][..], &["serve"][..]] {
        let output = gateway.cli(&[&["--config", file.to_str().unwrap()], command].concat());
        // The last --config counts; clap refuses a second one, so a folder of its own is used below.
        assert_eq!(output.status.code(), Some(2), "{output:?}");
    }
}
