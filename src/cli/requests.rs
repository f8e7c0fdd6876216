//! `requests`: list them, show all that is kept of one, end one that runs.

use jiff::tz::TimeZone;
use serde_json::Value;

use super::Context;
use super::api::{Attempt, Request, Requests};
use super::args::{RequestsArgs, RequestsCommand, RequestsFilter};
use super::client::encode;
use super::exit::CliError;
use super::format::{self, or_none};
use super::out::Column::{Left, Right};
use super::out::Table;

pub async fn run(args: RequestsArgs, context: &mut Context) -> Result<(), CliError> {
    match args.command {
        None => list(&args.filter, context).await,
        Some(RequestsCommand::Ls(filter)) => list(&filter, context).await,
        Some(RequestsCommand::Show { id }) => show(&id, context).await,
        Some(RequestsCommand::Cancel { id }) => cancel(&id, context).await,
    }
}

async fn list(filter: &RequestsFilter, context: &mut Context) -> Result<(), CliError> {
    let mut path = format!("/api/v1/requests?limit={}", filter.limit);
    if let Some(status) = filter.status {
        path.push_str(&format!("&status={}", status.name()));
    }
    let answer = context.client.get::<Requests>(&path).await?;
    if context.out.json() {
        return context.out.raw_json(&answer.raw);
    }
    if answer.value.requests.is_empty() {
        return context.out.note("No requests yet.");
    }
    let now = context.clock.unix_ms();
    context.out.table(&table(&answer.value.requests, now))
}

async fn show(id: &str, context: &mut Context) -> Result<(), CliError> {
    let answer = context.client.get::<Request>(&format!("/api/v1/requests/{}", encode(id))).await?;
    if context.out.json() {
        return context.out.raw_json(&answer.raw);
    }
    for line in lines(&answer.value, &context.zone) {
        context.out.line(&line)?;
    }
    Ok(())
}

async fn cancel(id: &str, context: &mut Context) -> Result<(), CliError> {
    let path = format!("/api/v1/requests/{}/cancel", encode(id));
    let answer = context.client.post::<Value>(&path).await?;
    if context.out.json() {
        return context.out.raw_json(&answer.raw);
    }
    context.out.line(&format!("{id} is cancelled"))
}

fn table(requests: &[Request], now_ms: i64) -> Table {
    let mut table = Table::new([
        Left("ID"),
        Left("STARTED"),
        Left("STATUS"),
        Left("PROFILE"),
        Right("PROMPT"),
        Right("COMPLETION"),
        Right("FIRST TOKEN"),
        Right("TOKENS/S"),
        Right("TOOK"),
        Left("ERROR"),
    ]);
    for request in requests {
        table.row([
            request.id.clone(),
            or_none(request.started_at, |then| format::ago(now_ms, then)),
            request.status.clone(),
            or_none(request.profile.clone().or(request.requested_model.clone()), |name| name),
            or_none(request.prompt_tokens, format::count),
            or_none(request.completion_tokens, |tokens| counted(tokens, request)),
            or_none(request.ttft_ms, format::millis),
            or_none(request.decode_tokens_per_s, format::rate),
            or_none(request.duration_ms, format::millis),
            request.error_code.clone().unwrap_or_default(),
        ]);
    }
    table
}

fn lines(request: &Request, zone: &TimeZone) -> Vec<String> {
    let mut lines = Vec::new();
    let mut fact = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            lines.push(format!("{name:<19}{value}"));
        }
    };
    fact("id", Some(request.id.clone()));
    fact("client's id", request.client_request_id.clone());
    fact("status", Some(status(request)));
    fact("error", error(request));
    fact("started", request.started_at.map(|then| format::local_time(then, zone)));
    fact("endpoint", request.endpoint.clone());
    fact("asked for", request.requested_model.clone());
    fact("profile", request.profile.clone());
    fact("model", request.model.clone());
    fact("key", request.key.clone());
    fact("user", request.user.clone());
    fact("streamed", request.streamed.map(|yes| if yes { "yes" } else { "no" }.into()));
    fact("finish reason", request.finish_reason.clone());
    fact("prompt tokens", request.prompt_tokens.map(format::count));
    fact("  cached", request.cached_tokens.map(format::count));
    fact("completion tokens", request.completion_tokens.map(|tokens| counted(tokens, request)));
    fact("  reasoning", request.reasoning_tokens.map(format::count));
    fact("waited for a turn", request.queue_ms.map(format::millis));
    fact("waited for start", request.start_ms.map(format::millis));
    fact("first token after", request.ttft_ms.map(format::millis));
    fact("tokens/s", request.decode_tokens_per_s.map(format::rate));
    fact("took", request.duration_ms.map(format::millis));
    for warning in &request.warnings {
        fact("warning", Some(warning.clone()));
    }
    for attempt in &request.attempts {
        fact("attempt", Some(attempt_line(attempt)));
    }
    lines
}

fn status(request: &Request) -> String {
    match request.http_status.filter(|status| *status != 0) {
        Some(http) => format!("{} (HTTP {http})", request.status),
        None => request.status.clone(),
    }
}

fn error(request: &Request) -> Option<String> {
    match (&request.error_code, &request.error_message) {
        (Some(code), Some(message)) => Some(format!("{code}: {message}")),
        (code, message) => code.clone().or(message.clone()),
    }
}

fn attempt_line(attempt: &Attempt) -> String {
    let mut line = format!(
        "{} at {}: {}",
        attempt.number.map_or(1, |number| number.saturating_add(1)),
        attempt.backend.as_deref().unwrap_or("an unknown backend"),
        attempt.status.as_deref().unwrap_or("unknown"),
    );
    if let Some(status) = attempt.upstream_status {
        line.push_str(&format!(", HTTP {status}"));
    }
    if let Some(ms) = attempt.duration_ms {
        line.push_str(&format!(", {}", format::millis(ms)));
    }
    if let Some(error) = &attempt.error {
        line.push_str(&format!(", {error}"));
    }
    line
}

/// A figure, marked where it was not the backend that counted.
fn counted(tokens: u64, request: &Request) -> String {
    let mark = if request.estimated == Some(true) { "~" } else { "" };
    format!("{mark}{}", format::count(tokens))
}
