//! `make bench`: the gateway beside nginx and a direct connection, under load that checks every byte.
//! One program in several roles, each its own process: see README.md. Bounded, on loopback only,
//! and nothing is left behind.

mod generator;
mod growth;
#[path = "../../tests/fake/http1.rs"]
#[expect(dead_code, reason = "the fake server needs a little more of it")]
mod http1;
mod instructions;
mod measure;
mod mock;
mod processes;
mod report;
mod scenarios;
mod servers;
mod traffic;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::Parser;
use serde_json::{Value, json};

use instructions::Counted;
use measure::Bench;
use report::Results;
use scenarios::{START, Scenario};
use servers::Upstream;
use servers::gateway::{Gateway, URL_PROFILE};
use servers::naive::Naive;
use servers::nginx::Nginx;

pub type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

const ROUNDS: usize = 5;

/// Compares the gateway with nginx and a direct connection.
#[derive(Parser)]
struct Options {
    /// One short round
    #[arg(long)]
    quick: bool,
    /// Rounds of which the median counts [default: 5]
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// Only these scenarios: small, limited, large-first, large-last, streams, first-chunk, flood, flood-64, aggregate, start
    #[arg(long, value_name = "SCENARIO", value_delimiter = ',')]
    only: Vec<String>,
    /// All figures as JSON
    #[arg(long)]
    json: bool,
    /// How the gateway's figures grow with connections and streams, instead
    #[arg(long)]
    growth: bool,
    /// Instructions per request and per streamed chunk instead, counted by callgrind
    #[arg(long)]
    instructions: bool,
    /// A plain hyper proxy too
    #[arg(long)]
    naive: bool,
    /// Another gateway than the one built with this
    #[arg(long, value_name = "PROGRAM")]
    gateway: Option<PathBuf>,
    /// Only the others, to try the benchmark itself
    #[arg(long)]
    without_gateway: bool,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let rest = args.get(1..).unwrap_or_default();
    let outcome = match args.first().map(String::as_str) {
        Some("mock") => mock::run(rest),
        Some("mock-mlx") => mock::run_mlx(rest),
        Some("naive") => servers::naive::run(rest),
        Some("generate") => generator::run(rest),
        Some("reaper") => processes::reap(rest),
        _ => compare(&Options::parse()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            progress(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn compare(options: &Options) -> Outcome<()> {
    let folder = tempfile::Builder::new().prefix("mlx-gateway-bench-").tempdir()?.keep();
    let reaper = processes::start_reaper(&folder)?;
    let outcome = compare_in(options, &folder);
    processes::stop_reaper(reaper)?;
    outcome
}

fn compare_in(options: &Options, folder: &Path) -> Outcome<()> {
    open_for_nginx(folder)?;
    let scenarios = chosen(options)?;
    let rounds = options.rounds.unwrap_or(if options.quick { 1 } else { ROUNDS });
    let program = options.gateway.clone().unwrap_or_else(|| env!("CARGO_BIN_EXE_mlx-gateway").into());
    let upstream = Upstream::start(URL_PROFILE)?;
    if options.instructions {
        return print_instructions(options, &instructions::count_all(&program, folder, &upstream)?);
    }
    let mut results = Results::default();
    let wants_start =
        (options.only.is_empty() && !options.growth) || options.only.iter().any(|id| id == START);
    for round in 1..=rounds {
        if wants_start && !options.without_gateway {
            progress(&format!("start, round {round} of {rounds}"));
            let own = folder.join(format!("start-{round}"));
            let start = |load| Gateway::start(&program, &own, upstream.port, load);
            measure::start(start, &mut results)?;
            measure::plugins(start, &mut results)?;
        }
    }
    let load = std::time::Duration::ZERO;
    let gateway = match options.without_gateway || scenarios.is_empty() {
        true => None,
        false => Some(Gateway::start(&program, &folder.join("gateway"), upstream.port, load)?),
    };
    let mut bench = Bench {
        nginx: Nginx::start(folder, upstream.port)?,
        naive: if options.naive { Some(Naive::start(upstream.port)?) } else { None },
        gateway,
        upstream,
    };
    for scenario in &scenarios {
        if options.growth {
            // What the size before has left behind is not this one's.
            bench.gateway = None;
            let own = folder.join(scenario.id);
            bench.gateway = Some(Gateway::start(&program, &own, bench.upstream.port, load)?);
        }
        for round in 1..=rounds {
            for target in scenario.targets.iter().filter(|target| bench.takes_part(**target)) {
                let name = target.name();
                progress(&format!("{}, {name}, round {round} of {rounds}", scenario.id));
                bench
                    .run(scenario, *target, &mut results)
                    .map_err(|error| format!("{}, {name}: {error}{}", scenario.id, bench.log_tail()))?;
            }
        }
    }
    drop(bench);
    print(options, &scenarios, rounds, &results)?;
    match results.errors.len() {
        0 => Ok(()),
        count => Err(format!("{count} runs had invalid answers").into()),
    }
}

fn chosen(options: &Options) -> Outcome<Vec<Scenario>> {
    let mut all = scenarios::all(options.quick, options.growth);
    let known: Vec<&str> = all.iter().map(|s| s.id).chain([START]).collect();
    if let Some(unknown) = options.only.iter().find(|id| !known.contains(&id.as_str())) {
        return Err(format!("no scenario {unknown}; there are {}", known.join(", ")).into());
    }
    all.retain(|scenario| options.only.is_empty() || options.only.iter().any(|id| id == scenario.id));
    Ok(all)
}

fn print(options: &Options, scenarios: &[Scenario], rounds: usize, results: &Results) -> Outcome<()> {
    let about = about(rounds);
    let mut out = std::io::stdout().lock();
    if options.json {
        writeln!(out, "{:#}", results.json(&about))?;
        return Ok(());
    }
    for (key, value) in about.as_object().into_iter().flatten() {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        writeln!(out, "{key:<9} {value}")?;
    }
    writeln!(out, "figures   median (least-most)")?;
    writeln!(out, "{}", results.text(scenarios).trim_end())?;
    Ok(())
}

fn print_instructions(options: &Options, counted: &[Counted]) -> Outcome<()> {
    let about = about(1);
    let mut out = std::io::stdout().lock();
    if options.json {
        let counts: Vec<Value> = counted.iter().map(Counted::json).collect();
        writeln!(out, "{:#}", json!({"about": about, "instructions": counts}))?;
        return Ok(());
    }
    for key in ["command", "commit", "date", "machine"] {
        writeln!(out, "{key:<9} {}", about[key].as_str().unwrap_or_default())?;
    }
    for count in counted {
        write!(out, "{}", count.text())?;
    }
    Ok(())
}

/// What a figure needs beside it to mean anything.
fn about(rounds: usize) -> Value {
    let cpu_info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu_info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let model = model.map_or("unknown CPU", |(_, name)| name);
    let arguments = std::env::args().skip(1).filter(|arg| arg != "--bench");
    let arguments = arguments.collect::<Vec<_>>().join(" ");
    let commit = Command::new("git").args(["rev-parse", "--short", "HEAD"]).output();
    let commit = commit.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned());
    json!({
        "command": format!("cargo bench --bench load -- {arguments}").trim_end_matches(" -- "),
        "commit": commit.unwrap_or_default(),
        "date": jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string(),
        "machine": format!("{cores} × {model}, Linux {}", kernel.trim()),
        "nginx": Nginx::version(),
        "rounds": rounds,
    })
}

/// nginx's workers run as another user when it is started as root.
fn open_for_nginx(folder: &Path) -> Outcome<()> {
    use std::os::unix::fs::PermissionsExt;
    Ok(std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o711))?)
}

fn progress(line: &str) {
    writeln!(std::io::stderr().lock(), "{line}").ok();
}
