//! Many models on one machine: who starts, who makes way, who waits and who is refused.

use serde_json::Value;

use crate::fake;
use crate::support::{Gateway, wait_for};

/// A budget for one of the two profiles.
const ONE_OF_TWO: &str = r#"
[memory]
budget = "150MiB"
min_stay = "0s"

[[profile]]
name = "a"
model = "./model"
memory = "100MiB"

[[profile]]
name = "b"
model = "./model"
context_length = 1000
memory = "100MiB"
"#;

fn state(gateway: &Gateway, id: &str) -> String {
    let servers = gateway.get("/api/v1/servers").json();
    let all = servers["servers"].as_array().unwrap().clone();
    let server = all.into_iter().find(|server| server["id"] == id).unwrap();
    server["state"].as_str().unwrap().to_owned()
}

fn until_content(stream: &mut crate::support::http::Stream) {
    while !stream.next().unwrap().contains("\"content\"") {}
}

#[test]
fn an_idle_model_makes_way_for_another_and_back() {
    let gateway = Gateway::start(ONE_OF_TWO);
    for (model, other) in [("a", "b"), ("b", "a"), ("a", "b")] {
        assert_eq!(gateway.chat(model, "#chunks=1").status, 200);
        assert_eq!((state(&gateway, model), state(&gateway, other)), ("ready".into(), "stopped".into()));
    }
    let system = gateway.get("/api/v1/system").json();
    assert_eq!(system["memory"]["budget_bytes"], 150 << 20);
    assert_eq!(system["memory"]["promised_bytes"], 100 << 20);
}

#[test]
fn a_busy_model_finishes_its_answer_before_it_makes_way() {
    let gateway = Gateway::start(ONE_OF_TWO);
    let mut stream = gateway.stream("a", "#chunks=5 #gate-after=2");
    until_content(&mut stream);
    let backend = gateway.backend_address("a");
    std::thread::scope(|scope| {
        let other = scope.spawn(|| gateway.chat("b", "#chunks=1"));
        wait_for("a to make way", || (state(&gateway, "a") == "draining").then_some(()));
        // A request for it now waits for its next turn, and gets it.
        let again = scope.spawn(|| gateway.chat("a", "#chunks=1"));
        wait_for("the second request to wait", || {
            (gateway.backend("a", "draining")["queued"] == 1).then_some(())
        });
        fake::open_gate(&backend);
        let mut rest = Vec::new();
        while let Some(event) = stream.next() {
            rest.push(event);
        }
        assert_eq!(rest.last().unwrap(), "data: [DONE]");
        assert!(rest.iter().all(|event| !event.contains("\"error\"")), "{rest:?}");
        assert_eq!(other.join().unwrap().status, 200);
        assert_eq!(again.join().unwrap().status, 200);
    });
}

#[test]
fn what_can_never_fit_is_refused_at_once_with_the_numbers() {
    let gateway = Gateway::start(
        "[memory]\nbudget = \"50MiB\"\n[[profile]]\nname = \"q\"\nmodel = \"./model\"\nmemory = \"100MiB\"\n",
    );
    let answer = gateway.chat("q", "hi");
    assert_eq!(answer.error(), (503, "insufficient_memory".into()));
    assert_eq!(answer.header("x-should-retry").as_deref(), Some("false"));
    let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("0.10 GiB") && message.contains("0.05 GiB"), "{message}");
    assert_eq!(gateway.record("refused")["error_code"], "insufficient_memory");
}

#[test]
fn a_pinned_model_stays_and_what_does_not_fit_beside_it_is_refused() {
    let gateway = Gateway::start(&ONE_OF_TWO.replace("name = \"a\"", "name = \"a\"\npinned = true"));
    assert_eq!(gateway.chat("a", "#chunks=1").status, 200);
    assert_eq!(gateway.chat("b", "#chunks=1").error(), (503, "insufficient_memory".into()));
    assert_eq!(state(&gateway, "a"), "ready");
}

