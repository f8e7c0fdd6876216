//! `keys`: API keys and what they may do.

use std::time::Duration;

use clap::{Args, Subcommand};
use http::Method;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Context;
use super::client::encode;
use super::exit::CliError;
use super::format::or_none;
use super::out::Column::Left;
use super::out::Table;
use super::users::end;
use crate::config::parse_duration;

#[derive(Debug, Clone, Subcommand)]
pub enum KeysCommand {
    /// Make a key; its secret is shown this once
    Create(Box<CreateArgs>),
    /// List the keys
    #[command(visible_alias = "list")]
    Ls,
    /// Give a key a new secret; the old one counts for a while longer
    Rotate {
        /// The key's id, or its name where only one has it
        name: String,
        /// How long the old secret counts, such as 1h [default: 24h]
        #[arg(long, value_name = "TIME")]
        grace: Option<String>,
    },
    /// Revoke a key: it stops working at once
    #[command(visible_alias = "rm")]
    Revoke {
        /// The key's id, or its name where only one has it
        name: String,
    },
}

#[derive(Debug, Clone, Args)]
pub struct CreateArgs {
    /// What to call it
    pub name: String,
    /// inference, mcp, tools, admin-read, admin [default: inference]
    #[arg(long, value_name = "SCOPES", value_delimiter = ',')]
    pub scopes: Vec<String>,
    /// Profiles it may name [default: all]
    #[arg(long, value_name = "PROFILES", value_delimiter = ',')]
    pub profiles: Vec<String>,
    /// Tools it may use [default: all]
    #[arg(long, value_name = "TOOLS", value_delimiter = ',')]
    pub tools: Vec<String>,
    /// After how long it expires, such as 90d or 12h [default: never]
    #[arg(long, value_name = "TIME")]
    pub expires: Option<String>,
    /// Requests per minute
    #[arg(long, value_name = "N")]
    pub rpm: Option<u32>,
    /// Tokens per minute
    #[arg(long, value_name = "N")]
    pub tpm: Option<u64>,
    /// Requests under way at one time
    #[arg(long, value_name = "N")]
    pub parallel: Option<u32>,
    /// Tokens a day (UTC)
    #[arg(long, value_name = "TOKENS")]
    pub day_budget: Option<u64>,
    /// Tokens a month (UTC)
    #[arg(long, value_name = "TOKENS")]
    pub month_budget: Option<u64>,
    /// Who comes first where requests wait, -100 to 100
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub priority: Option<i32>,
    /// The account it belongs to, by id or e-mail address [default: the operator]
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
}

#[derive(Deserialize)]
struct Made {
    id: String,
    key: String,
    name: String,
    old_until: Option<String>,
}

#[derive(Deserialize)]
struct Keys {
    keys: Vec<Key>,
}

#[derive(Deserialize)]
struct Key {
    id: String,
    name: String,
    prefix: String,
    status: String,
    #[serde(default)]
    scopes: Vec<String>,
    profiles: Option<Vec<String>>,
    user_email: Option<String>,
    last_used_at: Option<String>,
}

#[derive(Deserialize)]
struct Users {
    users: Vec<User>,
}

#[derive(Deserialize)]
struct User {
    id: String,
    email: String,
}

pub async fn run(command: KeysCommand, context: &mut Context) -> Result<(), CliError> {
    match command {
        KeysCommand::Create(args) => create(*args, context).await,
        KeysCommand::Ls => list(context).await,
        KeysCommand::Rotate { name, grace } => rotate(&name, grace, context).await,
        KeysCommand::Revoke { name } => {
            let id = find(&name, context).await?;
            end(Method::DELETE, &format!("/api/v1/keys/{}", encode(&id)), &name, "is revoked", context).await
        }
    }
}

