//! What became of every request: by its client, by its record, and in the gateway's own memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::chaos::{BUDGET_MIB, SLOW_TOTAL};
use crate::clients::{COMPLETED, LEFT, SLOW_BODY, UNHEARD};
use crate::readers::SLOW_FOR;
use crate::support::{living_members, wait_for};
use crate::{Kind, Soak};

/// Kinds whose requests ask no model, so that they have no record.
const UNRECORDED: [&str; 2] = ["mcp flood", "log-in"];

/// How every request ended, as its client saw it.
#[derive(Default)]
pub struct Ledger {
    /// How often what happened: by kind and end.
    tally: Mutex<BTreeMap<(String, String), u64>>,
    /// By the request's id, for those that have a record.
    ends: Mutex<HashMap<String, String>>,
}

impl Ledger {
    pub fn add(&self, kind: &str, id: String, end: String) {
        *self.tally.lock().unwrap().entry((kind.into(), end.clone())).or_default() += 1;
        if !UNRECORDED.contains(&kind) {
            self.ends.lock().unwrap().insert(id, end);
        }
    }

    /// Counts a disturbance.
    pub fn count(&self, what: &str) {
        *self.tally.lock().unwrap().entry((what.into(), String::new())).or_default() += 1;
    }

    pub fn has(&self, kind: &str, end: &str) -> bool {
        self.tally.lock().unwrap().contains_key(&(kind.into(), end.into()))
    }

    /// Requests of every kind, and disturbances.
    pub fn total(&self) -> usize {
        self.tally.lock().unwrap().values().sum::<u64>() as usize
    }

    pub fn print(&self) {
        for ((kind, end), count) in self.tally.lock().unwrap().iter() {
            println!("{count:>8}  {kind}: {end}");
        }
    }
}

/// What was seen of the gateway from beside.
pub struct Seen {
    /// Bytes that were promised to backends at most.
    pub promised: u64,
    /// Memory of its own process, one figure after the other.
    resident: Vec<u64>,
    /// Its open files, likewise.
    files: Vec<usize>,
}

pub fn watch(soak: &Soak, over: &AtomicBool) -> Seen {
    let pid = soak.gateway.pid();
    let mut seen = Seen { promised: 0, resident: Vec::new(), files: Vec::new() };
    while !over.load(Ordering::Relaxed) {
        let system = soak.view("/api/v1/system");
        seen.promised = seen.promised.max(system["memory"]["promised_bytes"].as_u64().unwrap());
        if !soak.is_over() {
            seen.resident.push(resident(pid.as_raw()));
            seen.files.push(std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count));
        }
        std::thread::park_timeout(Duration::from_millis(250));
    }
    seen
}

/// Memory that a process has, in bytes.
fn resident(pid: i32) -> u64 {
    let asked =
        std::process::Command::new("ps").args(["-o", "rss=", "-p", &pid.to_string()]).output().unwrap();
    String::from_utf8_lossy(&asked.stdout).trim().parse::<u64>().unwrap() << 10
}

/// Prints memory and open files by quarter of the run, and fails a run of [`JUDGED_FROM_S`] whose memory floor
/// rises; see [`MemoryFloor`].
pub fn check_memory(seen: &Seen, requests: usize, seconds: u64) {
    let mib = |share: usize| {
        let figures = quarters(&seen.resident).into_iter().map(|part| percentile(&part, share) >> 20);
        figures.map(|mib| mib.to_string()).collect::<Vec<_>>().join(" ")
    };
    println!("{:>8}  MiB of the gateway itself in each quarter of the time: lower quartile", mib(25));
    println!("{:>8}  median\n{:>8}  maximum", mib(50), mib(100));
    let files = quarters(&seen.files).into_iter().map(|part| percentile(&part, 100).to_string());
    println!("{:>8}  open files at most", files.collect::<Vec<_>>().join(" "));
    let floor = MemoryFloor::of(&seen.resident, requests);
    println!("{:>8}  bytes per request that the memory floor rose by", floor.growth_per_request());
    assert!(seconds < JUDGED_FROM_S || !floor.rises(), "its memory floor rises: {floor:?}");
}

/// Seconds of a run whose memory floor is judged: in a shorter one, not everything has been used by its second quarter.
const JUDGED_FROM_S: u64 = 300;
/// Growth between the second and the last quarter that counts as a leak: bytes per request, and bytes that the floor moves
/// by itself in runs of 300 s.
const LEAK: i64 = 1 << 10;
const NOISE: i64 = 12 << 20;

