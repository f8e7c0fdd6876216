//! Runs a scenario against a target once: starts the generator, reads CPU and memory around it.

use std::io::Write;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::Outcome;
use crate::generator::{Tally, Workload};
use crate::processes::{Running, cpu, pss_mib, role, tree};
use crate::report::Results;
use crate::scenarios::{START, Scenario, Target, Unit, Work};
use crate::servers::Upstream;
use crate::servers::gateway::{Gateway, KEY};
use crate::servers::naive::Naive;
use crate::servers::nginx::Nginx;
use crate::traffic::{BodyKind, StreamPlan};

/// Work put off until after the answers (a batch of records) still counts.
pub const AFTERWARDS: Duration = Duration::from_millis(600);
const LOG_LINES: usize = 20;
const MEMORY_EVERY: Duration = Duration::from_millis(250);
/// How long the gateway is left alone before its idle memory is read.
const IDLE: Duration = Duration::from_secs(1);
/// What the mock of mlx-openai-server takes to become ready in the start scenario.
pub const LOAD: Duration = Duration::from_millis(300);

/// Everything that runs during the measurements.
pub struct Bench {
    pub upstream: Upstream,
    pub nginx: Nginx,
    pub naive: Option<Naive>,
    pub gateway: Option<Gateway>,
}

impl Bench {
    pub fn takes_part(&self, target: Target) -> bool {
        match target {
            Target::Direct | Target::Nginx => true,
            Target::Naive => self.naive.is_some(),
            _ => self.gateway.is_some(),
        }
    }

    pub fn run(&self, scenario: &Scenario, target: Target, results: &mut Results) -> Outcome<()> {
        let (port, pids) = self.place(target, &scenario.work)?;
        let ask_stream = scenario.work.plan.is_some() && target != Target::Aggregated;
        let mut workload = workload(&scenario.work, target, port, ask_stream);
        match (target, &self.gateway) {
            (Target::Keyed, Some(gateway)) => workload.key = gateway.free_key()?,
            (Target::Limited, Some(gateway)) => workload.key = gateway.limited_key()?,
            _ => {}
        }
        let (tally, cpu, memory) = generate(&workload, &pids, scenario.work.measure_memory, || Ok(()))?;
        results.add_errors(scenario.id, target, &tally);
        let units = match scenario.unit {
            Unit::Request => tally.requests,
            Unit::Chunk => tally.chunks,
        };
        let units = (units as f64).max(1.0);
        let mut add = |metric, value| results.add(scenario.id, target, metric, value);
        add("per_s", units / tally.seconds);
        // Between pauses there is too little work for the grain of the CPU clock.
        if target != Target::Direct && scenario.work.pause_ms == 0 {
            add("cpu_us", cpu.as_secs_f64() * 1e6 / units);
        }
        if scenario.work.requests != 1 {
            add("p50_us", tally.p50_us);
            add("p99_us", tally.p99_us);
        }
        if scenario.work.pause_ms > 0 {
            add("first_us", tally.first_p50_us);
        }
        if let Some(memory) = memory.filter(|_| target != Target::Direct) {
            add("pss_mib", memory);
        }
        Ok(())
    }

