//! A gateway that is killed: what its next start finds.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use super::*;

/// Set for the child alone: where its store is.
const CHILD_STORE: &str = "MLX_GATEWAY_TEST_CHILD_STORE";
const CHILD_TEST: &str = "usage::tests::killed::the_child_that_is_killed";

#[tokio::test]
async fn what_ran_when_the_gateway_was_killed_is_interrupted_and_keeps_its_tokens() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", CHILD_TEST, "--nocapture"])
        .env(CHILD_STORE, &path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let ready = lines.map_while(Result::ok).any(|line| line.contains("recorded"));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(ready, "the child ended before it had recorded anything");

    let recorder = Recorder::new(Store::open(&path).unwrap(), Arc::new(TestClock::default()));
    let views = recorder.list(Filter::default()).await.unwrap();
    let seen: Vec<_> =
        views.iter().map(|view| (view.status.as_str(), view.completion_tokens, view.estimated)).collect();
    assert_eq!(seen, [("interrupted", Some(42), true), ("completed", Some(7), false)]);
    assert_eq!(views[0].error_code.as_deref(), Some("interrupted"));
    assert_eq!((views[0].profile.as_deref(), views[0].duration_ms), (Some("qwen"), None));
}

/// Only the other test's child process does anything here.
#[tokio::test]
async fn the_child_that_is_killed() {
    let Some(path) = std::env::var_os(CHILD_STORE) else {
        return;
    };
    let clock = Arc::new(TestClock::default());
    let recorder = Recorder::new(Store::open(path.as_ref()).unwrap(), clock.clone());
    recorder.begin(chat("qwen")).finish(completed(3, 7));
    clock.advance(Duration::from_millis(1));
    let running = recorder.begin(chat("qwen"));
    recorder.flush().await.unwrap();
    running.live().add_tokens(42);
    recorder.flush().await.unwrap();
    std::io::stdout().write_all(b"recorded\n").unwrap();
    // Until the parent kills this process, or has ended itself.
    std::io::stdin().lines().for_each(drop);
}
