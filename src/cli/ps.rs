//! `ps`: the backends and what they do.

use super::api::{Server, Servers};
use super::exit::CliError;
use super::format::{self, or_none};
use super::out::Column::{Left, Right};
use super::out::Table;
use super::{Context, Out};

/// How many of a failed backend's last lines are shown; `logs` has the rest.
const LINES_OF_A_FAILURE: usize = 5;

pub async fn run(context: &mut Context) -> Result<(), CliError> {
    let answer = context.client.get::<Servers>("/api/v1/servers").await?;
    if context.out.json() {
        return context.out.raw_json(&answer.raw);
    }
    if answer.value.servers.is_empty() {
        return context.out.note("No profiles are configured.");
    }
    context.out.table(&table(&answer.value.servers))?;
    for server in &answer.value.servers {
        failure(server, &mut context.out)?;
    }
    Ok(())
}

pub fn table(servers: &[Server]) -> Table {
    let mut table = Table::new([
        Left("PROFILES"),
        Left("STATE"),
        Left("MODEL"),
        Left("ENGINE"),
        Right("PID"),
        Right("PORT"),
        Right("UP"),
        Right("STOPS IN"),
        Right("ACTIVE"),
        Right("QUEUED"),
        Right("CPU"),
        Right("MEMORY"),
        Right("EXPECTED"),
        Right("TOKENS/S"),
        Right("TOKENS"),
    ]);
    for server in servers {
        table.row([
            profiles(server),
            state(server),
            or_none(server.model.clone(), |model| model),
            or_none(server.engine.clone(), |engine| engine),
            or_none(server.pid, |pid| pid.to_string()),
            or_none(server.port, |port| port.to_string()),
            or_none(server.uptime_s, format::duration),
            or_none(server.idle_stop_in_s, format::duration),
            or_none(server.in_flight, format::count),
            or_none(server.queued, format::count),
            or_none(server.cpu_percent, |percent| format!("{percent:.0} %")),
            or_none(server.memory_bytes, format::bytes),
            or_none(server.memory_expected_bytes, format::bytes),
            or_none(server.tokens_per_s, format::rate),
            or_none(server.total_tokens, format::count),
        ]);
    }
    table
}

fn profiles(server: &Server) -> String {
    if server.profiles.is_empty() { server.id.clone() } else { server.profiles.join(", ") }
}

/// The state, and what is going on in it.
fn state(server: &Server) -> String {
    match server.detail.as_deref().filter(|detail| !detail.is_empty()) {
        Some(detail) if server.state != "failed" => format!("{}: {detail}", server.state),
        _ => server.state.clone(),
    }
}

fn failure(server: &Server, out: &mut Out) -> Result<(), CliError> {
    let Some(error) = server.error.as_ref().filter(|_| server.state == "failed") else {
        return Ok(());
    };
    out.line("")?;
    out.line(&format!("{} failed: {}", profiles(server), error.text()))?;
    let skipped = server.log_tail.len().saturating_sub(LINES_OF_A_FAILURE);
    for line in server.log_tail.iter().skip(skipped) {
        out.line(&format!("  | {line}"))?;
    }
    Ok(())
}
