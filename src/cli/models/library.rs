//! `models ls`, `show`, `rm` and `du`: what is on this machine.

use http::Method;
use serde_json::Value;

use super::shape::{Details, Library, Local, abilities, bytes_of, fits, known, parameters, quantization};
use super::{LsArgs, RmArgs, ShowArgs};
use crate::cli::Context;
use crate::cli::client::encode;
use crate::cli::exit::CliError;
use crate::cli::format::{self, or_none};
use crate::cli::out::Column::{Left, Right};
use crate::cli::out::Table;

pub async fn list(args: &LsArgs, context: &mut Context) -> Result<(), CliError> {
    let query = args.unused.map(|days| format!("?unused_days={days}")).unwrap_or_default();
    let answer = context.client.get::<Library>(&format!("/api/v1/models{query}")).await?;
    if context.out.json() {
        return context.out.raw_json(&answer.raw);
    }
    answer.value.problems.iter().try_for_each(|problem| context.out.note(problem))?;
    if answer.value.models.is_empty() {
        return context.out.note("No models here yet; `mlx-gateway models pull OWNER/NAME` fetches one.");
    }
    let now = context.clock.unix_ms();
    context.out.table(&table(&answer.value.models, now))
}

pub async fn show(args: &ShowArgs, context: &mut Context) -> Result<(), CliError> {
    let query = if args.local { "?hub=false" } else { "" };
    let path = format!("/api/v1/models/{}{query}", encode(&args.model));
    let answer = context.client.get::<Details>(&path).await?;
    if context.out.json() {
        return context.out.raw_json(&answer.raw);
    }
    for line in lines(&answer.value) {
        context.out.line(&line)?;
    }
    let files = answer.value.hub.iter().filter(|_| args.files).flat_map(|hub| &hub.files);
    for file in files {
        let left_out = if file.wanted { "" } else { "  (left out: MLX does not read it)" };
        context.out.line(&format!("  {:>9}  {}{left_out}", format::bytes(file.size_bytes), file.path))?;
    }
    if let Some(problem) = &answer.value.problem {
        context.out.note(&problem.message)?;
    }
    Ok(())
}

pub async fn remove(args: &RmArgs, context: &mut Context) -> Result<(), CliError> {
    let force = if args.force { "?force=true" } else { "" };
    let path = format!("/api/v1/models/{}{force}", encode(&args.model));
    let answer = context.client.send::<Local>(Method::DELETE, &path, None, &[]).await?;
    if context.out.json() {
        return context.out.raw_json(&answer.raw);
    }
    let freed = format::bytes(answer.value.size_bytes);
    context.out.line(&format!("{} is removed; that frees {freed}", answer.value.id))
}

pub async fn disk_use(context: &mut Context) -> Result<(), CliError> {
    let answer = context.client.get::<Library>("/api/v1/models").await?;
    if context.out.json() {
        return context.out.raw_json(&answer.raw);
    }
    let Library { mut models, total_bytes, free_bytes, cache, problems } = answer.value;
    models.sort_by_key(|model| std::cmp::Reverse(model.size_bytes));
    let mut table = Table::new([Right("SIZE"), Left("MODEL")]);
    for model in &models {
        table.row([format::bytes(model.size_bytes), model.id.clone()]);
    }
    table.row([format::bytes(total_bytes), "in all".into()]);
    context.out.table(&table)?;
    problems.iter().try_for_each(|problem| context.out.note(problem))?;
    let free = or_none(free_bytes, format::bytes);
    context.out.line(&format!("{free} free in {}", cache.unwrap_or_default()))
}

fn table(models: &[Local], now_ms: i64) -> Table {
    let mut table = Table::new([
        Left("MODEL"),
        Right("SIZE"),
        Right("PARAMETERS"),
        Left("QUANTIZED"),
        Left("FITS"),
        Left("CAN"),
        Left("PROFILES"),
        Left("LAST USED"),
    ]);
    for model in models {
        let id = match (model.complete, &model.problem) {
            (false, _) => format!("{} (incomplete)", model.id),
            (true, Some(_)) => format!("{} (unreadable)", model.id),
            (true, None) => model.id.clone(),
        };
        table.row([
            id,
            format::bytes(model.size_bytes),
            or_none(parameters(&model.facts), |text| text),
            or_none(quantization(&model.facts), |text| text),
            or_none(fits(&model.fit), |text| text),
            or_none(Some(abilities(&model.facts)).filter(|text| !text.is_empty()), |text| text),
            or_none(Some(model.used_by.join(", ")).filter(|text| !text.is_empty()), |text| text),
            or_none(model.last_used_ms, |then| format::ago(now_ms, then)),
        ]);
    }
    table
}

fn lines(details: &Details) -> Vec<String> {
    let mut lines = vec![details.id.clone()];
    let mut add = |name: &str, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            lines.push(format!("  {name:<14}{value}"));
        }
    };
    if let Some(local) = &details.local {
        let state = if local.complete { "" } else { ", incomplete" };
        add("here", Some(format!("{} ({}{state})", local.path, format::bytes(local.size_bytes))));
        add("profiles", Some(local.used_by.join(", ")));
        add("problem", local.problem.clone());
        add("kept in", (local.source == "folder").then(|| "a folder of your own".to_owned()));
    }
    let facts = &details.facts;
    let text = |name: &str| facts.get(name).and_then(Value::as_str).map(str::to_owned);
    add("kind", text("kind"));
    add("architecture", text("model_type"));
    add("parameters", parameters(facts));
    add("quantized", quantization(facts));
    add(
        "context",
        known(facts, "context_length")
            .and_then(Value::as_u64)
            .map(|n| format!("{} tokens", format::count(n))),
    );
    add("can", Some(abilities(facts)));
    add(
        "fits",
        fits(&details.fit).map(|fit| match bytes_of(&details.fit, "needed_bytes") {
            Some(needed) => format!(
                "{fit}: {needed} needed, {} allowed",
                or_none(bytes_of(&details.fit, "budget_bytes"), |b| b)
            ),
            None => fit,
        }),
    );
    add(
        "largest fit",
        details
            .fit
            .get("largest_context_tokens")
            .and_then(Value::as_u64)
            .map(|n| format!("{} tokens of context", format::count(n))),
    );
    add("license", known(facts, "license").and_then(Value::as_str).map(str::to_owned));
    if let Some(hub) = &details.hub {
        let gate = if hub.model.gated { ", gated" } else { "" };
        let figures = format!(
            "{} to fetch, {} downloads, {} likes{gate}",
            format::bytes(hub.size_bytes),
            or_none(hub.model.downloads, format::count),
            or_none(hub.model.likes, format::count)
        );
        add("on the hub", Some(figures));
        add("changed", hub.model.last_modified.clone());
    }
    lines
}