/// The memory floor of a run: the lower quartile of the resident memory in the second quarter, when everything has been
/// used once, and in the last. Peaks depend on how many large requests happen to meet; what is leaked is in every sample,
/// so it lifts the floor.
#[derive(Debug)]
struct MemoryFloor {
    settled: u64,
    last: u64,
    /// Requests between the middle of the second quarter and the middle of the last.
    requests: i64,
}

impl MemoryFloor {
    fn of(resident: &[u64], requests: usize) -> MemoryFloor {
        let floors: Vec<u64> = quarters(resident).iter().map(|part| percentile(part, 25)).collect();
        let at = |quarter: usize| floors.get(quarter).copied().unwrap_or_default();
        MemoryFloor { settled: at(1), last: at(3), requests: (requests as i64 / 2).max(1) }
    }

    fn growth_per_request(&self) -> i64 {
        (self.last as i64 - self.settled as i64) / self.requests
    }

    fn rises(&self) -> bool {
        let growth = self.last as i64 - self.settled as i64;
        growth >= NOISE.max(LEAK * self.requests)
    }
}

/// Samples in the order of time, in four parts.
fn quarters<T: Copy + Ord>(samples: &[T]) -> Vec<Vec<T>> {
    let parts = samples.chunks(samples.len().div_ceil(4).max(1));
    parts
        .map(|part| part.iter().copied().collect::<std::collections::BinaryHeap<T>>().into_sorted_vec())
        .collect()
}

/// Of sorted samples, of which there is at least one.
fn percentile<T: Copy>(sorted: &[T], share: usize) -> T {
    sorted[(sorted.len() - 1) * share / 100]
}

#[test]
fn memory_floor_rises_with_a_leak_and_not_with_peaks() {
    let (base, requests, samples) = (150_u64 << 20, 40_000, 1_200);
    let run = |leaked_per_request: u64| -> Vec<u64> {
        let mut dice = crate::Dice(1);
        let sample = |at: u64| {
            let peak = if dice.roll(3) == 0 { dice.roll(60) << 20 } else { 0 };
            base + peak + at * requests / samples * leaked_per_request
        };
        (0..samples).map(sample).collect()
    };
    assert!(!MemoryFloor::of(&run(0), requests as usize).rises());
    assert!(MemoryFloor::of(&run(1_200), requests as usize).rises());
}

/// Every kind happened, and ended only as is documented; most ordinary requests completed.
pub fn check_ends(ledger: &Ledger, kinds: &[Kind]) {
    let tally = ledger.tally.lock().unwrap();
    let mut unknown = Vec::new();
    for kind in kinds {
        let mut ends = tally.iter().filter(|((name, _), _)| name == kind.name).peekable();
        assert!(ends.peek().is_some(), "nothing happened of the kind: {}", kind.name);
        unknown.extend(ends.filter(|((_, end), _)| !kind.ends.contains(&end.as_str())));
    }
    assert!(unknown.is_empty(), "undocumented ends: {unknown:?}");
    for kind in kinds.iter().filter(|kind| kind.ends.contains(&COMPLETED)) {
        let completed = tally.contains_key(&(kind.name.into(), COMPLETED.into()));
        assert!(completed || kind.name == "half-closes", "nothing completed of the kind: {}", kind.name);
    }
    let ordinary = tally.iter().filter(|((kind, _), _)| kind == "ordinary");
    let completed = tally[&("ordinary".into(), COMPLETED.into())];
    assert!(completed > ordinary.map(|(_, count)| count).sum::<u64>() / 2, "{tally:?}");
}

/// All requests have ended; nobody is inside, nobody waits; never more than the budget was promised.
pub fn settle(soak: &Soak, promised: u64) {
    println!("{:>8}  MiB promised at most", promised >> 20);
    assert!(promised <= (BUDGET_MIB as u64) << 20, "{promised} bytes were promised");
    wait_for("all requests to have ended", || {
        let running = soak.view("/api/v1/requests?status=running");
        running["requests"].as_array().is_some_and(Vec::is_empty).then_some(())
    });
    wait_for("no lease and no wait to be left", || {
        let servers = soak.view("/api/v1/servers");
        let still = |server: &Value| server["in_flight"] == 0 && server["queued"] == 0;
        servers["servers"].as_array().unwrap().iter().all(still).then_some(())
    });
}

