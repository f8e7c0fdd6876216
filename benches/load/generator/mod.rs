//! The load generator, a process of its own so that its CPU is nobody else's: sends one kind of
//! request over some connections and checks every byte of every answer. Takes a [`Workload`] as its argument,
//! says `ready`, waits for a line, and prints a [`Tally`].

mod check;
mod client;

use std::io::{BufRead, Write};
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tokio::task::{JoinSet, LocalSet};

use crate::Outcome;
use crate::processes::end_with_parent;
use crate::traffic::{BodyKind, StreamPlan, request_body};

use check::Check;
use client::Client;

/// An exchange that takes longer is an error.
const EXCHANGE_MAX: Duration = Duration::from_secs(60);
const ERRORS_KEPT: usize = 3;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Workload {
    /// `127.0.0.1:port`
    pub authority: String,
    pub key: String,
    pub model: String,
    pub body: BodyKind,
    /// What the mock streams; `None`: a whole answer.
    pub plan: Option<StreamPlan>,
    /// Whether the client asks for a stream.
    pub ask_stream: bool,
    pub expect: Expect,
    pub connections: usize,
    /// Requests a connection, or until `seconds` are over when 0.
    pub requests: usize,
    pub seconds: f64,
    /// Pause before each request.
    pub pause_ms: u64,
    /// Requests a connection before it counts.
    pub warm_up: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Expect {
    /// What the mock sent, byte for byte.
    Same,
    /// The mock's mlx style made OpenAI's.
    Repaired,
    /// The mock's mlx stream as one answer.
    Aggregated,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Tally {
    pub requests: u64,
    pub chunks: u64,
    pub seconds: f64,
    pub errors: u64,
    pub first_errors: Vec<String>,
    pub p50_us: f64,
    pub p99_us: f64,
    /// From sending a request to its first content chunk.
    pub first_p50_us: f64,
    /// When the first event of the first request came, since 1970.
    pub first_event_unix_ns: u128,
}

/// What one connection saw.
#[derive(Default)]
struct Seen {
    durations: Vec<Duration>,
    firsts: Vec<Duration>,
    first_event: Option<Instant>,
    chunks: u64,
    errors: Vec<String>,
}

/// `load generate WORKLOAD`
pub fn run(args: &[String]) -> Outcome<()> {
    end_with_parent();
    let workload: Workload = serde_json::from_str(args.first().ok_or("a workload is missing")?)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tally = LocalSet::new().block_on(&runtime, measure(Rc::new(workload)))?;
    say(&serde_json::to_string(&tally)?)
}

async fn measure(workload: Rc<Workload>) -> Outcome<Tally> {
    let mut warming = JoinSet::new();
    for _ in 0..workload.connections {
        let workload = workload.clone();
        warming.spawn_local(async move { Connection::open(workload).await });
    }
    let mut connections = Vec::new();
    while let Some(connection) = warming.join_next().await {
        connections.push(connection??);
    }
    say("ready")?;
    std::io::stdin().lock().read_line(&mut String::new())?;
    let started = Instant::now();
    let wall = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let mut running = JoinSet::new();
    for connection in connections {
        running.spawn_local(connection.run(started));
    }
    let mut seen = Vec::new();
    while let Some(connection) = running.join_next().await {
        seen.push(connection?);
    }
    let mut tally = sum_up(&seen, started.elapsed());
    if let Some(first) = seen.iter().filter_map(|seen| seen.first_event).min() {
        tally.first_event_unix_ns = (wall + (first - started)).as_nanos();
    }
    Ok(tally)
}

struct Connection {
    client: Client,
    workload: Rc<Workload>,
    request: Vec<u8>,
}

impl Connection {
    async fn open(workload: Rc<Workload>) -> Outcome<Connection> {
        let client = Client::connect(&workload.authority).await?;
        let request = request(&workload, workload.plan);
        let mut connection = Connection { client, workload, request };
        // Streams are warmed up with a short one.
        let short = connection.workload.plan.map(|plan| StreamPlan {
            chunks: plan.chunks.min(2),
            interval_us: 0,
            ..plan
        });
        let warm_up = self::request(&connection.workload, short);
        for _ in 0..connection.workload.warm_up {
            let mut check = Check::new(&connection.workload, short);
            connection.client.exchange(&warm_up, &mut check).await?;
        }
        Ok(connection)
    }

    async fn run(mut self, started: Instant) -> Seen {
        let mut seen = Seen::default();
        let until = Duration::from_secs_f64(self.workload.seconds);
        while match self.workload.requests {
            0 => started.elapsed() < until,
            wanted => seen.durations.len() + seen.errors.len() < wanted,
        } {
            if self.workload.pause_ms > 0 {
                tokio::time::sleep(Duration::from_millis(self.workload.pause_ms)).await;
            }
            let mut check = Check::new(&self.workload, self.workload.plan);
            let sent = Instant::now();
            let exchange = self.client.exchange(&self.request, &mut check);
            match tokio::time::timeout(EXCHANGE_MAX, exchange).await {
                Ok(Ok(())) => {
                    seen.durations.push(sent.elapsed());
                    seen.firsts.extend(check.first_content.map(|first| first - sent));
                    seen.chunks += check.chunks();
                    seen.first_event = seen.first_event.or(check.first_event);
                }
                Ok(Err(error)) => seen.errors.push(error.to_string()),
                Err(_) => seen.errors.push(format!("no end within {EXCHANGE_MAX:?}")),
            }
            if !seen.errors.is_empty() {
                // The connection is in an unknown state.
                match Client::connect(&self.workload.authority).await {
                    Ok(client) if seen.errors.len() < ERRORS_KEPT => self.client = client,
                    _ => break,
                }
            }
        }
        seen
    }
}

fn request(workload: &Workload, plan: Option<StreamPlan>) -> Vec<u8> {
    let body = request_body(workload.body, &workload.model, plan, workload.ask_stream);
    let (authority, key, length) = (&workload.authority, &workload.key, body.len());
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {authority}\r\nauthorization: Bearer {key}\r\n\
         content-type: application/json\r\naccept: */*\r\nuser-agent: bench\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

fn sum_up(seen: &[Seen], elapsed: Duration) -> Tally {
    let sorted_us = |of: fn(&Seen) -> &Vec<Duration>| {
        let durations = seen.iter().flat_map(|seen| of(seen).iter());
        let mut all: Vec<f64> = durations.map(|d| d.as_secs_f64() * 1e6).collect();
        all.sort_by(f64::total_cmp);
        all
    };
    let at = |sorted: &[f64], share: f64| {
        let index = (sorted.len() as f64 * share) as usize;
        sorted.get(index.min(sorted.len().saturating_sub(1))).copied().unwrap_or(0.0)
    };
    let durations = sorted_us(|seen| &seen.durations);
    let firsts = sorted_us(|seen| &seen.firsts);
    let errors: Vec<&String> = seen.iter().flat_map(|seen| &seen.errors).collect();
    Tally {
        requests: durations.len() as u64,
        chunks: seen.iter().map(|seen| seen.chunks).sum(),
        seconds: elapsed.as_secs_f64(),
        errors: errors.len() as u64,
        first_errors: errors.into_iter().take(ERRORS_KEPT).cloned().collect(),
        p50_us: at(&durations, 0.5),
        p99_us: at(&durations, 0.99),
        first_p50_us: at(&firsts, 0.5),
        first_event_unix_ns: 0,
    }
}

fn say(line: &str) -> Outcome<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}
