//! The end: SIGTERM drains, nothing is left behind.

use nix::sys::signal::Signal;

use crate::fake;
use crate::support::{Gateway, PROFILES, lives, wait_for};

#[test]
fn sigterm_lets_streams_finish_turns_new_requests_away_and_leaves_nothing() {
    let mut gateway =
        Gateway::start(&format!("[server]\nlisten = \"127.0.0.1:0\"\nshutdown_grace = \"60s\"\n{PROFILES}"));
    let mut stream = gateway.stream("qwen", "#chunks=3 #gate-after=1");
    while !stream.next().unwrap().contains("\"content\"") {}
    let backend = gateway.backend_address("qwen");
    let pid = gateway.backend("qwen", "ready")["pid"].as_i64().unwrap();
    gateway.signal(Signal::SIGTERM);
    wait_for("the drain", || (gateway.get("/readyz").status == 503).then_some(()));
    let refused = gateway.chat("qwen", "hi");
    assert_eq!(refused.error(), (503, "shutting_down".into()));
    assert!(refused.header("retry-after").is_some());
    assert_eq!(gateway.get("/livez").status, 200);
    fake::exchange(&backend, "POST /__gate", "open");
    let mut last = String::new();
    while let Some(event) = stream.next() {
        last = event;
    }
    assert_eq!(last, "data: [DONE]", "the stream finished");
    assert_eq!(gateway.ended(), Some(0));
    assert!(!lives(pid));
    assert!(!gateway.data_dir().join("gateway.sock").exists());
    let usage = gateway.cli_json(&["requests", "--status", "completed"]);
    assert_eq!(
        usage["requests"].as_array().unwrap().len(),
        1,
        "read from the data directory, no gateway running"
    );
}

#[test]
fn a_second_signal_ends_it_at_once_and_cleanly() {
    let mut gateway =
        Gateway::start(&format!("[server]\nlisten = \"127.0.0.1:0\"\nshutdown_grace = \"1h\"\n{PROFILES}"));
    let mut stream = gateway.stream("qwen", "#chunks=3 #gate-after=1");
    while !stream.next().unwrap().contains("\"content\"") {}
    let pid = gateway.backend("qwen", "ready")["pid"].as_i64().unwrap();
    gateway.signal(Signal::SIGINT);
    wait_for("the drain", || (gateway.get("/readyz").status == 503).then_some(()));
    gateway.signal(Signal::SIGINT);
    assert_eq!(gateway.ended(), Some(0));
    assert!(!lives(pid));
}

#[test]
fn a_second_gateway_on_the_same_data_is_refused() {
    let gateway = Gateway::start(PROFILES);
    let second = gateway.cli(&["serve"]);
    assert_eq!(second.status.code(), Some(6));
    assert!(String::from_utf8_lossy(&second.stderr).contains("another gateway uses"), "{second:?}");
}