    /// The end of the gateway's log, for an error's message.
    pub fn log_tail(&self) -> String {
        let Some(gateway) = &self.gateway else {
            return String::new();
        };
        let log = std::fs::read_to_string(&gateway.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let last = &lines[lines.len().saturating_sub(LOG_LINES)..];
        format!("\nthe gateway's log ends with:\n{}", last.join("\n"))
    }

    fn place(&self, target: Target, work: &Work) -> Outcome<(u16, Vec<u32>)> {
        let missing = || format!("{} does not run", target.name());
        Ok(match target {
            Target::Direct => (self.upstream.port, Vec::new()),
            Target::Nginx => {
                let streams = work.plan.is_some();
                let nginx = &self.nginx;
                let port = if streams { nginx.streams_port } else { nginx.plain_port };
                (port, tree(nginx.running.pid()))
            }
            Target::Naive => {
                let naive = self.naive.as_ref().ok_or_else(missing)?;
                (naive.port, vec![naive.running.pid()])
            }
            Target::Gateway | Target::Keyed | Target::Limited | Target::Repaired | Target::Aggregated => {
                let gateway = self.gateway.as_ref().ok_or_else(missing)?;
                // Not its backends.
                (gateway.port, vec![gateway.running.pid()])
            }
        })
    }
}

/// Starts a gateway of its own: how soon it serves, what it needs idle, and how soon a request that
/// waits for its backend gets its first byte. No other gateway may run, for memory is shared.
pub fn start(gateway: impl Fn(Duration) -> Outcome<Gateway>, results: &mut Results) -> Outcome<()> {
    let gateway = gateway(LOAD)?;
    let mut add = |metric, value| results.add(START, Target::Gateway, metric, value);
    add("start_ms", gateway.start.as_secs_f64() * 1e3);
    std::thread::sleep(IDLE);
    add("idle_mib", pss_mib(&[gateway.running.pid()]));
    let work = Work {
        body: BodyKind::Small,
        plan: Some(StreamPlan { chunks: 2, interval_us: 0, batch: 1 }),
        connections: 1,
        requests: 1,
        seconds: 0.0,
        pause_ms: 0,
        warm_up: 0,
        measure_memory: false,
    };
    let workload = workload(&work, Target::Repaired, gateway.port, true);
    let (tally, ..) = generate(&workload, &[], false, || Ok(()))?;
    results.add_errors(START, Target::Repaired, &tally);
    if tally.errors == 0 {
        let ready_at: u128 = std::fs::read_to_string(&gateway.ready_at)?.parse()?;
        let ns = tally.first_event_unix_ns.saturating_sub(ready_at);
        results.add(START, Target::Gateway, "ready_ms", ns as f64 / 1e6);
    }
    Ok(())
}

/// What both bundled plugins add to a gateway that has compiled them before, once they are loaded and listed. No other
/// gateway may run.
pub fn plugins(gateway: impl Fn(Duration) -> Outcome<Gateway>, results: &mut Results) -> Outcome<()> {
    gateway(LOAD)?.load_plugins()?;
    let gateway = gateway(LOAD)?;
    // The same way into it, so that this is not counted.
    gateway.status()?;
    std::thread::sleep(IDLE);
    let before = pss_mib(&[gateway.running.pid()]);
    gateway.load_plugins()?;
    std::thread::sleep(IDLE);
    let after = pss_mib(&[gateway.running.pid()]);
    results.add(START, Target::Gateway, "plugins_mib", after - before);
    Ok(())
}

/// What the load generator is asked for.
pub fn workload(work: &Work, target: Target, port: u16, ask_stream: bool) -> Workload {
    Workload {
        authority: format!("127.0.0.1:{port}"),
        key: KEY.to_owned(),
        model: target.model().to_owned(),
        body: work.body,
        plan: work.plan,
        ask_stream,
        expect: target.expect(),
        connections: work.connections,
        requests: work.requests,
        seconds: work.seconds,
        pause_ms: work.pause_ms,
        warm_up: work.warm_up,
    }
}

/// One run of the generator, with CPU time and the most memory of `pids` during it. Calls `before_load` between the
/// warm-up and the load.
pub fn generate(
    workload: &Workload,
    pids: &[u32],
    measure_memory: bool,
    before_load: impl FnOnce() -> Outcome<()>,
) -> Outcome<(Tally, Duration, Option<f64>)> {
    let mut command = role("generate")?;
    command.arg(serde_json::to_string(workload)?).stdin(Stdio::piped());
    let mut generator = Running::start("the load generator", &mut command)?;
    let ready = generator.line()?;
    if ready != "ready" {
        return Err(format!("the load generator said {ready}").into());
    }
    before_load()?;
    let before = cpu(pids);
    let watch = measure_memory.then(|| MemoryWatch::start(pids));
    writeln!(generator.child.stdin.as_mut().ok_or("stdin is not piped")?)?;
    let tally = serde_json::from_str(&generator.line()?)?;
    let memory = watch.map(MemoryWatch::most);
    drop(generator);
    std::thread::sleep(AFTERWARDS);
    Ok((tally, cpu(pids).saturating_sub(before), memory))
}

struct MemoryWatch {
    over: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<f64>,
}

impl MemoryWatch {
    fn start(pids: &[u32]) -> MemoryWatch {
        let over = Arc::new(AtomicBool::new(false));
        let (told, pids) = (over.clone(), pids.to_vec());
        let thread = std::thread::spawn(move || {
            let mut most: f64 = 0.0;
            while !told.load(Ordering::Relaxed) {
                most = most.max(pss_mib(&pids));
                std::thread::sleep(MEMORY_EVERY);
            }
            most
        });
        MemoryWatch { over, thread }
    }

    fn most(self) -> f64 {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_default()
    }
}