async fn create(args: CreateArgs, context: &mut Context) -> Result<(), CliError> {
    let mut body = Map::new();
    body.insert("name".into(), Value::from(args.name));
    for (field, names) in [("scopes", args.scopes), ("profiles", args.profiles), ("tools", args.tools)] {
        if !names.is_empty() {
            body.insert(field.into(), Value::from(names));
        }
    }
    let numbers = [
        ("requests_per_minute", args.rpm.map(u64::from)),
        ("tokens_per_minute", args.tpm),
        ("parallel", args.parallel.map(u64::from)),
        ("tokens_per_day", args.day_budget),
        ("tokens_per_month", args.month_budget),
    ];
    body.extend(numbers.into_iter().filter_map(|(field, number)| Some((field.to_owned(), json!(number?)))));
    if let Some(priority) = args.priority {
        body.insert("priority".into(), json!(priority));
    }
    if let Some(text) = args.expires {
        let at = expiry(&text, context.clock.unix_ms())?;
        body.insert("expires_at".into(), Value::from(at));
    }
    if let Some(user) = args.user {
        body.insert("user".into(), Value::from(user_id(&user, context).await?));
    }
    let body = Value::Object(body);
    let answer = context.client.send::<Made>(Method::POST, "/api/v1/keys", Some(&body), &[]).await?;
    if context.out.json() {
        return context.out.raw_json(&answer.raw);
    }
    context.out.line(&answer.value.key)?;
    let Made { id, name, .. } = answer.value;
    context.out.note(&format!("The key {name} ({id}) works at once. It is shown only here."))
}

async fn rotate(key: &str, grace: Option<String>, context: &mut Context) -> Result<(), CliError> {
    let id = find(key, context).await?;
    let body = grace.map(|grace| json!({"grace": grace}));
    let path = format!("/api/v1/keys/{}/rotate", encode(&id));
    let answer = context.client.send::<Made>(Method::POST, &path, body.as_ref(), &[]).await?;
    if context.out.json() {
        return context.out.raw_json(&answer.raw);
    }
    context.out.line(&answer.value.key)?;
    let until = answer.value.old_until.unwrap_or_default();
    context.out.note(&format!("The old secret of {key} counts until {until}."))
}

async fn list(context: &mut Context) -> Result<(), CliError> {
    let answer = context.client.get::<Keys>("/api/v1/keys").await?;
    if context.out.json() {
        return context.out.raw_json(&answer.raw);
    }
    if answer.value.keys.is_empty() {
        return context.out.note("No keys yet. `mlx-gateway keys create NAME` makes one.");
    }
    let mut table = Table::new([
        Left("NAME"),
        Left("KEY"),
        Left("STATUS"),
        Left("SCOPES"),
        Left("PROFILES"),
        Left("USER"),
        Left("LAST USED"),
        Left("ID"),
    ]);
    for key in answer.value.keys {
        table.row([
            key.name,
            format!("{}…", key.prefix),
            key.status,
            key.scopes.join(" "),
            key.profiles.map_or_else(|| "all".into(), |profiles| profiles.join(" ")),
            or_none(key.user_email, |email| email),
            or_none(key.last_used_at, |at| at),
            key.id,
        ]);
    }
    context.out.table(&table)
}

/// A key's id out of what it was called.
async fn find(name: &str, context: &Context) -> Result<String, CliError> {
    let keys = context.client.get::<Keys>("/api/v1/keys").await?.value.keys;
    if keys.iter().any(|key| key.id == name) {
        return Ok(name.to_owned());
    }
    let (revoked, valid): (Vec<_>, Vec<_>) =
        keys.into_iter().filter(|key| key.name == name).partition(|key| key.status == "revoked");
    match (valid.as_slice(), revoked.as_slice()) {
        ([only], _) => Ok(only.id.clone()),
        ([], []) => Ok(name.to_owned()),
        // The gateway says that it was revoked.
        ([], [.., last]) => Ok(last.id.clone()),
        _ => Err(CliError::Usage(format!("more than one key is called {name}; give its id"))),
    }
}

async fn user_id(name: &str, context: &Context) -> Result<String, CliError> {
    let users = context.client.get::<Users>("/api/v1/users").await?.value.users;
    let found = users.into_iter().find(|user| user.id == name || user.email.eq_ignore_ascii_case(name));
    Ok(found.map_or_else(|| name.to_owned(), |user| user.id))
}

fn expiry(text: &str, now_ms: i64) -> Result<String, CliError> {
    let span = match text.strip_suffix('d').and_then(|days| days.parse::<u64>().ok()) {
        Some(days) => Duration::from_secs(days.saturating_mul(24 * 3600)),
        None => parse_duration(text).map_err(CliError::Usage)?,
    };
    let later = || {
        let now = Timestamp::from_millisecond(now_ms).ok()?;
        now.checked_add(SignedDuration::try_from(span).ok()?).ok()
    };
    later().map(|at| at.to_string()).ok_or_else(|| CliError::Usage(format!("{text} is too long a time")))
}
