//! `log-level`: what a running gateway logs, shown and changed.

use clap::Args;
use http::Method;
use serde::Deserialize;
use serde_json::json;

use super::Context;
use super::exit::CliError;

#[derive(Debug, Clone, Args)]
pub struct LogLevelArgs {
    /// error, warn, info, debug, trace or off, also by module: info,mlx_gateway::backends=debug
    /// [default: show what is logged]
    pub filter: Option<String>,
    /// As it was at the start
    #[arg(long, conflicts_with = "filter")]
    pub reset: bool,
}

#[derive(Deserialize)]
struct Levels {
    filter: String,
    at_start: String,
    file: Option<String>,
}

pub async fn run(args: LogLevelArgs, context: &mut Context) -> Result<(), CliError> {
    const PATH: &str = "/api/v1/log";
    let answer = if args.filter.is_some() || args.reset {
        let body = json!({"filter": args.filter});
        context.client.send::<Levels>(Method::PUT, PATH, Some(&body), &[]).await?
    } else {
        context.client.get::<Levels>(PATH).await?
    };
    if context.out.json() {
        return context.out.raw_json(&answer.raw);
    }
    let Levels { filter, at_start, file } = answer.value;
    context.out.line(&filter)?;
    if filter != at_start {
        context.out.note(&format!("The next start logs {at_start} again."))?;
    }
    file.map_or(Ok(()), |file| context.out.note(&format!("The log is {file}.")))
}
