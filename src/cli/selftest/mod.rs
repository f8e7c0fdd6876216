//! `selftest`: asks a profile for some minutes and compares what is measured in different ways, so that a machine
//! that nobody here has seen can be judged from one file.

mod judge;
mod question;
mod redact;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use http::Method;
use serde::Serialize;
use serde_json::{Value, json};

use self::judge::{Asked, Check, Sample, Verdict, judge};
use self::redact::Private;
use super::Context;
use super::client::{Client, encode};
use super::exit::CliError;
use super::out::Column::Left;
use super::out::Table;
use crate::system::memory;
use crate::system::private;
use crate::system::readings::{self, Reading};
use crate::usage::rfc3339;

const FORMAT: u32 = 1;
/// Between two looks at the backend.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Of a backend's log.
const LOG_LINES: u32 = 60;

#[derive(Debug, Clone, Args)]
pub struct SelftestArgs {
    /// Write everything that was seen into this file, without names, addresses and keys
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// How long it goes on
    #[arg(long, value_name = "SECONDS", default_value_t = 180, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub seconds: u64,
    /// The profile that is asked [default: the demo model's, or the first]
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,
}

/// Everything that was seen.
#[derive(Serialize)]
struct Report {
    format: u32,
    made_at: String,
    took_s: f64,
    profile: String,
    checks: Vec<Check>,
    answers: Vec<Asked>,
    samples: Vec<Sample>,
    /// Tools' own words before, while it worked, and at the end.
    readings: Vec<(&'static str, Vec<Reading>)>,
    machine: Vec<(&'static str, String)>,
    /// What the gateway tells about itself.
    gateway: Vec<(&'static str, Value)>,
}

pub async fn run(args: SelftestArgs, context: &mut Context) -> Result<(), CliError> {
    if let Some(file) = args.report.as_ref().filter(|file| file.exists()) {
        return Err(CliError::Conflict(format!("{} is there already", file.display())));
    }
    let began = Instant::now();
    let profile = chosen(&context.client, args.profile.as_deref()).await?;
    let mut report = Report {
        format: FORMAT,
        made_at: rfc3339(context.clock.unix_ms()),
        took_s: 0.0,
        profile,
        checks: Vec::new(),
        answers: Vec::new(),
        samples: Vec::new(),
        readings: Vec::new(),
        machine: Vec::new(),
        gateway: Vec::new(),
    };
    look_around("before", &mut report).await?;
    work(&mut report, began, Duration::from_secs(args.seconds), context).await?;
    look_around("at the end", &mut report).await?;
    about(&context.client, &mut report).await;
    report.checks = judge(&report.answers, &report.samples);
    report.took_s = began.elapsed().as_secs_f64();
    conclude(&report, args.report.as_deref(), context)
}

/// The profile that is asked.
async fn chosen(client: &Client, named: Option<&str>) -> Result<String, CliError> {
    if let Some(named) = named {
        return Ok(named.to_owned());
    }
    let listed = client.get::<Value>("/api/v1/profiles").await?.value;
    let profiles = listed["profiles"].as_array().cloned().unwrap_or_default();
    let demo = profiles.iter().find(|profile| profile["model"] == "builtin:demo").or(profiles.first());
    demo.and_then(|profile| profile["name"].as_str()).map(str::to_owned).ok_or_else(|| {
        CliError::Failed("there is no profile to ask; `mlx-gateway profiles create` makes one".into())
    })
}

/// Questions one after another, and looks at the backend meanwhile, until the time is over.
async fn work(
    report: &mut Report,
    began: Instant,
    time: Duration,
    context: &mut Context,
) -> Result<(), CliError> {
    let run = format!("{:x}", context.clock.unix_ms());
    let (client, profile) = (context.client.clone(), report.profile.clone());
    let mut number = 0;
    while report.answers.is_empty() || began.elapsed() < time {
        let left = time.saturating_sub(began.elapsed()).as_secs();
        context.out.progress(&format!("asking {profile}, {number} answers, {left} s to go"))?;
        let asking = question::ask(&client, &profile, number, &run);
        let mut asking = std::pin::pin!(asking);
        let asked = loop {
            tokio::select! {
                asked = &mut asking => break asked,
                () = tokio::time::sleep(LOOK_EVERY) => {
                    report.samples.push(look(&client, &profile, began).await?);
                }
            }
        };
        let failed = asked.error.is_some();
        report.answers.push(asked);
        report.samples.push(look(&client, &profile, began).await?);
        number += 1;
        if number == question::QUESTIONS.len() {
            look_around("while it worked", report).await?;
        }
        if failed {
            // A gateway that refuses is not asked without a pause.
            tokio::time::sleep(LOOK_EVERY.min(time.saturating_sub(began.elapsed()))).await;
        }
    }
    context.out.wipe()
}

async fn look(client: &Client, profile: &str, began: Instant) -> Result<Sample, CliError> {
    let servers = client.get::<Value>("/api/v1/servers").await?.value;
    let system = client.get::<Value>("/api/v1/system").await?.value;
    let named = |server: &&Value| {
        server["profiles"].as_array().is_some_and(|names| names.iter().any(|name| name == profile))
    };
    let server = servers["servers"].as_array().and_then(|all| all.iter().find(named)).cloned();
    let server = server.unwrap_or_default();
    let pid = server["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
    let tree = match pid {
        Some(pid) => blocking(move || readings::tree_memory(pid)).await.map(Some)?,
        None => None,
    };
    Ok(Sample {
        at_s: began.elapsed().as_secs_f64(),
        memory_bytes: server["memory_bytes"].as_u64(),
        cpu_percent: server["cpu_percent"].as_f64(),
        tokens_per_s: server["tokens_per_s"].as_f64(),
        tree_bytes: tree.as_ref().and_then(|tree| tree.gateway),
        resident_bytes: tree.as_ref().and_then(|tree| tree.resident),
        footprint_bytes: tree.as_ref().and_then(|tree| tree.footprint),
        machine_available_bytes: system["memory"]["available_bytes"].as_u64(),
        gpu_percent: system["gpu"]["percent"].as_f64(),
    })
}

async fn look_around(when: &'static str, report: &mut Report) -> Result<(), CliError> {
    let (tools, machine) = blocking(|| (readings::tools(), readings::machine())).await?;
    report.readings.push((when, tools));
    report.machine.push((when, machine));
    Ok(())
}

/// What the gateway says of itself; what it does not say is left out.
async fn about(client: &Client, report: &mut Report) {
    let logs = format!("/api/v1/servers/{}/logs?lines={LOG_LINES}", encode(&report.profile));
    for (name, path) in [
        ("system", "/api/v1/system"),
        ("settings", "/api/v1/settings"),
        ("doctor", "/api/v1/doctor"),
        ("engines", "/api/v1/engines"),
        ("servers", "/api/v1/servers"),
        ("logs", logs.as_str()),
    ] {
        let said = match client.open(Method::GET, path, None).await {
            Ok(body) => super::client::whole(body).await,
            Err(error) => Err(error),
        };
        let said = match said {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&bytes).into_owned())),
            Err(error) => json!({"error": error.to_string()}),
        };
        report.gateway.push((name, said));
    }
}

fn conclude(report: &Report, file: Option<&Path>, context: &mut Context) -> Result<(), CliError> {
    let mut value = serde_json::to_value(report).map_err(|error| CliError::Failed(error.to_string()))?;
    private().redact(&mut value);
    if let Some(file) = file {
        write(file, &value)?;
    }
    if context.out.json() {
        context.out.raw_json(value.to_string().as_bytes())?;
    } else {
        let mut table = Table::new([Left("CHECK"), Left("VERDICT"), Left("DETAIL")]);
        for check in &report.checks {
            table.row([check.name.to_owned(), check.verdict.word().to_owned(), check.detail.clone()]);
        }
        context.out.table(&table)?;
        if let Some(file) = file {
            let words = "names, addresses and keys are taken out; read it before you send it";
            context.out.note(&format!("{} has everything that was seen; {words}.", file.display()))?;
        }
    }
    match report.checks.iter().find(|check| check.verdict == Verdict::Failed) {
        Some(check) => Err(CliError::Failed(format!("{}: {}", check.name, check.detail))),
        None => Ok(()),
    }
}

/// Whose machine it is, as far as this process can tell.
fn private() -> Private {
    let home = std::env::home_dir().map(|home| (home.display().to_string(), "~"));
    let user = ["USER", "LOGNAME"].into_iter().filter_map(|name| std::env::var(name).ok());
    let host = memory::host_name().into_iter().flat_map(|host| {
        let short = host.split('.').next().unwrap_or_default().to_owned();
        [(host, "HOST"), (short, "HOST")]
    });
    // root is the name of no person, and of much else.
    let user = user.filter(|user| user != "root").map(|user| (user, "USER"));
    Private::new(home.into_iter().filter(|(home, _)| home != "/root").chain(user).chain(host))
}

fn write(file: &Path, value: &Value) -> Result<(), CliError> {
    let text = serde_json::to_vec_pretty(value).map_err(|error| CliError::Failed(error.to_string()))?;
    let written = private::create_new(file).and_then(|mut open| open.write_all(&text));
    written.map_err(|error| CliError::Failed(format!("{} cannot be written: {error}", file.display())))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, CliError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| CliError::Failed(error.to_string()))
}
