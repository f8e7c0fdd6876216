//! `users`: who may come in, also when nobody can log in.

use clap::{Subcommand, ValueEnum};
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Context;
use super::client::encode;
use super::exit::CliError;
use super::format::or_none;
use super::out::Column::Left;
use super::out::Table;

#[derive(Debug, Clone, Subcommand)]
pub enum UsersCommand {
    /// List the accounts
    #[command(visible_alias = "list")]
    Ls,
    /// Let somebody in who waits for approval
    Approve {
        /// E-mail address or id
        user: String,
    },
    /// Turn somebody away who waits for approval
    Reject { user: String },
    /// Shut an account out
    Disable { user: String },
    /// Let a disabled account in again
    Enable { user: String },
    /// Make somebody an administrator, or a user again
    Role { user: String, role: RoleName },
    /// Restrict somebody to some of the gateway's tools
    #[command(group = clap::ArgGroup::new("which").required(true))]
    Tools {
        user: String,
        /// Names of the tools that the account and its keys may use
        #[arg(group = "which")]
        tools: Vec<String>,
        /// All of them, also those that come later
        #[arg(long, group = "which")]
        all: bool,
        /// None at all
        #[arg(long, group = "which")]
        none: bool,
    },
    /// Make a link by which somebody chooses a new password, or set one from standard input
    Passwd {
        user: String,
        /// Read the new password from standard input
        #[arg(long)]
        password_stdin: bool,
    },
    /// Delete an account and revoke its keys
    #[command(visible_alias = "remove")]
    Rm { user: String },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum RoleName {
    Admin,
    User,
}

#[derive(Deserialize)]
struct Users {
    users: Vec<User>,
}

#[derive(Deserialize)]
struct User {
    id: String,
    email: String,
    role: String,
    status: String,
    last_login_at: Option<String>,
    tools: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Link {
    link: Option<String>,
    expires_at: Option<String>,
}

pub async fn run(command: UsersCommand, context: &mut Context) -> Result<(), CliError> {
    match command {
        UsersCommand::Ls => list(context).await,
        UsersCommand::Approve { user } => change(&user, "approve", None, context).await,
        UsersCommand::Reject { user } => {
            let path = format!("/api/v1/users/{}/reject", encode(&user));
            end(Method::POST, &path, &user, "is rejected", context).await
        }
        UsersCommand::Disable { user } => change(&user, "disable", None, context).await,
        UsersCommand::Enable { user } => change(&user, "enable", None, context).await,
        UsersCommand::Role { user, role } => {
            let role = match role {
                RoleName::Admin => "admin",
                RoleName::User => "user",
            };
            change(&user, "role", Some(json!({"role": role})), context).await
        }
        UsersCommand::Tools { user, tools, all, .. } => {
            let tools = (!all).then_some(tools);
            change(&user, "tools", Some(json!({"tools": tools})), context).await
        }
        UsersCommand::Passwd { user, password_stdin } => password(&user, password_stdin, context).await,
        UsersCommand::Rm { user } => {
            let path = format!("/api/v1/users/{}", encode(&user));
            end(Method::DELETE, &path, &user, "is deleted", context).await
        }
    }
}

/// Asks for something to go, and says that it has gone.
pub(super) async fn end(
    method: Method,
    path: &str,
    name: &str,
    done: &str,
    context: &mut Context,
) -> Result<(), CliError> {
    context.client.open(method, path, None).await?;
    if context.out.json() {
        return context.out.raw_json(json!({"id": name, "removed": true}).to_string().as_bytes());
    }
    context.out.line(&format!("{name} {done}"))
}

async fn list(context: &mut Context) -> Result<(), CliError> {
    let answer = context.client.get::<Users>("/api/v1/users").await?;
    if context.out.json() {
        return context.out.raw_json(&answer.raw);
    }
    if answer.value.users.is_empty() {
        return context.out.note("No accounts yet.");
    }
    let mut table = Table::new([
        Left("E-MAIL"),
        Left("ROLE"),
        Left("STATUS"),
        Left("TOOLS"),
        Left("LAST LOGIN"),
        Left("ID"),
    ]);
    for user in answer.value.users {
        let (tools, login) = (tools(user.tools.as_deref()), or_none(user.last_login_at, |at| at));
        table.row([user.email, user.role, user.status, tools, login, user.id]);
    }
    context.out.table(&table)
}

async fn change(user: &str, verb: &str, body: Option<Value>, context: &mut Context) -> Result<(), CliError> {
    let path = format!("/api/v1/users/{}/{verb}", encode(user));
    let answer = context.client.send::<User>(Method::POST, &path, body.as_ref(), &[]).await?;
    if context.out.json() {
        return context.out.raw_json(&answer.raw);
    }
    let User { email, role, status, tools: restricted, .. } = answer.value;
    let restricted = restricted.map(|names| format!(", tools: {}", tools(Some(&names)))).unwrap_or_default();
    context.out.line(&format!("{email} is {status} ({role}){restricted}"))
}

fn tools(names: Option<&[String]>) -> String {
    match names {
        None => "all".to_owned(),
        Some([]) => "none".to_owned(),
        Some(names) => names.join(", "),
    }
}

async fn password(user: &str, from_stdin: bool, context: &mut Context) -> Result<(), CliError> {
    let body = if from_stdin {
        let text = context.input.take().read_all().await?;
        Some(json!({"password": text.trim_end_matches(['\r', '\n'])}))
    } else {
        None
    };
    let path = format!("/api/v1/users/{}/reset-password", encode(user));
    let answer = context.client.send::<Link>(Method::POST, &path, body.as_ref(), &[]).await?;
    if context.out.json() {
        return context.out.raw_json(&answer.raw);
    }
    let Link { link: Some(link), expires_at } = answer.value else {
        return context.out.line(&format!("the password of {user} is set; its sessions have ended"));
    };
    context.out.line(&link)?;
    let until = expires_at.unwrap_or_default();
    context.out.note(&format!("Good for one new password until {until}, behind the address of the gateway."))
}
