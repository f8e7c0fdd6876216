//! Many clients on more models than fit, while backends are killed and config.toml changes: every
//! request ends as success or documented error, there is one record each, and nothing is left. For
//! 15 s in `make test`, for as long as one likes with `make soak SECONDS=120`.

#[path = "fake/spawn.rs"]
mod fake;
#[path = "it/support/mod.rs"]
#[expect(dead_code, reason = "the soak needs the half of it")]
mod support;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use support::{Gateway, living_members, wait_for};

const PROFILES: usize = 6;
/// What each is said to need, and what there is: two fit.
const NEED_MIB: usize = 100;
const BUDGET_MIB: usize = 250;
const DEFAULT_SECONDS: u64 = 15;
const DEFAULT_CLIENTS: usize = 60;
const CLIENTS: usize = 200;
/// Between two disturbances.
const CHAOS_EVERY: Duration = Duration::from_millis(1_500);
/// Ends that the documents name.
const DOCUMENTED: [&str; 9] = [
    "completed",
    "left by the client",
    UNHEARD,
    "429 queue_full",
    "502 backend_error",
    "503 backend_failed",
    "503 insufficient_memory",
    "504 timeout",
    "503 shutting_down",
];

/// Left before the first byte: the gateway may not even have read the request.
const UNHEARD: &str = "left by the client unheard";

/// How often what happened.
type Tally = Mutex<BTreeMap<String, u64>>;

fn profiles(round: usize) -> String {
    let mut text = format!("[memory]\nbudget = \"{BUDGET_MIB}MiB\"\nmin_stay = \"500ms\"\n");
    for n in 0..PROFILES {
        // Another context length is another launch: the backend starts again.
        let context = 1_000 + n * 10 + if n == round % PROFILES { round } else { 0 };
        text += &format!(
            "[[profile]]\nname = \"p{n}\"\nmodel = \"./model\"\ncontext_length = {context}\nmemory = \"{NEED_MIB}MiB\"\n\
             max_concurrent = 16\nqueue = {{ size = 100, timeout = \"30s\" }}\ntimeouts = {{ idle = \"5s\" }}\n"
        );
    }
    text
}

/// A small generator of its own, so that a run can be told by its seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// One request to its end, in words.
fn ask(gateway: &Gateway, dice: &mut Dice) -> Option<String> {
    let (model, streamed) = (format!("p{}", dice.roll(PROFILES as u64)), dice.roll(3) > 0);
    let prompt = format!("#chunks={} #interval-us={}", 1 + dice.roll(20), dice.roll(20_000));
    let body = support::http::body(&model, &prompt, streamed);
    let mut connection = TcpStream::connect(&gateway.address).ok()?;
    connection.set_read_timeout(Some(Duration::from_secs(90))).ok()?;
    connection.write_all(gateway.request("/v1/chat/completions", "", &body).as_bytes()).ok()?;
    if dice.roll(20) == 0 {
        // Reads a little, at most, and leaves.
        connection.set_read_timeout(Some(Duration::from_millis(1 + dice.roll(300)))).ok()?;
        let mut some = [0; 64];
        let heard = connection.read(&mut some).unwrap_or(0) > 0;
        return Some(if heard { "left by the client" } else { UNHEARD }.into());
    }
    let mut answer = Vec::new();
    if let Err(error) = connection.read_to_end(&mut answer) {
        return Some(format!("no end: {error}"));
    }
    Some(told(&String::from_utf8_lossy(&answer), streamed))
}

fn told(answer: &str, streamed: bool) -> String {
    let status = answer.split(' ').nth(1).unwrap_or("none");
    let code = answer.split_once("\"code\":\"").and_then(|(_, rest)| rest.split('"').next());
    match code.filter(|_| answer.contains("\"error\"")) {
        // In a stream the code says what the status would have been.
        Some(code) => {
            let statuses = [("queue_full", "429"), ("backend_error", "502"), ("timeout", "504")];
            let known = statuses.iter().find(|(name, _)| *name == code).map_or("503", |(_, status)| status);
            format!("{known} {code}")
        }
        None if status == "200" && streamed && !answer.contains("data: [DONE]") => "cut off".into(),
        None if status == "200" => "completed".into(),
        None => format!("status {status}"),
    }
}

/// Kills a backend, or changes the configuration.
fn disturb(gateway: &Gateway, dice: &mut Dice, round: usize, tally: &Tally) {
    let count = |what: &str| *tally.lock().unwrap().entry(what.into()).or_default() += 1;
    if dice.roll(3) == 0 {
        let path = gateway.folder.path().join("config.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        let head = text.split("[memory]").next().unwrap().to_owned();
        let beside = path.with_extension("new");
        std::fs::write(&beside, head + &profiles(round)).unwrap();
        std::fs::rename(beside, path).unwrap();
        return count("(reloads)");
    }
    let servers = gateway.get("/api/v1/servers").json();
    let pids: Vec<i64> =
        servers["servers"].as_array().unwrap().iter().filter_map(|server| server["pid"].as_i64()).collect();
    if !pids.is_empty() {
        let pid = pids[dice.roll(pids.len() as u64) as usize];
        if kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGKILL).is_ok() {
            count("(kills)");
        }
    }
}

