//! `start`, `stop`, `restart`: a backend's life by hand.

use std::time::Duration;

use super::api::{Server, Servers};
use super::args::{StartArgs, StopArgs};
use super::client::{Answer, Client, encode};
use super::exit::CliError;
use super::{Context, Out, format};

/// How often somebody who waits is told how it goes.
const LOOK_EVERY: Duration = Duration::from_secs(1);

pub async fn start(args: &StartArgs, context: &mut Context) -> Result<(), CliError> {
    bring_up("start", args, context).await
}

pub async fn restart(args: &StartArgs, context: &mut Context) -> Result<(), CliError> {
    bring_up("restart", args, context).await
}

pub async fn stop(args: &StopArgs, context: &mut Context) -> Result<(), CliError> {
    let now = if args.now { "?now=true" } else { "" };
    let path = format!("{}{now}", path(&args.profile, "stop"));
    let told = format!("stopping {} …", args.profile);
    let answer = patiently(&path, &args.profile, &told, context).await?;
    conclude(&args.profile, &answer, context)
}

async fn bring_up(verb: &str, args: &StartArgs, context: &mut Context) -> Result<(), CliError> {
    let mut path = path(&args.profile, verb);
    if !args.no_wait {
        path.push_str("?wait=true");
    }
    let told = format!("{verb}ing {} …", args.profile);
    let answer = patiently(&path, &args.profile, &told, context).await?;
    conclude(&args.profile, &answer, context)
}

/// Posts, and shows what goes on meanwhile to whoever watches.
async fn patiently(
    path: &str,
    profile: &str,
    told: &str,
    context: &mut Context,
) -> Result<Answer<Server>, CliError> {
    let Context { client, out, .. } = context;
    if !out.watched() {
        return client.post(path).await;
    }
    out.progress(told)?;
    let watching = watch(client, profile, out);
    tokio::select! {
        biased;
        answer = client.post(path) => answer,
        problem = watching => Err(problem),
    }
}

/// Shows the backend's state again and again; ends only when it cannot be shown.
async fn watch(client: &Client, profile: &str, out: &mut Out) -> CliError {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        // The request itself tells what is wrong, so a look that fails is just not shown.
        let Ok(look) = client.get::<Servers>("/api/v1/servers").await else {
            continue;
        };
        let Some(server) = look.value.servers.iter().find(|server| server.serves(profile)) else {
            continue;
        };
        let detail = server.detail.as_deref().unwrap_or_default();
        if let Err(problem) = out.progress(&format!("{profile}: {} {detail}", server.state)) {
            return problem;
        }
    }
}

fn conclude(profile: &str, answer: &Answer<Server>, context: &mut Context) -> Result<(), CliError> {
    let json = context.out.json();
    if json {
        context.out.raw_json(&answer.raw)?;
    }
    let server = &answer.value;
    if server.state == "failed" {
        let reason = server.error.as_ref().map_or("see its log", |error| error.text());
        return Err(CliError::Failed(format!("{profile} failed: {reason}")));
    }
    if json {
        return Ok(());
    }
    let mut facts = Vec::new();
    facts.extend(server.pid.map(|pid| format!("pid {pid}")));
    facts.extend(server.port.map(|port| format!("port {port}")));
    facts.extend(server.uptime_s.map(|seconds| format!("up {}", format::duration(seconds))));
    let facts = if facts.is_empty() { String::new() } else { format!(" ({})", facts.join(", ")) };
    context.out.line(&format!("{profile} is {}{facts}", server.state))
}

fn path(profile: &str, verb: &str) -> String {
    format!("/api/v1/servers/{}/{verb}", encode(profile))
}
