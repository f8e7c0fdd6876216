//! Backends: started by the first request, shared, stopped when idle, and what happens when they fail.

use std::sync::Arc;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::fake;
use crate::support::http::{body, header};
use crate::support::{Gateway, PROFILES, lives, living_members, wait_for};

#[test]
fn a_hundred_concurrent_first_requests_start_one_process() {
    let gateway = Gateway::start(
        "[[profile]]\nname = \"q\"\nmodel = \"./model\"\nmax_concurrent = 200\nqueue = { size = 200 }\nenv = { FAKE_READY_AFTER_MS = \"100\" }\n",
    );
    std::thread::scope(|scope| {
        for _ in 0..100 {
            scope.spawn(|| assert_eq!(gateway.chat("q", "#chunks=2").status, 200));
        }
    });
    let seen = fake::seen(&gateway.backend_address("q"), "finished=100&wait-ms=20000");
    assert_eq!(seen["finished"], 100, "one process served them all");
    let records = gateway.get("/api/v1/requests?limit=1000&status=completed").json();
    assert_eq!(records["requests"].as_array().unwrap().len(), 100);
}

#[test]
fn an_idle_backend_is_stopped_and_a_new_request_starts_it_again() {
    let gateway = Gateway::start("[[profile]]\nname = \"q\"\nmodel = \"./model\"\nkeep_alive = \"0s\"\n");
    assert_eq!(gateway.chat("q", "#chunks=1").status, 200);
    gateway.backend("q", "stopped");
    assert_eq!(gateway.chat("q", "#chunks=1").status, 200);
    assert!(gateway.record("completed")["start_ms"].as_f64().unwrap() > 0.0);
}

#[test]
fn a_backend_that_fails_to_load_says_why_to_the_client_and_in_the_list() {
    let gateway =
        Gateway::start("[[profile]]\nname = \"q\"\nmodel = \"./model\"\nenv = { FAKE_FAIL_LOAD = \"1\" }\n");
    let answer = gateway.chat("q", "hi");
    assert_eq!(answer.error(), (503, "backend_failed".into()));
    assert_eq!(answer.header("x-should-retry").as_deref(), Some("false"));
    assert!(answer.json()["error"]["message"].as_str().unwrap().contains("last log lines"), "{answer:?}");
    let server = gateway.backend("q", "failed");
    assert!(!server["log_tail"].as_array().unwrap().is_empty());
    assert_eq!(gateway.record("failed")["error_code"], "backend_failed");
    let gone = Gateway::start("[[profile]]\nname = \"q\"\nmodel = \"./no-such-model\"\n");
    let answer = gone.chat("q", "hi");
    assert_eq!(answer.error(), (503, "backend_failed".into()));
    assert!(answer.json()["error"]["message"].as_str().unwrap().contains("no-such-model"), "{answer:?}");
}

/// A server that fails to load, and one that is never ready.
const FAILING: &str = "[[profile]]\nname = \"fails\"\nmodel = \"./model\"\nenv = { FAKE_FAIL_LOAD = \"1\" }\n\
    [[profile]]\nname = \"hangs\"\nmodel = \"./model\"\nenv = { FAKE_NEVER_READY = \"1\" }\ntimeouts = { start = \"500ms\" }\n";

#[test]
fn the_log_of_a_failed_server_is_shown_to_administrators_and_to_nobody_else() {
    const HINT: &str = "an administrator sees its log under Servers";
    let gateway = Gateway::start(FAILING);
    let admin = gateway.admin();
    let (ada, _) = gateway.user(&admin, "ada@example.com");
    let (key, _) = gateway.key(&ada, &json!({"name": "laptop"}));
    let as_admin = |path: &str| gateway.as_bearer(&admin, "GET", path, None).json();
    let as_ada = |path: &str| gateway.as_bearer(&ada, "GET", path, None).json();
    let is_public =
        |text: &str| text.contains(HINT) && !text.contains("log lines") && text.lines().count() == 1;
    let message = |error: &Value| error["message"].as_str().unwrap().to_owned();
    for (model, code) in [("fails", "backend_failed"), ("hangs", "timeout")] {
        for more in [json!({}), json!({"stream": true}), json!({"n": 2}), json!({"n": 2, "stream": true})] {
            let mut body = json!({"model": model, "messages": [{"role": "user", "content": "hi"}]});
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let ask = |token: &str| {
                let path = "/v1/chat/completions";
                let answer = gateway.as_bearer(token, "POST", path, Some(&body)).body;
                let error: Value =
                    serde_json::from_str(answer.trim_start_matches("data: ").lines().next().unwrap())
                        .unwrap();
                assert_eq!(error["error"]["code"], code, "{answer}");
                message(&error["error"])
            };
            let (all, some) = (ask(&admin), ask(&key));
            assert!(all.contains("last log lines") && !all.contains(HINT), "{model} {more}: {all}");
            assert!(is_public(&some) && some.contains(&format!("`{model}`")), "{model} {more}: {some}");
            let record = as_ada("/api/v1/requests?limit=1")["requests"][0].clone();
            let path = format!("/api/v1/requests/{}", record["id"].as_str().unwrap());
            for seen in [record, as_ada(&path)] {
                assert_eq!(seen["error_message"], some.as_str(), "{seen}");
            }
            let seen = as_admin(&path)["error_message"].as_str().unwrap().to_owned();
            assert!(seen.contains("last log lines"), "{model} {more}: {seen}");
        }
    }
    assert!(as_admin("/api/v1/requests?limit=1").to_string().contains("last log lines"));
}

