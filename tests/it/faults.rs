//! Backends that die at any point, leak, burn, flood and lose their workers: every request ends in a way
//! that the documents name, and what works is left alone.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::fake::FakeServer;
use crate::support::http::body;
use crate::support::{Gateway, lives, wait_for};

const ONE: &str = "[[profile]]\nname = \"q\"\nmodel = \"./model\"\n";
/// What the scripted server writes before its first event.
const HEAD_BYTES: usize = 260;
const CHUNKS: usize = 3;

/// How a stream ended, which is one way only.
#[derive(Debug, PartialEq)]
enum End {
    Whole,
    Told,
}

fn end_of(events: &[String]) -> End {
    let (last, before) = events.split_last().expect("a stream has events");
    assert_eq!(last, "[DONE]", "{events:?}");
    let parsed: Vec<Value> = before.iter().map(|event| serde_json::from_str(event).expect(event)).collect();
    let errors = parsed.iter().filter(|event| event.get("error").is_some()).count();
    match errors {
        0 => {
            let finished = parsed.iter().filter(|event| event["choices"][0]["finish_reason"].is_string());
            assert_eq!(finished.count(), 1, "{events:?}");
            End::Whole
        }
        1 => {
            assert_eq!(parsed.last().unwrap()["error"]["code"], "backend_error", "{events:?}");
            End::Told
        }
        _ => panic!("more than one error: {events:?}"),
    }
}

#[test]
fn an_answer_that_is_cut_at_any_byte_ends_with_an_error_or_is_whole() {
    let other = FakeServer::start(&[]);
    let elsewhere =
        format!("[[profile]]\nname = \"far\"\nengine = \"url\"\nurl = {:?}\nmodel = \"fake\"\n", other.url());
    let gateway = Gateway::start(&format!("{ONE}{elsewhere}"));
    let mut sent = 0;
    for profile in ["q", "far"] {
        // Cut in its head, nothing has been answered yet.
        for at in [0, 1, HEAD_BYTES / 2, HEAD_BYTES - 1] {
            let body = body(profile, &format!("#chunks={CHUNKS} #cut-at={at}"), true);
            let answer = gateway.post("/v1/chat/completions", &body);
            assert_eq!(answer.error(), (502, "backend_error".into()), "{profile} cut at {at}");
            sent += 1;
        }
        let mut at = HEAD_BYTES;
        let mut told = 0;
        loop {
            let events = gateway.streamed(profile, &format!("#chunks={CHUNKS} #cut-at={at}")).events();
            sent += 1;
            match end_of(&events) {
                End::Told => told += 1,
                // From here on nothing is missing any more, wherever it is cut.
                End::Whole => break,
            }
            at += 1;
        }
        assert!(told > 100, "{profile}: only {told} cuts showed");
        for beyond in at..at + 40 {
            let events = gateway.streamed(profile, &format!("#chunks={CHUNKS} #cut-at={beyond}")).events();
            assert_eq!(end_of(&events), End::Whole, "{profile} cut at {beyond}");
            sent += 1;
        }
    }
    wait_for("a record each", || {
        (gateway.get("/api/v1/usage").json()["total"]["requests"] == sent).then_some(())
    });
    let running = gateway.get("/api/v1/requests?status=running").json();
    assert_eq!(running["requests"].as_array().map(Vec::len), Some(0), "{running}");
    assert_eq!(gateway.chat("q", "#chunks=1").status, 200);
}

#[test]
fn a_whole_answer_that_is_cut_at_any_event_is_an_error_and_never_half_an_answer() {
    let gateway = Gateway::start(ONE);
    for at in (HEAD_BYTES..HEAD_BYTES + 900).step_by(37) {
        let answer = gateway.chat("q", &format!("#chunks={CHUNKS} #cut-at={at}"));
        assert_eq!(answer.error(), (502, "backend_error".into()), "cut at {at}");
    }
    assert_eq!(gateway.chat("q", &format!("#chunks={CHUNKS}")).status, 200);
}

#[test]
fn a_process_that_dies_at_any_token_ends_the_stream_with_an_error_and_is_replaced() {
    let gateway = Gateway::start(ONE);
    for at in 0..=CHUNKS {
        let events = gateway.streamed("q", &format!("#chunks={CHUNKS} #die-after={at}")).events();
        assert_eq!(end_of(&events), End::Told, "dead after {at}");
        let record = gateway.record("failed");
        assert_eq!(record["completion_tokens"].as_u64().unwrap_or(0), at as u64, "{record}");
        // Somebody asks for it in so many words, so it is not given up for dying again and again.
        assert!(gateway.cli(&["start", "q"]).status.success());
        assert_eq!(gateway.chat("q", "#chunks=1").status, 200);
    }
}

