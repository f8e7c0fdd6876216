//! The configuration, and what disturbs the gateway: backends are killed, profiles change.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::Soak;
use crate::clients::Dice;
use crate::fake::FakeServer;

pub const PROFILES: usize = 6;
/// What each is said to need, and what there is: two fit.
const NEED_MIB: usize = 100;
pub const BUDGET_MIB: usize = 250;
/// `timeouts.total` of the profile that slow readers ask.
pub const SLOW_TOTAL: Duration = Duration::from_secs(3);
/// How long the gateway waits for a body that comes in drops.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two disturbances.
const EVERY: Duration = Duration::from_millis(1_500);

/// config.toml in its n-th version: profiles that compete for memory, and some for the attacks, which nothing disturbs.
pub fn config([endless, upstream, narrow]: &[FakeServer; 3], round: usize) -> String {
    let mut text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\nshutdown_grace = \"5s\"\nbody_timeout = \"{}s\"\n[auth]\napi = \"open\"\n\
         [memory]\nbudget = \"{BUDGET_MIB}MiB\"\nmin_stay = \"500ms\"\n",
        BODY_TIMEOUT.as_secs()
    );
    for n in 0..PROFILES {
        // Another context length is another launch: the backend starts again.
        let context = 1_000 + n * 10 + if n == round % PROFILES { round } else { 0 };
        text += &format!(
            "[[profile]]\nname = \"p{n}\"\nmodel = \"./model\"\ncontext_length = {context}\nmemory = \"{NEED_MIB}MiB\"\n\
             max_concurrent = 16\nqueue = {{ size = 100, timeout = \"30s\" }}\ntimeouts = {{ idle = \"5s\" }}\n"
        );
    }
    let slow = format!("timeouts = {{ total = \"{}s\" }}", SLOW_TOTAL.as_secs());
    for (name, server, settings) in [
        ("free", upstream, ""),
        ("slow", endless, slow.as_str()),
        ("structured", endless, "timeouts = { total = \"30s\" }"),
        ("tooled", endless, "tools = [\"calculator\"]\ntimeouts = { total = \"30s\" }"),
        ("narrow", narrow, "max_concurrent = 2\nqueue = { size = 6, timeout = \"30s\" }"),
    ] {
        text += &format!(
            "[[profile]]\nname = \"{name}\"\nengine = \"url\"\nurl = {:?}\nmodel = \"fake\"\n{settings}\n",
            server.url()
        );
    }
    text
}

/// Disturbs the gateway until the time is over.
pub fn run(soak: &Soak) {
    let mut dice = Dice(7);
    let mut round = 0;
    while Instant::now() + EVERY < soak.until {
        std::thread::park_timeout(EVERY);
        round += 1;
        disturb(soak, &mut dice, round);
    }
    std::thread::park_timeout(soak.until.saturating_duration_since(Instant::now()));
}

/// Kills a backend, or changes the configuration.
fn disturb(soak: &Soak, dice: &mut Dice, round: usize) {
    if dice.roll(3) == 0 {
        let path = soak.gateway.folder.path().join("config.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        let head = text.split("[server]").next().unwrap().to_owned();
        let beside = path.with_extension("new");
        std::fs::write(&beside, head + &config(&soak.upstreams, round)).unwrap();
        std::fs::rename(beside, path).unwrap();
        return soak.ledger.count("(reloads)");
    }
    let servers = soak.view("/api/v1/servers");
    let pids: Vec<i64> =
        servers["servers"].as_array().unwrap().iter().filter_map(|server| server["pid"].as_i64()).collect();
    if !pids.is_empty() {
        let pid = pids[dice.roll(pids.len() as u64) as usize];
        if kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGKILL).is_ok() {
            soak.ledger.count("(kills)");
        }
    }
}
