//! `--instructions`: instructions that the gateway executes in user space per request and per streamed chunk,
//! with its most expensive functions. Counted by callgrind, so the machine's load does not change the figures.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::Outcome;
use crate::generator::Workload;
use crate::measure::{AFTERWARDS, generate, workload};
use crate::scenarios::{Target, Unit, Work};
use crate::servers::Upstream;
use crate::servers::gateway::Gateway;
use crate::traffic::{BodyKind, StreamPlan};

/// Functions listed per count.
const FUNCTIONS: usize = 10;
/// Requests per connection before the count begins: pools, caches and prepared statements exist by then.
const WARM_UP: usize = 50;
const CONNECTIONS: usize = 4;

/// What is counted.
struct Count {
    title: &'static str,
    unit: Unit,
    target: Target,
    plan: Option<StreamPlan>,
    /// Per connection.
    requests: usize,
}

/// Instructions per unit, and the functions that executed most of them.
pub struct Counted {
    title: &'static str,
    unit: Unit,
    units: u64,
    instructions: u64,
    /// Name and instructions of its own code, most expensive first.
    functions: Vec<(String, u64)>,
}

const STREAM: Option<StreamPlan> = Some(StreamPlan { chunks: 250, interval_us: 20_000, batch: 1 });

/// The figures of docs/benchmarks.md.
const COUNTS: [Count; 4] = [
    Count {
        title: "whole answer of a url upstream",
        unit: Unit::Request,
        target: Target::Gateway,
        plan: None,
        requests: 500,
    },
    Count {
        title: "the same with a limited key",
        unit: Unit::Request,
        target: Target::Limited,
        plan: None,
        requests: 500,
    },
    Count {
        title: "stream of a url upstream",
        unit: Unit::Chunk,
        target: Target::Gateway,
        plan: STREAM,
        requests: 1,
    },
    Count {
        title: "stream of an mlx engine, repaired",
        unit: Unit::Chunk,
        target: Target::Repaired,
        plan: STREAM,
        requests: 1,
    },
];

/// Counts each of [`COUNTS`] with a gateway of its own.
///
/// # Errors
/// If valgrind is not installed, or an answer was invalid.
pub fn count_all(program: &Path, folder: &Path, upstream: &Upstream) -> Outcome<Vec<Counted>> {
    let missing = "valgrind is not on PATH (apt-get install valgrind)";
    Command::new("valgrind").arg("--version").stdout(Stdio::null()).status().map_err(|_| missing)?;
    let mut counted = Vec::new();
    for (index, count) in COUNTS.iter().enumerate() {
        crate::progress(&format!("instructions: {}", count.title));
        counted.push(count_one(count, program, &folder.join(format!("instructions-{index}")), upstream)?);
    }
    Ok(counted)
}

fn count_one(count: &Count, program: &Path, folder: &Path, upstream: &Upstream) -> Outcome<Counted> {
    let out = folder.join("callgrind.out");
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--instr-atstart=no", "--quiet"]);
    valgrind.arg(format!("--callgrind-out-file={}", out.display())).arg(program);
    let gateway = Gateway::start_by(valgrind, program, folder, upstream.port, Duration::ZERO)?;
    let work = Work {
        body: BodyKind::Small,
        plan: count.plan,
        connections: CONNECTIONS,
        requests: count.requests,
        seconds: 0.0,
        pause_ms: 0,
        warm_up: WARM_UP,
        measure_memory: false,
    };
    let mut workload: Workload = workload(&work, count.target, gateway.port, count.plan.is_some());
    if count.target == Target::Limited {
        workload.key = gateway.limited_key()?;
    }
    let pid = gateway.running.pid();
    let (tally, ..) = generate(&workload, &[], false, || switch(pid, "on"))?;
    if tally.errors > 0 {
        return Err(format!("{}: {}", count.title, tally.first_errors.join("; ")).into());
    }
    std::thread::sleep(AFTERWARDS);
    switch(pid, "off")?;
    // Writes the file when it ends.
    drop(gateway);
    let (instructions, functions) = read_profile(&dump(&out)?)?;
    let units = if count.unit == Unit::Chunk { tally.chunks } else { tally.requests };
    Ok(Counted { title: count.title, unit: count.unit, units, instructions, functions })
}

/// Starts or stops counting in a process under callgrind.
fn switch(pid: u32, state: &str) -> Outcome<()> {
    let mut control = Command::new("callgrind_control");
    let done = control.args(["--instr", state]).arg(pid.to_string()).stdin(Stdio::null()).output()?;
    if done.status.success() {
        return Ok(());
    }
    Err(format!("callgrind_control: {}", String::from_utf8_lossy(&done.stderr)).into())
}

/// The only profile with counts: callgrind numbers further parts.
fn dump(out: &Path) -> Outcome<PathBuf> {
    if out.exists() { Ok(out.to_owned()) } else { Err(format!("callgrind left no {}", out.display()).into()) }
}

/// All instructions of a profile, and its most expensive functions.
fn read_profile(profile: &Path) -> Outcome<(u64, Vec<(String, u64)>)> {
    let mut annotate = Command::new("callgrind_annotate");
    let told = annotate.args(["--auto=no", "--threshold=95"]).arg(profile).stdin(Stdio::null()).output()?;
    if !told.status.success() {
        return Err(format!("callgrind_annotate: {}", String::from_utf8_lossy(&told.stderr)).into());
    }
    let text = String::from_utf8_lossy(&told.stdout);
    let total = text.lines().find(|line| line.ends_with("PROGRAM TOTALS")).and_then(leading_number);
    let total = total.ok_or("callgrind_annotate printed no totals")?;
    let functions = text.lines().filter_map(function).take(FUNCTIONS).collect();
    Ok((total, functions))
}

/// ` 1,234 ( 5.6%)  file:function [object]`
fn function(line: &str) -> Option<(String, u64)> {
    let instructions = leading_number(line)?;
    let (_, place) = line.split_once(")  ")?;
    let (place, _object) = place.rsplit_once(" [").unwrap_or((place, ""));
    let (_, name) = place.split_once(':')?;
    // The hash at the end of a symbol's name changes with every build.
    let name = name.rsplit_once("::h").filter(|(_, hash)| hash.len() == 16).map_or(name, |(name, _)| name);
    Some((name.trim().to_owned(), instructions))
}

fn leading_number(line: &str) -> Option<u64> {
    line.split_whitespace().next()?.replace(',', "").parse().ok()
}

impl Counted {
    fn per_unit(&self, instructions: u64) -> u64 {
        instructions / self.units.max(1)
    }

    /// A heading with the count, and a line for each function.
    pub fn text(&self) -> String {
        let (unit, all) = (self.unit.name(), self.per_unit(self.instructions));
        let mut text = format!("\n{}: {all} instructions per {unit} ({} {unit}s)\n", self.title, self.units);
        for (name, instructions) in &self.functions {
            let own = self.per_unit(*instructions);
            let share = 100.0 * *instructions as f64 / self.instructions.max(1) as f64;
            text.push_str(&format!("  {own:>8}  {share:>4.1} %  {name}\n"));
        }
        text
    }

    /// The same figures for other programs.
    pub fn json(&self) -> Value {
        let function = |(name, instructions): &(String, u64)| json!({"name": name, "instructions": self.per_unit(*instructions)});
        json!({
            "title": self.title, "unit": self.unit.name(), "units": self.units,
            "instructions": self.per_unit(self.instructions),
            "functions": self.functions.iter().map(function).collect::<Vec<_>>(),
        })
    }
}
