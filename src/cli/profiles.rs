//! `profiles`: those of the file are shown, those of the store are made and changed as well.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use http::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Context;
use super::client::{Answer, encode};
use super::editor;
use super::exit::CliError;
use super::format::or_none;
use super::out::Column::Left;
use super::out::Table;

const PROFILES: &str = "/api/v1/profiles";

#[derive(Debug, Clone, Subcommand)]
pub enum ProfilesCommand {
    /// List the profiles
    #[command(visible_alias = "list")]
    Ls,
    /// Show all settings of a profile
    Show { name: String },
    /// Make a profile; what is not said follows from the model
    Create(CreateArgs),
    /// Change settings of a profile; without any, in $EDITOR
    Edit(EditArgs),
    /// Copy a profile; aliases stay with the original
    Cp { from: String, to: String },
    /// Remove a profile
    #[command(visible_alias = "remove")]
    Rm { name: String },
    /// Print a profile as it would stand in config.toml
    Export { name: String },
}

#[derive(Debug, Clone, Args)]
pub struct CreateArgs {
    /// What clients will give as model
    pub name: String,
    /// Hub id or folder
    #[arg(long, value_name = "ID")]
    pub model: String,
    /// A setting as in config.toml, such as context_length=8192 or defaults.temperature=0.5; may be given more than once
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Take the engine's defaults instead of what follows from the model
    #[arg(long)]
    pub plain: bool,
    /// Only check it and show what would be made
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Clone, Args)]
pub struct EditArgs {
    /// The profile
    pub name: String,
    /// A setting as in config.toml, such as keep_alive=1h; may be given more than once
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// A setting to take back to its default; may be given more than once
    #[arg(long, value_name = "KEY")]
    pub unset: Vec<String>,
    /// Read the whole profile as TOML from standard input
    #[arg(long, conflicts_with_all = ["set", "unset"])]
    pub toml: bool,
    /// Only check it and show what would change
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Deserialize)]
struct Profiles {
    profiles: Vec<Profile>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Profile {
    name: String,
    aliases: Vec<String>,
    origin: String,
    shadowed: bool,
    engine: Option<String>,
    model: Option<String>,
    etag: Option<String>,
    settings: BTreeMap<String, Value>,
    command: Option<Vec<String>>,
    command_note: Option<String>,
    restart_required: bool,
    changed: Vec<String>,
    warnings: Vec<String>,
}

pub async fn run(command: ProfilesCommand, context: &mut Context) -> Result<(), CliError> {
    match command {
        ProfilesCommand::Ls => list(context).await,
        ProfilesCommand::Show { name } => show(&name, context).await,
        ProfilesCommand::Create(args) => create(args, context).await,
        ProfilesCommand::Edit(args) => edit(args, context).await,
        ProfilesCommand::Cp { from, to } => {
            let body = json!({"name": to});
            let answer = context.client.send(Method::POST, &path(&from, "/copy"), Some(&body), &[]).await?;
            conclude("is made", answer, context)
        }
        ProfilesCommand::Rm { name } => {
            let answer: Answer<Value> =
                context.client.send(Method::DELETE, &path(&name, ""), None, &[]).await?;
            if context.out.json() {
                return context.out.raw_json(&answer.raw);
            }
            context.out.line(&format!("{name} is removed"))
        }
        ProfilesCommand::Export { name } => export(&name, context).await,
    }
}

async fn list(context: &mut Context) -> Result<(), CliError> {
    let answer = context.client.get::<Profiles>(PROFILES).await?;
    if context.out.json() {
        return context.out.raw_json(&answer.raw);
    }
    if answer.value.profiles.is_empty() {
        return context.out.note("There is no profile; make one with `profiles create NAME --model ID`.");
    }
    let mut table = Table::new([Left("NAME"), Left("MODEL"), Left("ENGINE"), Left("FROM"), Left("ALIASES")]);
    for profile in &answer.value.profiles {
        let from = if profile.shadowed {
            format!("{} (not in force)", profile.origin)
        } else {
            profile.origin.clone()
        };
        table.row([
            profile.name.clone(),
            or_none(profile.model.clone(), |model| model),
            or_none(profile.engine.clone(), |engine| engine),
            from,
            profile.aliases.join(", "),
        ]);
    }
    context.out.table(&table)
}

async fn show(name: &str, context: &mut Context) -> Result<(), CliError> {
    let answer = context.client.get::<Profile>(&path(name, "")).await?;
    if context.out.json() {
        return context.out.raw_json(&answer.raw);
    }
    settings(&answer.value, context)?;
    command(&answer.value, context)
}

async fn create(args: CreateArgs, context: &mut Context) -> Result<(), CliError> {
    let mut body = json!({"name": args.name, "model": absolute(&args.model)?, "suggest": !args.plain});
    apply(&mut body, &args.set)?;
    let path = dry(PROFILES, args.dry_run);
    let answer = context.client.send(Method::POST, &path, Some(&body), &[]).await?;
    conclude(if args.dry_run { "would be made" } else { "is made" }, answer, context)
}

/// Only if nobody has changed it since it was read.
async fn edit(args: EditArgs, context: &mut Context) -> Result<(), CliError> {
    let before = context.client.get::<Profile>(&path(&args.name, "")).await?.value;
    let tag = before.etag.clone().unwrap_or_default();
    if args.toml {
        let text = context.input.take().read_all().await?;
        return change(&args, &tag, &from_toml(&text)?, context).await;
    }
    if args.set.is_empty() && args.unset.is_empty() {
        return edit_as_file(&args, &tag, context).await;
    }
    let mut body = Value::Object(before.settings.into_iter().collect());
    for key in &args.unset {
        unset(&mut body, key);
    }
    apply(&mut body, &args.set)?;
    change(&args, &tag, &body, context).await
}

/// In the user's editor, where there is one.
async fn edit_as_file(args: &EditArgs, tag: &str, context: &mut Context) -> Result<(), CliError> {
    let Some(program) = editor::chosen() else {
        let words = "nothing to change: say --set KEY=VALUE, --unset KEY, or --toml with the profile on standard input; \
                     with $EDITOR set, the profile is opened in it";
        return Err(CliError::Usage(words.into()));
    };
    let text = exported(&args.name, context).await?;
    let edited = editor::edit(&program, &format!("{}.toml", file_name(&args.name)), &text).await?;
    if edited.text == text {
        return context.out.note(&format!("{} is as it was", args.name));
    }
    let changed = match from_toml(&edited.text) {
        Ok(body) => change(args, tag, &body, context).await,
        Err(error) => Err(error),
    };
    if changed.is_err() {
        let kept = edited.keep();
        let kept = kept.display();
        let again = format!("what you wrote is kept: profiles edit {} --toml < {kept}", args.name);
        context.out.note(&again)?;
    }
    changed
}

async fn change(args: &EditArgs, tag: &str, body: &Value, context: &mut Context) -> Result<(), CliError> {
    let headers: &[(&str, &str)] = if tag.is_empty() { &[] } else { &[("if-match", tag)] };
    let path = dry(&path(&args.name, ""), args.dry_run);
    let answer = context.client.send(Method::PUT, &path, Some(body), headers).await?;
    conclude(if args.dry_run { "would be changed" } else { "is changed" }, answer, context)
}

fn from_toml(text: &str) -> Result<Value, CliError> {
    let settings = crate::config::settings_from_toml(text);
    let settings = settings.map_err(|error| CliError::Usage(format!("that is not a profile: {error}")))?;
    Ok(Value::Object(settings))
}

/// A profile's name as that of a file.
fn file_name(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect()
}

async fn exported(name: &str, context: &mut Context) -> Result<String, CliError> {
    let mut lines = context.client.lines(Method::GET, &path(name, "/export")).await?;
    let mut text = String::new();
    while let Some(line) = lines.next().await? {
        text.push_str(&line);
        text.push('\n');
    }
    Ok(text)
}

async fn export(name: &str, context: &mut Context) -> Result<(), CliError> {
    let text = exported(name, context).await?;
    context.out.block(&text)
}

fn conclude(what: &str, answer: Answer<Profile>, context: &mut Context) -> Result<(), CliError> {
    if context.out.json() {
        return context.out.raw_json(&answer.raw);
    }
    let profile = answer.value;
    for warning in &profile.warnings {
        context.out.note(&format!("warning: {warning}"))?;
    }
    let changed =
        if profile.changed.is_empty() { String::new() } else { format!(" ({})", profile.changed.join(", ")) };
    context.out.line(&format!("{} {what}{changed}", profile.name))?;
    if profile.changed.is_empty() {
        settings(&profile, context)?;
        command(&profile, context)?;
    }
    if profile.restart_required {
        context.out.note(&format!(
            "its backend runs with other settings; `restart {}` applies these",
            profile.name
        ))?;
    }
    Ok(())
}

fn settings(profile: &Profile, context: &mut Context) -> Result<(), CliError> {
    for (key, value) in profile.settings.iter().filter(|(key, _)| *key != "name") {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        context.out.line(&format!("  {key} = {value}"))?;
    }
    Ok(())
}

/// What a start would run.
fn command(profile: &Profile, context: &mut Context) -> Result<(), CliError> {
    match (&profile.command, &profile.command_note) {
        (Some(words), _) => context.out.line(&format!("  runs: {}", shell_words(words))),
        (None, Some(note)) => context.out.line(&format!("  runs: nothing yet ({note})")),
        (None, None) => Ok(()),
    }
}

/// As one would type it.
fn shell_words(words: &[String]) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+{}".contains(c);
    let quoted = |word: &String| match !word.is_empty() && word.chars().all(plain) {
        true => word.clone(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    };
    words.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

/// Puts `a.b=value` into the body; the value is TOML, or text where it is none.
fn apply(body: &mut Value, all: &[String]) -> Result<(), CliError> {
    for one in all {
        let Some((key, text)) = one.split_once('=').filter(|(key, _)| !key.trim().is_empty()) else {
            return Err(CliError::Usage(format!("--set {one} is not understood; write --set KEY=VALUE")));
        };
        let value = value(text.trim());
        let mut at = &mut *body;
        for part in key.trim().split('.') {
            if !at.is_object() {
                *at = Value::Object(Map::new());
            }
            at = &mut at[part];
        }
        *at = value;
    }
    Ok(())
}

fn value(text: &str) -> Value {
    let read = crate::config::settings_from_toml(&format!("value = {text}"));
    let value = read.ok().and_then(|mut table| table.remove("value"));
    value.unwrap_or_else(|| Value::from(text))
}

fn unset(body: &mut Value, key: &str) {
    let (table, last) = match key.rsplit_once('.') {
        Some((path, last)) => (body.pointer_mut(&format!("/{}", path.replace('.', "/"))), last),
        None => (Some(body), key),
    };
    if let Some(table) = table.and_then(Value::as_object_mut) {
        table.remove(last);
    }
}

/// A folder is meant as it is seen from here, wherever the gateway runs.
fn absolute(model: &str) -> Result<String, CliError> {
    if !model.starts_with("./") && !model.starts_with("../") {
        return Ok(model.to_owned());
    }
    let found = std::fs::canonicalize(model);
    let found = found.map_err(|error| CliError::Usage(format!("there is no folder {model} ({error})")))?;
    Ok(found.to_string_lossy().into_owned())
}

fn path(name: &str, below: &str) -> String {
    format!("{PROFILES}/{}{below}", encode(name))
}

fn dry(path: &str, dry: bool) -> String {
    if dry { format!("{path}?dry_run=true") } else { path.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_one_would_type_it() {
        let words = ["/opt/my tools/x", "--port", "{port}", "it's", ""].map(String::from);
        assert_eq!(shell_words(&words), "'/opt/my tools/x' --port {port} 'it'\\''s' ''");
    }

    #[test]
    fn settings_are_values_of_toml_or_text() {
        let mut body = json!({"name": "a", "defaults": {"top_p": 1}});
        let set = [
            "context_length=8192",
            "keep_alive=1h",
            "pinned=true",
            "defaults.temperature=0.5",
            "tools=[\"x\"]",
            "description=Short = \"good\"",
        ];
        apply(&mut body, &set.map(String::from)).unwrap();
        assert_eq!(
            body,
            json!({"name": "a", "defaults": {"top_p": 1, "temperature": 0.5}, "context_length": 8192, "keep_alive": "1h",
                "pinned": true, "tools": ["x"], "description": "Short = \"good\""})
        );
        unset(&mut body, "defaults.top_p");
        unset(&mut body, "pinned");
        unset(&mut body, "none.at.all");
        assert_eq!(body["defaults"], json!({"temperature": 0.5}));
        assert!(body.get("pinned").is_none());
        assert!(apply(&mut body, &["oops".into()]).is_err());
    }
}