#[test]
fn a_backend_that_is_never_ready_is_given_up_at_timeouts_start() {
    let gateway = Gateway::start(
        "[[profile]]\nname = \"q\"\nmodel = \"./model\"\nenv = { FAKE_NEVER_READY = \"1\" }\ntimeouts = { start = \"500ms\" }\n",
    );
    assert_eq!(gateway.chat("q", "hi").error(), (504, "timeout".into()));
}

#[test]
fn a_backend_that_dies_in_a_stream_ends_it_with_an_error_and_the_next_request_gets_a_new_one() {
    let gateway = Gateway::start(PROFILES);
    let events = gateway.streamed("qwen", "#chunks=9 #die-after=2").events();
    assert!(events[events.len() - 2].contains("backend_error"), "{events:?}");
    let record = gateway.record("failed");
    assert_eq!((&record["completion_tokens"], &record["estimated"]), (&json!(2), &json!(true)));
    assert_eq!(gateway.chat("qwen", "#chunks=1").status, 200);
}

#[test]
fn requests_beyond_the_limit_wait_their_turn_and_one_too_many_is_told_so() {
    let gateway = Gateway::start(
        "[[profile]]\nname = \"q\"\nmodel = \"./model\"\nmax_concurrent = 1\nqueue = { size = 1 }\n",
    );
    let mut first = gateway.stream("q", "#chunks=3 #gate-after=1");
    while !first.next().unwrap().contains("\"content\"") {}
    let backend = gateway.backend_address("q");
    std::thread::scope(|scope| {
        let second = scope.spawn(|| gateway.chat("q", "#chunks=1"));
        wait_for("the second to queue", || (gateway.backend("q", "ready")["queued"] == 1).then_some(()));
        let third = gateway.chat("q", "#chunks=1");
        assert_eq!(third.error(), (429, "queue_full".into()));
        assert!(third.header("retry-after").is_some());
        fake::open_gate(&backend);
        while first.next().is_some() {}
        let second = second.join().unwrap();
        assert_eq!(second.status, 200);
        assert_eq!(second.header("x-mlx-gateway-queue-position").as_deref(), Some("1"));
        assert!(third.header("x-mlx-gateway-queue-position").is_none(), "it had none");
    });
    let records = gateway.get("/api/v1/requests").json();
    let mut statuses: Vec<&str> =
        records["requests"].as_array().unwrap().iter().map(|r| r["status"].as_str().unwrap()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, ["completed", "completed", "refused"]);
}

