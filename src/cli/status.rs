//! `status`: how the gateway stands, on a few lines.

use serde_json::Value;

use super::api::{Memory, System, UnwrittenRevocations};
use super::exit::CliError;
use super::{Context, format};

pub async fn run(context: &mut Context) -> Result<(), CliError> {
    let answer = context.client.get::<System>("/api/v1/system").await?;
    if context.out.json() {
        return context.out.raw_json(&answer.raw);
    }
    for line in lines(&answer.value) {
        context.out.line(&line)?;
    }
    Ok(())
}

fn lines(system: &System) -> Vec<String> {
    let version = system.version.as_deref().unwrap_or("of an unknown version");
    let mut head = format!("mlx-gateway {version}");
    if let Some(seconds) = system.uptime_s {
        head.push_str(&format!(", running for {}", format::duration(seconds)));
    }
    if let Some(pid) = system.pid {
        head.push_str(&format!(", pid {pid}"));
    }
    let mut lines = vec![head];
    let mut fact = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            lines.push(format!("  {name:<10}{value}"));
        }
    };
    for address in &system.listen {
        fact("listening", Some(address.clone()));
    }
    fact("config", Some(system.config_file.clone().unwrap_or_else(|| "none, defaults only".into())));
    fact("data", system.data_dir.clone());
    fact("access", system.auth.as_ref().and_then(access));
    fact("memory", system.memory.as_ref().and_then(memory));
    let states: Vec<String> = system
        .backends
        .iter()
        .filter(|(_, count)| count.as_u64() != Some(0))
        .filter_map(|(state, count)| Some(format!("{} {state}", plain(count)?)))
        .collect();
    let lost = system.records_lost.filter(|lost| *lost > 0);
    fact("records", lost.map(|lost| format!("{lost} lost since the start: the store could not take them")));
    fact("revoked", system.unwritten_revocations.as_ref().and_then(unwritten));
    fact("backends", Some(if states.is_empty() { "none".into() } else { states.join(", ") }));
    lines
}

/// Returns who needs a key now; an older gateway says it in one word.
fn access(auth: &Value) -> Option<String> {
    plain(auth.get("message").unwrap_or(auth))
}

fn unwritten(revocations: &UnwrittenRevocations) -> Option<String> {
    let waiting = revocations.waiting.filter(|waiting| *waiting > 0)?;
    let held = format!("{waiting} revocations wait until the store can be written");
    Some(match revocations.until_restart.filter(|lost| *lost > 0) {
        None => held,
        Some(lost) => format!("{held}; {lost} of them hold until the next start only: make room on the disk"),
    })
}

fn memory(memory: &Memory) -> Option<String> {
    let budget = format!("{} for backends", format::bytes(memory.budget_bytes?));
    let used = memory.used_bytes.map(|used| format!(", {} in use", format::bytes(used)));
    let total = memory.total_bytes.map(|total| format!(" (of {})", format::bytes(total)));
    Some(format!("{budget}{}{}", used.unwrap_or_default(), total.unwrap_or_default()))
}

/// A single value as a word; what is nested has no place on one line.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    }
}
