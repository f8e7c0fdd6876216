//! `logs`: what backends have written, of one or of all, and what they go on to write.

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream, SelectAll};
use http::Method;
use serde_json::json;

use super::api::Servers;
use super::args::LogsArgs;
use super::client::{Client, Lines, encode};
use super::exit::CliError;
use super::{Context, Out};

/// Backends whose logs are shown at once: each takes a connection while it is followed.
const MAX_FOLLOWED: usize = 64;

/// A line and whose it is.
type Written = Result<(String, String), CliError>;

pub async fn run(args: &LogsArgs, context: &mut Context) -> Result<(), CliError> {
    let names = match &args.profile {
        Some(profile) => vec![profile.clone()],
        None => everybody(&context.client).await?,
    };
    let labelled = names.len() > 1;
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or_default();
    let mut logs = Vec::with_capacity(names.len());
    for name in names {
        match open(&name, args, &context.client).await {
            Ok(lines) => logs.push(written(name, lines)),
            // A backend that never ran has written nothing.
            Err(CliError::Refused { status: 404, .. }) if args.profile.is_none() => {}
            Err(error) => return Err(error),
        }
    }
    // Followed they come as they are written, otherwise one backend after the other.
    let mut all: BoxStream<'static, Written> = if args.follow {
        logs.into_iter().collect::<SelectAll<_>>().boxed()
    } else {
        stream::iter(logs).flatten().boxed()
    };
    while let Some(line) = all.next().await {
        let (name, line) = line?;
        show(&name, &line, labelled.then_some(width), &mut context.out)?;
    }
    if args.follow { explain_end(&context.client).await } else { Ok(()) }
}

/// Fails if followed logs ended because the caller lost the right to them. A gateway that stops ends them too, which
/// is no error.
async fn explain_end(client: &Client) -> Result<(), CliError> {
    match client.get::<Servers>("/api/v1/servers").await {
        Err(error @ (CliError::Refused { .. } | CliError::NotAllowed(_))) => Err(error),
        _ => Ok(()),
    }
}

async fn everybody(client: &Client) -> Result<Vec<String>, CliError> {
    let answer = client.get::<Servers>("/api/v1/servers").await?;
    Ok(answer.value.servers.into_iter().map(|server| server.id).take(MAX_FOLLOWED).collect())
}

async fn open(name: &str, args: &LogsArgs, client: &Client) -> Result<Lines, CliError> {
    let follow = if args.follow { "&follow=true" } else { "" };
    let path = format!("/api/v1/servers/{}/logs?lines={}{follow}", encode(name), args.lines);
    client.lines(Method::GET, &path).await
}

fn written(name: String, lines: Lines) -> BoxStream<'static, Written> {
    stream::try_unfold((name, lines), |(name, mut lines)| async move {
        let line = lines.next().await?;
        Ok(line.map(|line| ((name.clone(), line), (name, lines))))
    })
    .boxed()
}

fn show(name: &str, line: &str, width: Option<usize>, out: &mut Out) -> Result<(), CliError> {
    if out.json() {
        return out.raw_json(json!({"profile": name, "line": line}).to_string().as_bytes());
    }
    match width {
        Some(width) => out.line(&format!("{name:<width$} | {line}")),
        None => out.line(line),
    }
}