#[test]
fn a_start_that_nobody_waits_for_any_more_stops_nobody() {
    let gateway = Gateway::start(&ONE_OF_TWO.replace("min_stay = \"0s\"", "min_stay = \"1h\""));
    assert_eq!(gateway.chat("a", "#chunks=1").status, 200);
    let stream = std::net::TcpStream::connect(&gateway.address).unwrap();
    let body = crate::support::http::body("b", "#chunks=1", false);
    let request = gateway.request("/v1/chat/completions", "", &body);
    std::io::Write::write_all(&mut &stream, request.as_bytes()).unwrap();
    let waiting = wait_for("b to wait for memory", || {
        let server = gateway.backend("b", "preparing");
        server["detail"].as_str().filter(|detail| detail.contains("memory")).map(ToOwned::to_owned)
    });
    assert!(waiting.contains("just been started"), "{waiting}");
    drop(stream);
    gateway.backend("b", "stopped");
    assert_eq!(state(&gateway, "a"), "ready");
}

#[test]
fn what_a_model_uses_is_seen_and_kept_for_the_next_time() {
    let gateway = Gateway::start("[[profile]]\nname = \"q\"\nmodel = \"./model\"\n");
    assert_eq!(gateway.get("/api/v1/servers").json()["servers"][0]["memory_bytes"], Value::Null);
    assert_eq!(gateway.chat("q", "#chunks=1").status, 200);
    let measured = wait_for("a measured need", || {
        let server = gateway.backend("q", "ready");
        (server["memory_expected_from"] == "measured").then(|| server["memory_expected_bytes"].as_u64())
    });
    assert!(measured.unwrap() > 100_000);
    let server = wait_for("figures", || {
        let server = gateway.backend("q", "ready");
        server["cpu_percent"].is_number().then_some(server)
    });
    assert!(server["memory_bytes"].as_u64().unwrap() > 100_000 && server["processes"] == 1, "{server}");
    let shown = String::from_utf8(gateway.cli(&["ps"]).stdout).unwrap();
    assert!(shown.contains("MEMORY") && shown.contains("MB"), "{shown}");
}

#[test]
fn a_pin_outlives_a_crash_of_the_gateway_until_it_is_taken_back() {
    let pinned = |gateway: &Gateway| {
        let servers = gateway.get("/api/v1/servers").json()["servers"].as_array().unwrap().clone();
        servers.iter().map(|server| server["pinned"] == true).collect::<Vec<_>>()
    };
    let gateway = Gateway::start(ONE_OF_TWO);
    assert_eq!(gateway.post("/api/v1/servers/a/pin", "").status, 200);
    let gateway = Gateway::start_in(gateway.crash(), ONE_OF_TWO, &[]);
    assert_eq!(pinned(&gateway), [true, false]);
    assert_eq!(gateway.post("/api/v1/servers/a/unpin", "").status, 200);
    let gateway = Gateway::start_in(gateway.crash(), ONE_OF_TWO, &[]);
    assert_eq!(pinned(&gateway), [false, false]);
}

#[test]
fn a_pinned_backend_makes_way_for_nobody_until_it_is_let_go() {
    let gateway = Gateway::start(ONE_OF_TWO);
    let ask = |verb: &str, profile: &str| gateway.post(&format!("/api/v1/servers/{profile}/{verb}"), "");
    assert_eq!(ask("pin", "a").json()["pinned"], true, "also before it has ever run");
    assert_eq!(ask("unpin", "a").json()["pinned"], false);
    assert_eq!(gateway.chat("a", "#chunks=1").status, 200);
    let server = ask("pin", "a").json();
    assert_eq!((&server["pinned"], &server["pinned_by_profile"]), (&true.into(), &false.into()));
    assert_eq!(server["idle_stop_at_ms"], Value::Null);
    let refused = gateway.chat("b", "#chunks=1");
    assert_eq!(
        (refused.status, refused.json()["error"]["code"].as_str()),
        (503, Some("insufficient_memory"))
    );
    assert!(ask("unpin", "a").json()["idle_stop_at_ms"].is_i64());
    assert_eq!(gateway.chat("b", "#chunks=1").status, 200);
}
