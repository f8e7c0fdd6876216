//! Many clients on more models than fit, some of them hostile, while backends are killed and config.toml changes:
//! every request ends as success or documented error, there is one record each, memory stays flat, and nothing is
//! left. For 15 s in `make test`, for as long as one likes with `make soak SECONDS=120`.

#[path = "../fake/spawn.rs"]
mod fake;
#[path = "../it/support/mod.rs"]
#[expect(dead_code, reason = "the soak needs the half of it")]
mod support;

mod accounting;
mod attacks;
mod bodies;
mod chaos;
mod clients;
mod keys;
mod readers;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use accounting::Ledger;
use clients::Dice;
use fake::FakeServer;
use serde_json::json;
use support::Gateway;

const DEFAULT_SECONDS: u64 = 15;
const DEFAULT_CLIENTS: usize = 60;
const CLIENTS: usize = 200;
/// For what runs when the time is over: the longest wait of a queue and an answer.
const TAIL: Duration = Duration::from_secs(60);

/// What all clients share.
pub struct Soak {
    pub gateway: Gateway,
    pub ledger: Ledger,
    /// The administrator's session.
    pub admin: String,
    pub keys: keys::Keys,
    /// Servers elsewhere, which are not killed: one for answers without end, one for all others.
    pub upstreams: [FakeServer; 3],
    pub until: Instant,
}

/// Clients of one kind.
pub struct Kind {
    pub name: &'static str,
    /// How many of them there are in a short run and in a long one.
    pub clients: (usize, usize),
    /// One request to its end; none: it could not be sent.
    pub ask: fn(&Soak, &mut Dice, &str) -> Option<String>,
    /// The ends that are documented for them.
    pub ends: &'static [&'static str],
}

impl Soak {
    fn start(seconds: u64) -> Soak {
        // Profiles with one url share a backend, and its limits.
        let upstreams = std::array::from_fn(|_| FakeServer::start(&[]));
        let gateway = Gateway::start(&chaos::config(&upstreams, 0));
        let admin = gateway.admin();
        let keys = keys::Keys::make(&gateway, &admin);
        let until = Instant::now() + Duration::from_secs(seconds);
        Soak { gateway, ledger: Ledger::default(), admin, keys, upstreams, until }
    }

    pub fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }

    /// What the administrator sees at `path`.
    pub fn view(&self, path: &str) -> serde_json::Value {
        self.gateway.as_bearer(&self.admin, "GET", path, None).json()
    }
}

/// Requests of one client until the time is over.
fn run(soak: &Soak, kind: &Kind, client: u64) {
    let mut dice = Dice(client + 1);
    for n in 0.. {
        if soak.is_over() {
            return;
        }
        let id = format!("{}-{client}-{n}", kind.name.replace(' ', "-"));
        if let Some(end) = (kind.ask)(soak, &mut dice, &id) {
            soak.ledger.add(kind.name, id, end);
        }
    }
}

#[test]
fn under_any_mix_of_requests_kills_and_reloads_every_request_ends_as_documented() {
    let asked = std::env::var("SOAK_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    let (seconds, is_long) = (asked.unwrap_or(DEFAULT_SECONDS), asked.is_some());
    let mut soak = Soak::start(seconds);
    let kinds: Vec<Kind> =
        [clients::kinds(), readers::kinds(), bodies::kinds(), attacks::kinds(), keys::kinds()]
            .into_iter()
            .flatten()
            .collect();
    let over = AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        let (soak, over) = (&soak, &over);
        let mut running = Vec::new();
        for kind in &kinds {
            let count = if is_long { kind.clients.1 } else { kind.clients.0 };
            let first = running.len();
            running.extend(
                (first..first + count).map(|client| scope.spawn(move || run(soak, kind, client as u64))),
            );
        }
        let watching = scope.spawn(move || accounting::watch(soak, over));
        let ends_watch = EndsWatch(over);
        chaos::run(soak);
        running.into_iter().for_each(|client| client.join().unwrap());
        drop(ends_watch);
        watching.join().unwrap()
    });
    soak.ledger.print();
    let late = soak.until.elapsed();
    println!("{:>8}  s until the last request had ended", late.as_secs());
    accounting::settle(&soak, seen.promised);
    accounting::check_memory(&seen, soak.ledger.total(), seconds);
    accounting::check_ends(&soak.ledger, &kinds);
    keys::check_budgets(&soak);
    accounting::check_nothing_is_left(&mut soak);
    accounting::check_records(&soak);
    assert!(late < TAIL, "the last request ended {late:?} after the time was over");
}

/// Ends the watching thread, also when a thread of the run has failed.
struct EndsWatch<'a>(&'a AtomicBool);

impl Drop for EndsWatch<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A chat's body with more fields.
pub fn chat(model: &str, prompt: &str, more: serde_json::Value) -> String {
    let mut body = json!({"model": model, "messages": [{"role": "user", "content": prompt}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body.to_string()
}
