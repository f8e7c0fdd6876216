//! The command line. Owns which command runs, over which road it reaches a gateway, and with which
//! code it ends. Each command is one file and speaks to the admin API only, whoever answers it: a
//! running gateway over its socket, another over HTTP, or this process over the data directory.

mod api;
mod args;
mod backup;
mod client;
mod completions;
mod connect;
mod doctor;
mod editor;
mod engine;
mod exit;
mod format;
pub mod import;
mod input;
mod interrupt;
mod keys;
mod log_level;
mod logs;
mod models;
mod out;
mod period;
mod plugins;
mod plugins_args;
mod plugins_new;
mod profiles;
mod ps;
mod requests;
mod run;
mod selftest;
mod service;
mod start;
mod status;
mod top;
mod transport;
mod usage;
mod users;

#[cfg(test)]
mod tests;

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use jiff::tz::TimeZone;

use crate::system::clock::{Clock, SystemClock};

pub use args::{ClientCommand, Global, LogFormat, ServeArgs};
pub use connect::{Host, SOCKET_NAME};
pub use exit::{CliError, Exit};
pub use out::Out;
pub use run::Comments;
pub use transport::{Body, InProcess, Transport, in_process};

use args::{Cli, Command};
use client::Client;
use connect::connect;
use input::Input;
use interrupt::Interrupt;
use plugins_args::PluginsCommand;

/// A command line that was understood.
#[derive(Debug, Clone)]
pub struct Invocation {
    pub global: Global,
    pub task: Task,
}

/// Who does it: the first two are the caller's, the rest is [`run()`]'s.
#[derive(Debug, Clone)]
pub enum Task {
    Serve(ServeArgs),
    Check,
    Client(ClientCommand),
}

/// This process's ends, or a test's.
struct Console {
    out: Out,
    input: Input,
    clock: Box<dyn Clock>,
    /// In which times are shown.
    zone: TimeZone,
    interrupt: Interrupt,
}

/// What every command is given.
struct Context {
    client: Client,
    out: Out,
    input: Input,
    clock: Box<dyn Clock>,
    zone: TimeZone,
    interrupt: Interrupt,
}

impl Console {
    fn with(self, client: Client) -> Context {
        let Console { out, input, clock, zone, interrupt } = self;
        Context { client, out, input, clock, zone, interrupt }
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
        let exit = if complaint.use_stderr() { Exit::Usage } else { Exit::Ok };
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
        interrupt: Interrupt::at_ctrl_c(),
    };
    execute(command, global, host, console).await
}

async fn execute(command: ClientCommand, global: &Global, host: &impl Host, mut console: Console) -> Exit {
    if let ClientCommand::Service(command) = &command {
        let result = service::run(command, global, host, &mut console.out);
        return conclude(result, &mut console.out);
    }
    if let ClientCommand::Restore(args) = &command {
        let result = backup::restore(args, global, host, &mut console.out);
        return conclude(result, &mut console.out);
    }
    if let ClientCommand::Import(args) = &command {
        let result = import::run(args, &mut console.out);
        return conclude(result, &mut console.out);
    }
    if let ClientCommand::Completions(args) = &command {
        let result = completions::run(args, &mut console.out);
        return conclude(result, &mut console.out);
    }
    // The one that writes files and asks nobody.
    if let ClientCommand::Plugins(PluginsCommand::New(args)) = &command {
        let result = plugins_new::run(args, &mut console.out);
        return conclude(result, &mut console.out);
    }
    match console.interrupt.or(connect(&command, global, host)).await {
        Ok(transport) => {
            let mut context = console.with(Client::new(transport));
            let result = perform(command, &mut context).await;
            conclude(result, &mut context.out)
        }
        Err(error) => conclude(Err(error), &mut console.out),
    }
}

/// Prints the error, if there is one that needs words.
fn conclude(result: Result<(), CliError>, out: &mut Out) -> Exit {
    let told = out.end_line().and_then(|()| match &result {
        Err(error) if error.worth_telling() => out.error(error),
        _ => Ok(()),
    });
    match (result, told) {
        (Err(error), _) | (Ok(()), Err(error)) => error.exit(),
        (Ok(()), Ok(())) => Exit::Ok,
    }
}

async fn perform(command: ClientCommand, context: &mut Context) -> Result<(), CliError> {
    match command {
        // Ctrl-C ends an answer there, not always the conversation.
        ClientCommand::Run(args) => run::run(args, context).await,
        other => context.interrupt.clone().or(dispatch(other, context)).await,
    }
}

async fn dispatch(command: ClientCommand, context: &mut Context) -> Result<(), CliError> {
    match command {
        ClientCommand::Status => status::run(context).await,
        ClientCommand::Doctor => doctor::run(context).await,
        ClientCommand::Backup(args) => backup::backup(&args, context).await,
        // These ask no gateway: they were done before one was looked for.
        ClientCommand::Service(_)
        | ClientCommand::Restore(_)
        | ClientCommand::Import(_)
        | ClientCommand::Completions(_) => Ok(()),
        ClientCommand::Ps => ps::run(context).await,
        ClientCommand::Top => top::run(context).await,
        ClientCommand::Start(args) => start::start(&args, context).await,
        ClientCommand::Stop(args) => start::stop(&args, context).await,
        ClientCommand::Restart(args) => start::restart(&args, context).await,
        ClientCommand::Logs(args) => logs::run(&args, context).await,
        ClientCommand::LogLevel(args) => log_level::run(args, context).await,
        ClientCommand::Run(args) => run::run(args, context).await,
        ClientCommand::Selftest(args) => selftest::run(args, context).await,
        ClientCommand::Usage(args) => usage::run(&args, context).await,
        ClientCommand::Requests(args) => requests::run(args, context).await,
        ClientCommand::Profiles(command) => profiles::run(command, context).await,
        ClientCommand::Engine(command) => engine::run(command, context).await,
        ClientCommand::Keys(command) => keys::run(command, context).await,
        ClientCommand::Users(command) => users::run(command, context).await,
        ClientCommand::Plugins(command) => plugins::run(command, context).await,
        ClientCommand::Models(command) => models::run(command, context).await,
    }
}

fn understand<I, T>(arguments: I) -> Result<Invocation, clap::Error>
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    let Cli { global, serve, command } = Cli::try_parse_from(arguments)?;
    let task = match command {
        None => Task::Serve(serve),
        Some(Command::Serve(after)) => Task::Serve(serve.and(after)),
        Some(other) => {
            serve_alone(&serve)?;
            match other {
                Command::Client(command) => Task::Client(command),
                _ => Task::Check,
            }
        }
    };
    Ok(Invocation { global, task })
}

/// Refuses flags that would be passed over in silence.
fn serve_alone(serve: &ServeArgs) -> Result<(), clap::Error> {
    let Some(flag) = serve.first_given() else {
        return Ok(());
    };
    let words = format!("{flag} is for serving; no other command understands it");
    Err(Cli::command().error(ErrorKind::ArgumentConflict, words))
}