#[test]
fn a_dead_worker_behind_a_healthy_parent_is_noticed_at_once_and_the_process_replaced() {
    // With these waits only the worker's end itself can tell.
    let gateway = Gateway::start(&format!(
        "{ONE}env = {{ FAKE_FORK_CHILD = \"1\" }}\ntimeouts = {{ idle = \"1h\", first_token = \"1h\" }}\n"
    ));
    let mut stream = gateway.stream("q", "#chunks=5 #hang-after=2");
    while !stream.next().unwrap().contains("\"content\"") {}
    let parent = gateway.backend("q", "ready")["pid"].as_i64().unwrap();
    let worker = wait_for("the worker", || child_of(parent));
    kill(Pid::from_raw(i32::try_from(worker).unwrap()), Signal::SIGKILL).unwrap();
    let mut last = Vec::new();
    while let Some(event) = stream.next() {
        last.push(event);
    }
    assert!(last[last.len() - 2].contains("\"error\"") && last[last.len() - 1] == "data: [DONE]", "{last:?}");
    let told =
        wait_for("the reason", || gateway.backend("q", "failed")["error"].as_str().map(ToOwned::to_owned));
    assert!(told.contains(&format!("worker process {worker} ended")), "{told}");
    assert!(!lives(parent));
    // Nor is it left to the next request to find out.
    assert_eq!(gateway.chat("q", "#chunks=1").status, 200);
    let parent = gateway.backend("q", "ready")["pid"].as_i64().unwrap();
    let worker = wait_for("the next worker", || child_of(parent));
    kill(Pid::from_raw(i32::try_from(worker).unwrap()), Signal::SIGKILL).unwrap();
    gateway.backend("q", "failed");
    assert_eq!(gateway.chat("q", "#chunks=1").status, 200);
}

#[test]
fn a_backend_that_computes_without_a_token_is_left_alone() {
    let gateway = Gateway::start(&format!("{ONE}timeouts = {{ idle = \"1s\" }}\n"));
    assert_eq!(gateway.chat("q", "#chunks=1").status, 200);
    let pid = gateway.backend("q", "ready")["pid"].as_i64().unwrap();
    // A long prefill, and a long tool call in the middle.
    for after in [0, 2] {
        let events =
            gateway.streamed("q", &format!("#chunks={CHUNKS} #burn-ms=4000 #burn-after={after}")).events();
        assert_eq!(end_of(&events), End::Whole, "{events:?}");
    }
    assert_eq!(gateway.chat("q", &format!("#chunks={CHUNKS} #burn-ms=4000")).status, 200);
    assert_eq!(gateway.backend("q", "ready")["pid"].as_i64(), Some(pid), "the same process");
}

#[test]
fn a_backend_that_leaks_memory_is_counted_as_what_it_holds_and_makes_way_first() {
    let gateway = Gateway::start(
        "[memory]\nbudget = \"260MiB\"\nmin_stay = \"0s\"\n\
         [[profile]]\nname = \"leaky\"\nmodel = \"./model\"\nmemory = \"60MiB\"\n\
         [[profile]]\nname = \"b\"\nmodel = \"./model\"\ncontext_length = 1000\nmemory = \"100MiB\"\n",
    );
    assert_eq!(gateway.chat("leaky", "#chunks=1 #leak-mib=180").status, 200);
    let seen = wait_for("the leak to be seen", || {
        let server = gateway.backend("leaky", "ready");
        server["memory_bytes"].as_u64().filter(|bytes| *bytes >= 180 << 20)
    });
    let system = gateway.get("/api/v1/system").json();
    assert!(system["memory"]["promised_bytes"].as_u64().unwrap() >= seen.min(180 << 20), "{system}");
    // By what was promised both would fit; by what is held they do not.
    assert_eq!(gateway.chat("b", "#chunks=1").status, 200);
    gateway.backend("leaky", "stopped");
    let system = gateway.get("/api/v1/system").json();
    assert_eq!(system["memory"]["promised_bytes"], 100 << 20);
    assert_eq!(gateway.chat("leaky", "#chunks=1").status, 200, "a fresh process fits beside it");
    gateway.backend("b", "ready");
}

#[test]
fn a_backend_that_floods_its_log_serves_on_and_its_log_stays_bounded() {
    let gateway = Gateway::start(&format!("{ONE}env = {{ FAKE_FLOOD_LOG = \"50000\" }}\n"));
    assert_eq!(gateway.chat("q", "#chunks=2 #log=100000").status, 200);
    assert_eq!(end_of(&gateway.streamed("q", "#chunks=2 #log=100000").events()), End::Whole);
    let shown = wait_for("the last line", || {
        let lines = gateway.get("/api/v1/servers/q/logs?lines=5").body;
        lines.contains("log line 99999").then_some(lines)
    });
    assert_eq!(shown.lines().count(), 5, "{shown}");
    let logs = std::fs::read_dir(gateway.data_dir().join("logs")).unwrap();
    let bytes: u64 = logs.map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    assert!(bytes < 20 << 20, "{bytes} bytes of log");
}

/// A child of that process.
fn child_of(parent: i64) -> Option<i64> {
    let listed = std::process::Command::new("ps").args(["-A", "-o", "pid=,ppid="]).output().unwrap();
    let text = String::from_utf8(listed.stdout).unwrap();
    text.lines().find_map(|line| {
        let mut columns = line.split_whitespace().map(|column| column.parse::<i64>().unwrap());
        let pid = columns.next()?;
        (columns.next()? == parent).then_some(pid)
    })
}