#[test]
fn under_any_mix_of_requests_kills_and_reloads_every_request_ends_as_documented() {
    let asked = std::env::var("SOAK_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    let seconds: u64 = asked.unwrap_or(DEFAULT_SECONDS);
    let clients = if asked.is_some() { CLIENTS } else { DEFAULT_CLIENTS };
    let mut gateway = Gateway::start(&profiles(0));
    let (tally, sent, over) = (Tally::default(), AtomicU64::new(0), AtomicBool::new(false));
    let until = Instant::now() + Duration::from_secs(seconds);
    let seen = std::thread::scope(|scope| {
        for client in 0..clients {
            let (gateway, tally, sent) = (&gateway, &tally, &sent);
            scope.spawn(move || {
                let mut dice = Dice(client as u64 + 1);
                while Instant::now() < until {
                    let Some(end) = ask(gateway, &mut dice) else { continue };
                    sent.fetch_add(1, Ordering::Relaxed);
                    *tally.lock().unwrap().entry(end).or_default() += 1;
                }
            });
        }
        let (gateway, tally, over) = (&gateway, &tally, &over);
        let watching = scope.spawn(move || watch(gateway, over));
        let mut dice = Dice(7);
        let mut round = 0;
        while Instant::now() + CHAOS_EVERY < until {
            std::thread::park_timeout(CHAOS_EVERY);
            round += 1;
            disturb(gateway, &mut dice, round, tally);
        }
        std::thread::park_timeout(until.saturating_duration_since(Instant::now()));
        over.store(true, Ordering::Relaxed);
        watching.join().unwrap()
    });
    let tally = tally.into_inner().unwrap();
    for (what, count) in &tally {
        println!("{count:>8}  {what}");
    }
    let unheard = tally.get(UNHEARD).copied().unwrap_or(0);
    settle_and_check(&gateway, sent.into_inner(), unheard, seen.promised);
    check_memory(&seen.resident, asked.is_some());
    let unknown: Vec<&String> =
        tally.keys().filter(|end| !DOCUMENTED.contains(&end.as_str()) && !end.starts_with('(')).collect();
    assert!(unknown.is_empty(), "undocumented ends: {unknown:?}");
    assert!(tally["completed"] > tally.values().sum::<u64>() / 2, "{tally:?}");
    check_nothing_is_left(&mut gateway);
}

/// What was seen of the gateway from beside.
struct Seen {
    /// Bytes that were promised to backends at most.
    promised: u64,
    /// Memory of its own process, one figure after the other.
    resident: Vec<u64>,
}

fn watch(gateway: &Gateway, over: &AtomicBool) -> Seen {
    let mut seen = Seen { promised: 0, resident: Vec::new() };
    while !over.load(Ordering::Relaxed) {
        let system = gateway.get("/api/v1/system").json();
        seen.promised = seen.promised.max(system["memory"]["promised_bytes"].as_u64().unwrap());
        seen.resident.push(resident(gateway.pid()));
        std::thread::park_timeout(Duration::from_millis(250));
    }
    seen
}

/// Memory that a process has, in bytes.
fn resident(pid: Pid) -> u64 {
    let asked =
        std::process::Command::new("ps").args(["-o", "rss=", "-p", &pid.to_string()]).output().unwrap();
    String::from_utf8_lossy(&asked.stdout).trim().parse::<u64>().unwrap() << 10
}

/// Flat: the last quarter needs hardly more than the second, when everything has been used once. A short run only tells.
fn check_memory(resident: &[u64], long: bool) {
    let most = |part: &[u64]| part.iter().copied().max().unwrap_or(0);
    let quarters: Vec<u64> = resident.chunks(resident.len().div_ceil(4).max(1)).map(most).collect();
    let shown: Vec<String> = quarters.iter().map(|bytes| (bytes >> 20).to_string()).collect();
    println!("{:>8}  MiB of the gateway itself at most, in each quarter of the time", shown.join(" "));
    let (settled, last) = (quarters.get(1).copied().unwrap_or(0), quarters.last().copied().unwrap_or(0));
    assert!(!long || last <= settled + settled / 5, "its memory grows: {shown:?} MiB");
}

/// One record each, all ended; nobody inside, nobody waiting; never more than the budget.
fn settle_and_check(gateway: &Gateway, sent: u64, unheard: u64, most: u64) {
    println!("{sent:>8}  requests\n{:>8}  MiB promised at most", most >> 20);
    assert!(most <= (BUDGET_MIB as u64) << 20, "{most} bytes were promised");
    wait_for("as many records as requests", || {
        let usage = gateway.get("/api/v1/usage").json();
        let records = usage["total"]["requests"].as_u64().unwrap();
        assert!(records <= sent, "{records} records of {sent} requests");
        (records >= sent - unheard).then_some(())
    });
    wait_for("all requests to have ended", || {
        let running = gateway.get("/api/v1/requests?status=running").json();
        running["requests"].as_array().is_some_and(Vec::is_empty).then_some(())
    });
    wait_for("no lease and no wait to be left", || {
        let servers = gateway.get("/api/v1/servers").json();
        let still = |server: &Value| server["in_flight"] == 0 && server["queued"] == 0;
        servers["servers"].as_array().unwrap().iter().all(still).then_some(())
    });
}

fn check_nothing_is_left(gateway: &mut Gateway) {
    let servers = gateway.get("/api/v1/servers").json();
    let groups: Vec<i64> =
        servers["servers"].as_array().unwrap().iter().filter_map(|server| server["pid"].as_i64()).collect();
    gateway.signal(Signal::SIGTERM);
    assert_eq!(gateway.ended(), Some(0));
    for group in groups {
        assert_eq!(living_members(group), [] as [i64; 0], "processes are left");
    }
    let left: Vec<_> = std::fs::read_dir(gateway.data_dir().join("run")).unwrap().collect();
    assert!(left.is_empty(), "files are left: {left:?}");
}
