//! The command line. Owns which command runs, over which road it reaches a gateway, and with which
//! code it ends. Each command is one file and speaks to the admin API only, whoever answers it: a
//! running gateway over its socket, another over HTTP, or this process over the data directory.

mod api;
mod args;
mod client;
mod engine;
mod exit;
mod format;
mod input;
mod logs;
mod out;
mod period;
mod ps;
mod requests;
mod run;
mod start;
mod status;
mod transport;
mod usage;

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser};
use http::HeaderValue;
use jiff::tz::TimeZone;

use crate::system::clock::{Clock, SystemClock};

pub use args::{ClientCommand, Global, LogFormat, ServeArgs};
pub use exit::{CliError, Exit};
pub use out::Out;
pub use transport::{Body, InProcess, Transport, in_process};

use args::{Cli, Command, RequestsCommand};
use client::Client;
use input::Input;
use transport::Base;

/// The socket's name in the data directory.
pub const SOCKET_NAME: &str = "gateway.sock";
/// Where a key may stand when it is not given as a flag, first one first.
const KEY_VARIABLES: [&str; 2] = ["MLX_GATEWAY_API_KEY", "MLX_MANAGER_API_KEY"];

/// A command line that was understood.
#[derive(Debug, Clone)]
pub struct Invocation {
    pub global: Global,
    pub task: Task,
}

/// Who does it: the first two are the caller's, the rest is [`run`]'s.
#[derive(Debug, Clone)]
pub enum Task {
    Serve(ServeArgs),
    Check,
    Client(ClientCommand),
}

/// What the commands need of the program around them.
pub trait Host: Sync {
    /// The data directory that the flags, the environment and the file lead to. Only asked where
    /// no `--server` is given.
    fn data_dir(&self) -> Result<PathBuf, CliError>;

    /// Takes the data directory's lock, opens the store, and gives the admin API's routes (see
    /// [`in_process`]), for commands that make sense while no gateway runs.
    fn offline(&self) -> impl Future<Output = Result<Transport, CliError>> + Send;
}

/// This process's ends, or a test's.
struct Console {
    out: Out,
    input: Input,
    clock: Box<dyn Clock>,
    /// In which times are shown.
    zone: TimeZone,
}

/// What every command is given.
struct Context {
    client: Client,
    out: Out,
    input: Input,
    clock: Box<dyn Clock>,
    zone: TimeZone,
}

impl Console {
    fn with(self, client: Client) -> Context {
        let Console {
            out,
            input,
            clock,
            zone,
        } = self;
        Context {
            client,
            out,
            input,
            clock,
            zone,
        }
    }
}

/// Reads the command line (program name first). What it cannot be, and help, is printed at once; the
/// process then ends with the code given.
pub fn parse<I, T>(arguments: I, out: &mut Out) -> Result<Invocation, Exit>
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    understand(arguments).map_err(|complaint| {
        let exit = if complaint.use_stderr() {
            Exit::Usage
        } else {
            Exit::Ok
        };
        match out.usage(&complaint.render(), complaint.use_stderr()) {
            Ok(()) => exit,
            Err(error) => error.exit(),
        }
    })
}

/// Runs a command to its end and says what went wrong.
pub async fn run(command: ClientCommand, global: &Global, host: &impl Host) -> Exit {
    let console = Console {
        out: Out::standard(global.json),
        input: Input::standard(),
        clock: Box::new(SystemClock),
        zone: TimeZone::system(),
    };
    execute(command, global, host, console).await
}

async fn execute(
    command: ClientCommand,
    global: &Global,
    host: &impl Host,
    mut console: Console,
) -> Exit {
    match or_interrupted(connect(&command, global, host)).await {
        Ok(client) => {
            let mut context = console.with(client);
            let result = perform(command, &mut context).await;
            conclude(result, &mut context.out)
        }
        Err(error) => conclude(Err(error), &mut console.out),
    }
}

/// Prints the error, if there is one that needs words.
fn conclude(result: Result<(), CliError>, out: &mut Out) -> Exit {
    let told = match &result {
        Err(error) if error.worth_telling() => out.error(error),
        _ => out.wipe(),
    };
    match (result, told) {
        (Err(error), _) | (Ok(()), Err(error)) => error.exit(),
        (Ok(()), Ok(())) => Exit::Ok,
    }
}

async fn perform(command: ClientCommand, context: &mut Context) -> Result<(), CliError> {
    match command {
        // Ctrl-C ends an answer there, not always the conversation.
        ClientCommand::Run(args) => run::run(args, context).await,
        other => or_interrupted(dispatch(other, context)).await,
    }
}

