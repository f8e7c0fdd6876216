//! `plugins`: what tools there are, where they come from, and what they may.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Context;
use super::client::encode;
use super::exit::CliError;
use super::format::{self, or_none};
use super::out::Column::{Left, Right};
use super::out::Table;
use super::plugins_args::{AddArgs, CallArgs, PluginsCommand};
use crate::system::files;
use crate::tools::{Manifest, PluginView};

/// Tools of a plugin that a row of a table names.
const FEW: usize = 3;

const PATH: &str = "/api/v1/plugins";
/// Bytes of a component and of a plugin.toml that are sent; the gateway takes less.
const COMPONENT_MAX: u64 = 64 << 20;
const MANIFEST_MAX: u64 = 1 << 20;

#[derive(Debug, Deserialize)]
struct Plugins {
    plugins: Vec<PluginView>,
}

#[derive(Debug, Deserialize)]
struct CallResult {
    content: Vec<Value>,
    structured: Option<Value>,
    is_error: bool,
}

pub async fn run(command: PluginsCommand, context: &mut Context) -> Result<(), CliError> {
    match command {
        PluginsCommand::Ls => list(context).await,
        PluginsCommand::Info(args) => info(&args.name, context).await,
        PluginsCommand::Add(args) => add(&args, context).await,
        PluginsCommand::Rm(args) => remove(&args.name, context).await,
        PluginsCommand::Grant(args) => grant(&args.name, args.yes, context).await,
        PluginsCommand::Call(args) => call(&args, context).await,
        PluginsCommand::New(args) => super::plugins_new::run(&args, &mut context.out),
    }
}

async fn list(context: &mut Context) -> Result<(), CliError> {
    let answer = context.client.get::<Plugins>(PATH).await?;
    if context.out.json() {
        return context.out.raw_json(&answer.raw);
    }
    let mut table = Table::new([
        Left("PLUGIN"),
        Left("STATE"),
        Left("VERSION"),
        Left("TOOLS"),
        Right("CALLS"),
        Right("ERRORS"),
        Left("FROM"),
    ]);
    for plugin in answer.value.plugins {
        let errors = plugin.errors.values().sum::<u64>() + plugin.failures;
        table.row([
            plugin.name,
            plugin.state,
            plugin.version,
            first_few(&plugin.tools),
            format::count(plugin.calls),
            format::count(errors),
            plugin.path.unwrap_or_else(|| "mlx-gateway".to_owned()),
        ]);
    }
    context.out.table(&table)
}

/// Names in a row of a table; `info` has all of them.
fn first_few(names: &[String]) -> String {
    match names.split_at_checked(FEW) {
        Some((few, rest)) if !rest.is_empty() => format!("{} and {} more", few.join(", "), rest.len()),
        _ => names.join(", "),
    }
}

async fn info(name: &str, context: &mut Context) -> Result<(), CliError> {
    let answer = context.client.get::<PluginView>(&one(name)).await?;
    if context.out.json() {
        return context.out.raw_json(&answer.raw);
    }
    let plugin = answer.value;
    context.out.line(&format!("{} {} ({})", plugin.name, plugin.version, plugin.state))?;
    if !plugin.description.is_empty() {
        context.out.line(&plugin.description)?;
    }
    if let Some(reason) = &plugin.reason {
        context.out.line(&format!("Reason:      {reason}"))?;
    }
    rows("Tools:", plugin.tools.clone(), context)?;
    rows("Permissions:", plugin.permissions.in_words(), context)?;
    if !plugin.asks.is_empty() {
        rows("Not granted:", plugin.asks.in_words(), context)?;
    }
    if let Some(limits) = &plugin.limits {
        context.out.line(&format!(
            "Limits:      {} of memory, {} ms of processor time, {} ms in all, {} of output, {} calls at once",
            format::bytes(limits.memory_bytes),
            limits.cpu_ms,
            limits.wall_ms,
            format::bytes(limits.output_bytes),
            limits.concurrent
        ))?;
    }
    context.out.line(&format!("Size:        {}", format::bytes(plugin.size_bytes)))?;
    context.out.line(&format!("Loaded in:   {}", format::millis(plugin.load_ms)))?;
    context.out.line(&format!(
        "Calls:       {}, {} on average, {} failures",
        format::count(plugin.calls),
        or_none(plugin.mean_ms, format::millis),
        format::count(plugin.failures)
    ))?;
    for (code, count) in &plugin.errors {
        context.out.line(&format!("             {code}: {}", format::count(*count)))?;
    }
    context.out.line(&format!("From:        {}", plugin.path.as_deref().unwrap_or("mlx-gateway")))
}

/// Writes a label before the first of some words, and each on a line.
fn rows(label: &str, words: Vec<String>, context: &mut Context) -> Result<(), CliError> {
    let words = if words.is_empty() { vec!["none".to_owned()] } else { words };
    let labels = std::iter::once(label).chain(std::iter::repeat(""));
    labels.zip(&words).try_for_each(|(label, word)| context.out.line(&format!("{label:<13}{word}")))
}