#[test]
fn who_waits_for_a_turn_reads_its_place_and_the_wait_in_the_headers_with_tools_and_without() {
    const NONE: &str = "";
    const TOOLS: &str = "x-mlx-gateway-tools: calculator\r\n";
    const PACE_MS: u64 = 300;
    let gateway = Gateway::start("[[profile]]\nname = \"q\"\nmodel = \"./model\"\nmax_concurrent = 1\n");
    let gate = || {
        let mut stream = gateway.stream("q", "#chunks=3 #gate-after=1");
        while !stream.next().unwrap().contains("\"content\"") {}
        stream
    };
    let queued = |count: u64| {
        let that_many = || (gateway.backend("q", "ready")["queued"] == count).then_some(());
        wait_for("requests to queue", that_many);
    };
    let ask = |headers: &str, prompt: &str| {
        gateway.post_with("/v1/chat/completions", headers, &body("q", prompt, false))
    };
    let (place, wait) = ("x-mlx-gateway-queue-position", "x-mlx-gateway-queue-wait-ms");
    let mut first = gate();
    let backend = gateway.backend_address("q");
    std::thread::scope(|scope| {
        let plain = scope.spawn(|| ask(NONE, &format!("#chunks=1 #first-delay-ms={PACE_MS}")));
        queued(1);
        let tooled = scope.spawn(|| ask(TOOLS, "#chunks=1"));
        queued(2);
        fake::open_gate(&backend);
        while first.next().is_some() {}
        let (plain, tooled) = (plain.join().unwrap(), tooled.join().unwrap());
        assert_eq!((plain.status, tooled.status), (200, 200), "{tooled:?}");
        assert_eq!(plain.header(place).as_deref(), Some("1"));
        assert_eq!((plain.header(wait), tooled.header(wait)), (None, None), "no turn was seen yet");
        assert_eq!(tooled.header(place).as_deref(), Some("2"));
        let took: u64 = tooled.header("x-mlx-gateway-queue-ms").unwrap().parse().unwrap();
        assert!(took >= PACE_MS && tooled.header("x-mlx-gateway-start-ms").is_some(), "{tooled:?}");
    });
    // By now the pace is known. These streams hear of their place when their headers go out, while they wait.
    fake::exchange(&backend, "POST /__gate", "closed");
    let mut first = gate();
    std::thread::scope(|scope| {
        let stream = |headers: &'static str| {
            let gateway = &gateway;
            scope.spawn(move || {
                let body = body("q", "#chunks=1", true);
                gateway.open(&gateway.request("/v1/chat/completions", headers, &body))
            })
        };
        let plain = stream(NONE);
        queued(1);
        let tooled = stream(TOOLS);
        queued(2);
        let mut streams = [plain, tooled].map(|stream| stream.join().unwrap());
        for (stream, position) in streams.iter_mut().zip(1..) {
            let told = |name| header(&stream.head, name);
            assert_eq!(told(place), Some(position.to_string()), "{}", stream.head);
            let wait: u64 = told(wait).unwrap().parse().unwrap();
            assert!(wait >= PACE_MS * position, "{wait} ms");
            assert_eq!(told("x-mlx-gateway-queue-ms"), None, "how long it will be is not known yet");
        }
        assert!(streams[0].next().unwrap().starts_with(": queued 1, about "));
        fake::open_gate(&backend);
        while first.next().is_some() {}
        for stream in &mut streams {
            assert!(
                std::iter::from_fn(|| stream.next()).any(|event| event == "data: [DONE]"),
                "it has its end"
            );
        }
    });
}

#[test]
fn a_stubborn_backend_and_its_children_are_ended_by_force() {
    let gateway = Gateway::start(
        "[[profile]]\nname = \"q\"\nmodel = \"./model\"\nenv = { FAKE_IGNORE_SIGTERM = \"1\", FAKE_FORK_CHILD = \"1\" }\n",
    );
    assert_eq!(gateway.chat("q", "#chunks=1").status, 200);
    let pid = gateway.backend("q", "ready")["pid"].as_i64().unwrap();
    assert!(gateway.cli(&["stop", "q"]).status.success());
    assert!(!lives(pid), "the process is gone when stop answers");
    assert_eq!(living_members(pid), [] as [i64; 0], "and its group");
}

#[test]
fn after_a_crash_of_the_gateway_the_next_start_ends_what_was_left_and_nothing_else() {
    let gateway = Gateway::start(
        "[[profile]]\nname = \"q\"\nmodel = \"./model\"\nenv = { FAKE_OUTLIVE_PARENT = \"1\" }\n",
    );
    let mut stream = gateway.stream("q", "#chunks=5 #gate-after=2");
    let mut content = 0;
    while content < 2 {
        content += usize::from(stream.next().unwrap().contains("\"content\""));
    }
    let pid = gateway.backend("q", "ready")["pid"].as_i64().unwrap();
    let running = gateway.record("running")["id"].as_str().unwrap().to_owned();
    wait_for("the tokens to be kept", || (gateway.record("running")["completion_tokens"] == 2).then_some(()));
    let folder = gateway.crash();
    assert!(lives(pid), "the backend outlives a crash");
    let next = Gateway::start_in(Arc::clone(&folder), PROFILES, &[]);
    wait_for("the orphan's end", || (!lives(pid)).then_some(()));
    let record = next.get(&format!("/api/v1/requests/{running}")).json();
    assert_eq!(record["status"], "interrupted");
    let left: Vec<_> = std::fs::read_dir(next.data_dir().join("run")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_backend_that_is_killed_is_seen_to_be_gone() {
    let gateway = Gateway::start(PROFILES);
    assert_eq!(gateway.chat("qwen", "#chunks=1").status, 200);
    let pid = gateway.backend("qwen", "ready")["pid"].as_i64().unwrap();
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGKILL).unwrap();
    wait_for("it not to be ready", || {
        let servers = gateway.get("/api/v1/servers").json();
        let all = servers["servers"].as_array().unwrap().clone();
        all.iter().any(|s| s["id"] == "qwen" && s["state"] != "ready").then_some(())
    });
    assert_eq!(gateway.chat("qwen", "#chunks=1").status, 200);
}