async fn dispatch(command: ClientCommand, context: &mut Context) -> Result<(), CliError> {
    match command {
        ClientCommand::Status => status::run(context).await,
        ClientCommand::Ps => ps::run(context).await,
        ClientCommand::Start(args) => start::start(&args, context).await,
        ClientCommand::Stop(args) => start::stop(&args, context).await,
        ClientCommand::Restart(args) => start::restart(&args, context).await,
        ClientCommand::Logs(args) => logs::run(&args, context).await,
        ClientCommand::Run(args) => run::run(args, context).await,
        ClientCommand::Usage(args) => usage::run(&args, context).await,
        ClientCommand::Requests(args) => requests::run(args, context).await,
        ClientCommand::Engine(command) => engine::run(command, context).await,
    }
}

/// Gives up at Ctrl-C.
async fn or_interrupted<T>(work: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
    tokio::select! {
        result = work => result,
        _ = tokio::signal::ctrl_c() => Err(CliError::Interrupted),
    }
}

async fn connect(
    command: &ClientCommand,
    global: &Global,
    host: &impl Host,
) -> Result<Client, CliError> {
    if let Some(server) = &global.server {
        let base = Base::parse(server).map_err(CliError::Usage)?;
        let key = key(global.key.clone(), |name| std::env::var(name).ok());
        let key = key.as_deref().map(bearer).transpose()?;
        return Ok(Client::new(Transport::Http { base, key }));
    }
    if global.key.is_some() {
        return Err(CliError::Usage(
            "--key goes with --server; this machine's own gateway needs none".into(),
        ));
    }
    let data_dir = host.data_dir()?;
    let socket = data_dir.join(SOCKET_NAME);
    match transport::knock(&socket).await {
        Ok(()) => Ok(Client::new(Transport::Socket(socket))),
        Err(transport::TransportError::Absent { .. }) if works_offline(command) => {
            Ok(Client::new(host.offline().await?))
        }
        Err(transport::TransportError::Absent { .. }) => {
            Err(CliError::Unreachable(absence(&data_dir, global)))
        }
        Err(error) => Err(error.into()),
    }
}

/// Says that no gateway runs, and how one would.
fn absence(data_dir: &Path, global: &Global) -> String {
    let mut start = String::from("mlx-gateway");
    if let Some(file) = &global.config {
        start.push_str(&format!(" --config {}", file.display()));
    }
    if let Some(dir) = &global.data_dir {
        start.push_str(&format!(" --data-dir {}", dir.display()));
    }
    format!(
        "no gateway is running over {}; start one with `{start}`, or name one with --server URL",
        data_dir.display()
    )
}

/// What is in the data directory can be read without a gateway; what runs cannot.
fn works_offline(command: &ClientCommand) -> bool {
    match command {
        ClientCommand::Usage(_) | ClientCommand::Engine(_) => true,
        ClientCommand::Requests(args) => {
            !matches!(args.command, Some(RequestsCommand::Cancel { .. }))
        }
        _ => false,
    }
}

fn key(flag: Option<String>, variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    let variables = KEY_VARIABLES.iter().filter_map(|name| variable(name));
    flag.into_iter()
        .chain(variables)
        .find(|key| !key.is_empty())
}

fn bearer(key: &str) -> Result<HeaderValue, CliError> {
    let mut value = HeaderValue::from_str(&format!("Bearer {key}")).map_err(|_| {
        CliError::Usage("the key holds characters that no key has, a line break perhaps".into())
    })?;
    value.set_sensitive(true);
    Ok(value)
}

fn understand<I, T>(arguments: I) -> Result<Invocation, clap::Error>
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    let Cli {
        global,
        serve,
        command,
    } = Cli::try_parse_from(arguments)?;
    let task = match command {
        None => {
            return Ok(Invocation {
                global,
                task: Task::Serve(serve),
            });
        }
        Some(Command::Serve(after)) => {
            return Ok(Invocation {
                global,
                task: Task::Serve(serve.and(after)),
            });
        }
        Some(Command::Check) => Task::Check,
        Some(Command::Client(command)) => Task::Client(command),
    };
    match serve.first_given() {
        None => Ok(Invocation { global, task }),
        // The parser itself has no words for flags that only the default command understands.
        Some(flag) => {
            let mut complaint =
                clap::Error::new(ErrorKind::UnknownArgument).with_cmd(&Cli::command());
            complaint.insert(ContextKind::InvalidArg, ContextValue::String(flag.into()));
            Err(complaint)
        }
    }
}