async fn add(args: &AddArgs, context: &mut Context) -> Result<(), CliError> {
    let body = read(&args.path)?;
    let asked = match body.get("manifest").and_then(Value::as_str) {
        Some(text) => Manifest::parse(text).map_err(CliError::Usage)?.permissions(),
        None => Default::default(),
    };
    let plugin = send::<PluginView>(Method::POST, PATH, Some(&body), context).await?;
    let (view, raw) = plugin;
    if view.asks.is_empty() {
        if context.out.json() {
            return context.out.raw_json(&raw);
        }
        return context.out.line(&format!("{} {}: {}", view.name, view.version, view.tools.join(", ")));
    }
    if !context.out.json() {
        context.out.note(&format!("{} was added. It asks to", view.name))?;
    }
    // What it has already and what is new are told apart.
    let known = asked.beyond(&view.asks);
    for words in known.in_words() {
        context.out.note(&format!("  {words} (granted before)"))?;
    }
    decide(&view, args.yes, context).await
}

async fn remove(name: &str, context: &mut Context) -> Result<(), CliError> {
    let (view, raw) = send::<PluginView>(Method::DELETE, &one(name), None, context).await?;
    if context.out.json() {
        return context.out.raw_json(&raw);
    }
    context.out.line(&format!("{} was removed", view.name))
}

async fn grant(name: &str, yes: bool, context: &mut Context) -> Result<(), CliError> {
    let answer = context.client.get::<PluginView>(&one(name)).await?;
    let view = answer.value;
    if view.asks.is_empty() {
        if context.out.json() {
            return context.out.raw_json(&answer.raw);
        }
        return context.out.line(&format!("{name} asks for nothing that it has not"));
    }
    if !context.out.json() {
        context.out.note(&format!("{name} asks to"))?;
    }
    decide(&view, yes, context).await
}

/// Shows what is asked for, asks, and grants.
async fn decide(view: &PluginView, yes: bool, context: &mut Context) -> Result<(), CliError> {
    for words in view.asks.in_words() {
        context.out.note(&format!("  {words}"))?;
    }
    if !yes && !agreed(context).await? {
        return Err(CliError::NotAllowed(format!(
            "nothing was granted to {name}; it stays as it is until: mlx-gateway plugins grant {name}",
            name = view.name
        )));
    }
    let path = format!("{}/grant", one(&view.name));
    let body = json!({"permissions": view.permissions});
    let (granted, raw) = send::<PluginView>(Method::POST, &path, Some(&body), context).await?;
    if context.out.json() {
        return context.out.raw_json(&raw);
    }
    context.out.line(&format!("{} {}: {}", granted.name, granted.state, granted.tools.join(", ")))
}

/// Only somebody at a terminal can agree; a script says `--yes`.
async fn agreed(context: &mut Context) -> Result<bool, CliError> {
    let input = context.input.take();
    if !input.terminal {
        return Ok(false);
    }
    context.out.aside("Grant this? [y/N] ")?;
    let answer = input.lines()?.recv().await;
    Ok(answer.is_some_and(|line| matches!(line.trim(), "y" | "Y" | "yes")))
}

async fn call(args: &CallArgs, context: &mut Context) -> Result<(), CliError> {
    let arguments: Value = serde_json::from_str(&args.arguments)
        .map_err(|error| CliError::Usage(format!("the arguments are not JSON: {error}")))?;
    let path = format!("/api/v1/tools/{}/call", encode(&args.tool));
    let body = json!({"arguments": arguments});
    let (result, raw) = send::<CallResult>(Method::POST, &path, Some(&body), context).await?;
    if context.out.json() {
        context.out.raw_json(&raw)?;
    } else {
        for content in &result.content {
            let text = content.get("text").and_then(Value::as_str).map(str::to_owned);
            context.out.block(&text.unwrap_or_else(|| content.to_string()))?;
        }
        if let (Some(structured), true) = (&result.structured, result.content.is_empty()) {
            context.out.line(&structured.to_string())?;
        }
    }
    if result.is_error { Err(CliError::Failed(format!("{} reports a failure", args.tool))) } else { Ok(()) }
}

/// A folder or component as the API takes it.
fn read(path: &Path) -> Result<Value, CliError> {
    let failed = |path: &Path, error: std::io::Error| {
        CliError::Usage(format!("{} cannot be read: {error}", path.display()))
    };
    let bytes = |path: &Path| files::read(path, COMPONENT_MAX).map_err(|error| failed(path, error));
    if path.is_dir() {
        let file = path.join("plugin.toml");
        let text = files::read_to_string(&file, MANIFEST_MAX).map_err(|error| failed(&file, error))?;
        let manifest = Manifest::parse(&text).map_err(CliError::Usage)?;
        let wasm = bytes(&path.join(&manifest.wasm))?;
        return Ok(json!({"manifest": text, "wasm": STANDARD.encode(wasm)}));
    }
    let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(json!({"name": name, "wasm": STANDARD.encode(bytes(path)?)}))
}

async fn send<T: serde::de::DeserializeOwned>(
    method: Method,
    path: &str,
    body: Option<&Value>,
    context: &Context,
) -> Result<(T, bytes::Bytes), CliError> {
    let answer = context.client.send(method, path, body, &[]).await?;
    Ok((answer.value, answer.raw))
}

fn one(name: &str) -> String {
    format!("{PATH}/{}", encode(name))
}

#[cfg(test)]
mod tests {
    use super::first_few;

    #[test]
    fn a_row_names_a_few_tools() {
        let names = |count: usize| (0..count).map(|at| format!("t{at}")).collect::<Vec<_>>();
        assert_eq!(first_few(&names(0)), "");
        assert_eq!(first_few(&names(3)), "t0, t1, t2");
        assert_eq!(first_few(&names(24)), "t0, t1, t2 and 21 more");
    }
}
