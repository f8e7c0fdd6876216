//! What was used: exactly one record per request, however it ends.

use serde_json::json;

use crate::support::{Gateway, PROFILES, wait_for};

#[test]
fn sums_agree_with_the_records_whatever_happened() {
    let gateway = Gateway::start(PROFILES);
    for prompt in
        ["#chunks=4 #prompt-tokens=10", "#chunks=6 #prompt-tokens=20", "#error=500", "#stream-error=429"]
    {
        gateway.chat("qwen", prompt);
    }
    gateway.chat("other", "#chunks=5 #prompt-tokens=1");
    gateway.chat("nope", "hi");
    gateway.post("/v1/chat/completions", "{");
    let usage = gateway.get("/api/v1/usage?group_by=profile").json();
    let total = &usage["total"];
    assert_eq!(total["requests"], 7);
    assert_eq!((&total["prompt_tokens"], &total["completion_tokens"]), (&json!(31), &json!(15)));
    let groups = usage["groups"].as_array().unwrap();
    let qwen = groups.iter().find(|group| group["group"] == "qwen").unwrap();
    assert_eq!((&qwen["requests"], &qwen["completion_tokens"]), (&json!(4), &json!(10)));
    let shown = gateway.cli(&["usage", "--by", "profile"]);
    assert!(String::from_utf8_lossy(&shown.stdout).contains("qwen"), "{shown:?}");
    let live = gateway.backend("qwen", "ready");
    assert_eq!(live["total_tokens"], 10, "live totals agree with the records");
}

#[test]
fn a_row_is_there_while_the_request_runs() {
    let gateway = Gateway::start(PROFILES);
    let mut stream = gateway.stream("qwen", "#chunks=2 #gate-after=1");
    while !stream.next().unwrap().contains("\"content\"") {}
    let running = gateway.record("running");
    assert_eq!((&running["profile"], &running["streamed"]), (&json!("qwen"), &json!(true)));
    assert!(running["ttft_ms"].as_f64().unwrap() > 0.0);
    assert!(running["duration_ms"].is_null(), "unknown is null, never 0");
    let address = gateway.backend_address("qwen");
    crate::fake::exchange(&address, "POST /__gate", "open");
    while stream.next().is_some() {}
    let done = gateway.record("completed");
    assert_eq!(done["id"], running["id"]);
    assert!(done["duration_ms"].as_f64().unwrap() >= done["ttft_ms"].as_f64().unwrap());
}

#[test]
fn many_requests_at_once_make_as_many_records() {
    let gateway = Gateway::start("[[profile]]\nname = \"q\"\nmodel = \"./model\"\nmax_concurrent = 64\n");
    std::thread::scope(|scope| {
        for worker in 0..8 {
            let gateway = &gateway;
            scope.spawn(move || {
                for turn in 0..25 {
                    match (worker + turn) % 4 {
                        0 => drop(gateway.stream("q", "#chunks=50 #interval-us=2000")),
                        1 => assert_eq!(gateway.chat("q", "#chunks=2").status, 200),
                        2 => assert_eq!(gateway.chat("q", "#error=500").status, 502),
                        _ => assert_eq!(gateway.streamed("q", "#chunks=3").status, 200),
                    }
                }
            });
        }
    });
    wait_for("every request's end", || {
        let usage = gateway.get("/api/v1/usage").json();
        let running = gateway.get("/api/v1/requests?status=running").json();
        (usage["total"]["requests"] == 200 && running["requests"].as_array().unwrap().is_empty())
            .then_some(())
    });
    let ended = |status: &str| {
        gateway.get(&format!("/api/v1/requests?limit=1000&status={status}")).json()["requests"]
            .as_array()
            .unwrap()
            .len()
    };
    assert_eq!((ended("completed") + ended("cancelled"), ended("failed")), (150, 50));
}
