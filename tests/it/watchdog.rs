//! Backends that hang, crash or are stopped behind our back: noticed, told, and started again.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Gateway, lives, wait_for};

const IMPATIENT: &str =
    "[[profile]]\nname = \"q\"\nmodel = \"./model\"\ntimeouts = { idle = \"1s\", first_token = \"60s\" }\n";

fn pid(gateway: &Gateway) -> i64 {
    gateway.backend("q", "ready")["pid"].as_i64().unwrap()
}

#[test]
fn a_backend_that_hangs_before_its_first_byte_is_ended_and_a_fresh_one_serves_the_request() {
    let gateway = Gateway::start(IMPATIENT);
    assert_eq!(gateway.chat("q", "#chunks=1").status, 200);
    let stuck = pid(&gateway);
    kill(Pid::from_raw(i32::try_from(stuck).unwrap()), Signal::SIGSTOP).unwrap();
    assert_eq!(gateway.chat("q", "#chunks=2").status, 200);
    assert!(!lives(stuck), "the stuck one is gone");
    let id = gateway.record("completed")["id"].as_str().unwrap().to_owned();
    let record = gateway.get(&format!("/api/v1/requests/{id}")).json();
    assert_eq!(record["attempts"].as_array().unwrap().len(), 2, "{record}");
}

#[test]
fn a_backend_that_hangs_in_mid_stream_ends_the_stream_with_an_error_and_is_replaced() {
    let gateway = Gateway::start(IMPATIENT);
    let events = gateway.streamed("q", "#chunks=5 #hang-after=2").events();
    assert!(events[events.len() - 2].contains("\"error\""), "{events:?}");
    assert_eq!(events[events.len() - 1], "[DONE]");
    wait_for("the failure to be shown", || {
        let servers = gateway.get("/api/v1/servers").json();
        let server = servers["servers"][0].clone();
        let told = server["error"].as_str().is_some_and(|error| error.contains("did nothing"));
        told.then_some(())
    });
    assert_eq!(gateway.chat("q", "#chunks=1").status, 200);
}

#[test]
fn a_backend_that_dies_before_its_first_byte_is_replaced_and_the_request_served_once_more_only() {
    let gateway = Gateway::start(IMPATIENT);
    let mut stream = gateway.stream("q", "#chunks=3 #die-after=1");
    while stream.next().is_some() {}
    // A byte had come: that one is not tried again.
    assert_eq!(gateway.record("failed")["attempts"].as_array().map_or(1, Vec::len), 1);
    assert_eq!(gateway.chat("q", "#chunks=1").status, 200);
}

#[test]
fn stop_waits_for_the_requests_inside_unless_it_is_told_not_to() {
    let gateway = Gateway::start("[[profile]]\nname = \"q\"\nmodel = \"./model\"\n");
    let mut stream = gateway.stream("q", "#chunks=5 #gate-after=1");
    while !stream.next().unwrap().contains("\"content\"") {}
    let inside = pid(&gateway);
    assert!(gateway.cli(&["stop", "q", "--now"]).status.success());
    assert!(!lives(inside));
    let mut last = Vec::new();
    while let Some(event) = stream.next() {
        last.push(event);
    }
    assert!(last[last.len() - 2].contains("\"error\""), "{last:?}");
}
