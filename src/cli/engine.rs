//! `engine`: what runs models, and which version of it.

use http::Method;

use super::Context;
use super::api::{Engine, EngineStep, Engines};
use super::args::EngineCommand;
use super::client::encode;
use super::exit::CliError;
use super::format::or_none;
use super::out::Column::Left;
use super::out::Table;

pub async fn run(command: EngineCommand, context: &mut Context) -> Result<(), CliError> {
    match command {
        EngineCommand::Ls => list(context).await,
        EngineCommand::Install(args) => change("install", &args.name, context).await,
        EngineCommand::Upgrade(args) => change("upgrade", &args.name, context).await,
        EngineCommand::Rollback(args) => change("rollback", &args.name, context).await,
    }
}

async fn list(context: &mut Context) -> Result<(), CliError> {
    let answer = context.client.get::<Engines>("/api/v1/engines").await?;
    if context.out.json() {
        return context.out.raw_json(&answer.raw);
    }
    context.out.table(&table(&answer.value.engines))
}

fn table(engines: &[Engine]) -> Table {
    let mut table = Table::new([
        Left("ENGINE"),
        Left("STATE"),
        Left("VERSION"),
        Left("PREVIOUS"),
        Left("NEWEST KNOWN"),
        Left("INSTALLED BY"),
        Left("PATH"),
    ]);
    for engine in engines {
        let by = |managed| if managed { "mlx-gateway" } else { "you" }.into();
        table.row([
            engine.name.clone(),
            or_none(engine.state.clone(), |state| state),
            or_none(engine.version.clone().or(engine.current.clone()), |version| version),
            or_none(engine.previous.clone(), |version| version),
            or_none(engine.latest.clone(), |version| version),
            or_none(engine.managed, by),
            or_none(engine.path.clone(), |path| path),
        ]);
    }
    table
}

/// Asks for a change and shows its steps; the last line of the answer says how it ended.
async fn change(verb: &str, name: &str, context: &mut Context) -> Result<(), CliError> {
    let path = format!("/api/v1/engines/{}/{verb}", encode(name));
    let mut lines = context.client.lines(Method::POST, &path).await?;
    while let Some(line) = lines.next().await? {
        if line.is_empty() {
            continue;
        }
        if context.out.json() {
            context.out.raw_json(line.as_bytes())?;
        }
        let step: EngineStep = serde_json::from_str(&line).map_err(|error| {
            CliError::Failed(format!("the gateway's answer is not understood ({error}): {line}"))
        })?;
        if let Some(error) = step.error {
            let status = error.status.unwrap_or(500);
            return Err(CliError::Refused { status, error: Box::new(error) });
        }
        if step.done == Some(true) {
            return conclude(name, step.version.as_deref(), context);
        }
        tell(&step, context)?;
    }
    Err(CliError::Failed(format!(
        "the gateway stopped in the middle of the {verb} of {name}; the same command goes on with it"
    )))
}

fn tell(step: &EngineStep, context: &mut Context) -> Result<(), CliError> {
    if context.out.json() {
        return Ok(());
    }
    let words: Vec<&str> = [&step.step, &step.detail].into_iter().flatten().map(String::as_str).collect();
    context.out.note(&words.join(": "))
}

fn conclude(name: &str, version: Option<&str>, context: &mut Context) -> Result<(), CliError> {
    if context.out.json() {
        return Ok(());
    }
    match version {
        Some(version) => context.out.line(&format!("{name} {version} is ready")),
        None => context.out.line(&format!("{name} is ready")),
    }
}