pub fn check_nothing_is_left(soak: &mut Soak) {
    let servers = soak.view("/api/v1/servers");
    let groups: Vec<i64> =
        servers["servers"].as_array().unwrap().iter().filter_map(|server| server["pid"].as_i64()).collect();
    soak.gateway.signal(Signal::SIGTERM);
    assert_eq!(soak.gateway.ended(), Some(0));
    for group in groups {
        assert_eq!(living_members(group), [] as [i64; 0], "processes are left");
    }
    let left: Vec<_> = std::fs::read_dir(soak.gateway.data_dir().join("run")).unwrap().collect();
    assert!(left.is_empty(), "files are left: {left:?}");
}

/// A row of the store.
struct Record {
    status: String,
    code: Option<String>,
    profile: Option<String>,
    /// Without the waits for a place and for a backend, which `timeouts.total` does not count.
    duration_ms: f64,
}

/// The records of the ended gateway, by the ids of their requests.
fn records(soak: &Soak) -> HashMap<String, Vec<Record>> {
    let store = rusqlite::Connection::open(soak.gateway.data_dir().join("gateway.db")).unwrap();
    let mut rows = store
        .prepare(
            "SELECT client_request_id, status, error_code, profile, \
             coalesce(duration_ms, -1) - coalesce(queue_ms, 0) - coalesce(start_ms, 0) FROM requests",
        )
        .unwrap();
    let read = |row: &rusqlite::Row<'_>| {
        let record =
            Record { status: row.get(1)?, code: row.get(2)?, profile: row.get(3)?, duration_ms: row.get(4)? };
        Ok((row.get::<_, Option<String>>(0)?.unwrap_or_default(), record))
    };
    let mut records: HashMap<String, Vec<Record>> = HashMap::new();
    for (id, record) in rows.query_map([], read).unwrap().map(Result::unwrap) {
        records.entry(id).or_default().push(record);
    }
    records
}

/// Each request has one record, which says what its client saw.
pub fn check_records(soak: &Soak) {
    let (ends, records) = (soak.ledger.ends.lock().unwrap(), records(soak));
    let mut wrong = Vec::new();
    for (id, end) in ends.iter() {
        let found: &[Record] = records.get(id).map_or(&[], Vec::as_slice);
        match found {
            [] if end == UNHEARD || end == SLOW_BODY => {}
            [record] if record.agrees(end) => {}
            _ => wrong.push(format!("{id} ended as {end}: {}", shown(found))),
        }
    }
    let strangers: Vec<&String> = records.keys().filter(|id| !ends.contains_key(*id)).collect();
    println!("{:>8}  requests\n{:>8}  records", ends.len(), records.values().map(Vec::len).sum::<usize>());
    assert!(wrong.is_empty(), "{} records are wrong: {:#?}", wrong.len(), &wrong[..wrong.len().min(20)]);
    assert!(strangers.is_empty(), "records of no request: {strangers:?}");
    let slow = records.values().flatten().filter(|record| record.profile.as_deref() == Some("slow"));
    let longest = slow.map(|record| record.duration_ms).fold(0.0, f64::max) / 1000.0;
    let (total, pause) = (SLOW_TOTAL.as_secs_f64(), SLOW_FOR.as_secs_f64());
    println!("{longest:>8.1}  s of the longest answer to a slow reader, of {total} that it may take");
    assert!(
        longest < (total + pause) / 2.0,
        "an answer went on for {longest} s, `timeouts.total` is {total} s"
    );
}

impl Record {
    /// Whether this is how a request is recorded whose client saw `end`.
    fn agrees(&self, end: &str) -> bool {
        let is_ended = !matches!(self.status.as_str(), "running" | "interrupted");
        match end {
            LEFT | UNHEARD => is_ended,
            COMPLETED => self.status == "completed" && self.code.is_none(),
            "unanswered" | "cut off" => self.status == "cancelled",
            "ended by the gateway" => is_ended && self.status != "completed",
            end => is_ended && end.split(' ').nth(1) == self.code.as_deref(),
        }
    }
}

fn shown(records: &[Record]) -> String {
    let one = |record: &Record| format!("{} {}", record.status, record.code.as_deref().unwrap_or("no code"));
    if records.is_empty() {
        "no record".into()
    } else {
        records.iter().map(one).collect::<Vec<_>>().join(", ")
    }
}
