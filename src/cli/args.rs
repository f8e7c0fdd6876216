//! What may be written on the command line. Owns names, flags and help texts; knows nothing of what
//! the commands do.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::keys::KeysCommand;
use super::log_level::LogLevelArgs;
use super::models::ModelsCommand;
use super::plugins_args::PluginsCommand;
use super::profiles::ProfilesCommand;
use super::selftest::SelftestArgs;
use super::users::UsersCommand;

/// One OpenAI-compatible endpoint for local MLX models.
///
/// Without a command it serves.
#[derive(Debug, Clone, Parser)]
#[command(name = "mlx-gateway", version, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(flatten)]
    pub serve: ServeArgs,
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What every command understands.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// Configuration file [also: MLX_GATEWAY_CONFIG; default: ./config.toml, then the XDG configuration directory]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where the gateway keeps its data, and the socket on which it answers
    #[arg(long, global = true, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Talk to this gateway instead of the one on this machine, e.g. http://mac.local:10242
    #[arg(long, global = true, value_name = "URL")]
    pub server: Option<String>,
    /// Key for --server [also: MLX_GATEWAY_API_KEY]
    #[arg(long, global = true, value_name = "KEY")]
    pub key: Option<String>,
    /// Print JSON (one object per line where a command streams)
    #[arg(long, global = true)]
    pub json: bool,
}

/// What only serving understands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Options of serve")]
pub struct ServeArgs {
    /// Address to listen on; may be given more than once
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Vec<String>,
    /// Accept an address that others can reach although nobody has to show a key
    #[arg(long)]
    pub insecure: bool,
    /// error, warn, info, debug, trace, or a filter such as info,mlx_gateway::backends=debug
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// How log lines are written
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    /// Write the log to this file, begun anew when it is full, instead of standard error
    #[arg(long, value_name = "FILE")]
    pub log_file: Option<PathBuf>,
}

impl ServeArgs {
    /// With what was given after the word `serve`, which counts more than what was given before it.
    pub fn and(mut self, after: ServeArgs) -> ServeArgs {
        self.listen.extend(after.listen);
        ServeArgs {
            listen: self.listen,
            insecure: self.insecure || after.insecure,
            log_level: after.log_level.or(self.log_level),
            log_format: after.log_format.or(self.log_format),
            log_file: after.log_file.or(self.log_file),
        }
    }

    /// The name of one flag that was given, if any was.
    pub fn first_given(&self) -> Option<&'static str> {
        [
            ("--listen", !self.listen.is_empty()),
            ("--insecure", self.insecure),
            ("--log-level", self.log_level.is_some()),
            ("--log-format", self.log_format.is_some()),
            ("--log-file", self.log_file.is_some()),
        ]
        .into_iter()
        .find_map(|(flag, given)| given.then_some(flag))
    }
}

/// How lines of the log are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// What comes first on the command line.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Serve (the default)
    Serve(ServeArgs),
    /// Check the configuration and say everything that is wrong with it
    Check,
    #[command(flatten)]
    Client(ClientCommand),
}

/// Commands that ask a gateway.
#[derive(Debug, Clone, Subcommand)]
pub enum ClientCommand {
    /// Show how the gateway stands
    Status,
    /// Look at everything the gateway needs, and say how to mend what is wrong
    Doctor,
    /// Start the gateway with the machine
    #[command(subcommand)]
    Service(ServiceCommand),
    /// List the backends and what they do
    Ps,
    /// Watch the machine and the backends
    Top,
    /// Start a profile's backend
    Start(StartArgs),
    /// Stop a profile's backend
    Stop(StopArgs),
    /// Stop a profile's backend and start it again
    Restart(StartArgs),
    /// Show what backends have written, of one profile or of all
    Logs(LogsArgs),
    /// Show or change what the gateway itself logs, until its next start
    LogLevel(LogLevelArgs),
    /// Ask a profile something, or talk to it
    Run(RunArgs),
    /// Show tokens, requests and speed
    Usage(UsageArgs),
    /// List requests, show one, or end one
    Requests(RequestsArgs),
    /// List, make and change profiles
    #[command(subcommand)]
    Profiles(ProfilesCommand),
    /// List, install and change the engines that run models
    #[command(subcommand)]
    Engine(EngineCommand),
    /// API keys: make, list, rotate, revoke
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Accounts: list, approve, disable and the like
    #[command(subcommand)]
    Users(UsersCommand),
    /// List, add, grant, call and write plugins
    #[command(subcommand)]
    Plugins(PluginsCommand),
    /// Find, fetch, list and remove models
    #[command(subcommand)]
    Models(ModelsCommand),
    /// Ask a profile for some minutes, and compare what is measured in different ways
    Selftest(SelftestArgs),
    /// Write everything that the gateway knows into one file, while it runs
    Backup(BackupArgs),
    /// Put what a backup holds in place, while no gateway runs
    Restore(RestoreArgs),
    /// Turn the profiles of another program into profiles for config.toml
    Import(ImportArgs),
    /// Print the completions of a shell, e.g. `mlx-gateway completions zsh > ~/.zfunc/_mlx-gateway`
    Completions(CompletionsArgs),
}

#[derive(Debug, Clone, Args)]
pub struct BackupArgs {
    /// Where the backup goes; it holds secrets, and only its owner may read it
    pub file: PathBuf,
    /// Write over a file that is there
    #[arg(long)]
    pub force: bool,
}

#[derive(Debug, Clone, Args)]
pub struct RestoreArgs {
    /// The backup
    pub file: PathBuf,
}

#[derive(Debug, Clone, Args)]
pub struct ImportArgs {
    /// The database of MLX Model Manager, or the YAML file of llama-swap
    pub source: PathBuf,
}

#[derive(Debug, Clone, Args)]
pub struct CompletionsArgs {
    /// The shell
    pub shell: clap_complete::Shell,
}

#[derive(Debug, Clone, Subcommand)]
pub enum ServiceCommand {
    /// Write the supervisor's file and start the gateway
    Install(ServiceArgs),
    /// Stop it and remove the file
    Uninstall(ServiceArgs),
    /// Show whether it is installed and runs
    Status(ServiceArgs),
}

#[derive(Debug, Clone, Args)]
pub struct ServiceArgs {
    /// For the whole machine, before anybody logs in (macOS; needs sudo)
    #[arg(long)]
    pub system: bool,
    /// Show what would be written, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Clone, Args)]
pub struct StopArgs {
    /// The profile
    pub profile: String,
    /// Do not wait for the requests it is serving
    #[arg(long)]
    pub now: bool,
}

#[derive(Debug, Clone, Args)]
pub struct StartArgs {
    /// The profile
    pub profile: String,
    /// Return at once instead of waiting until it answers
    #[arg(long)]
    pub no_wait: bool,
}

#[derive(Debug, Clone, Args)]
pub struct LogsArgs {
    /// The profile [default: all]
    pub profile: Option<String>,
    /// Go on with what is written from now on
    #[arg(short, long)]
    pub follow: bool,
    /// How many of the last lines to show
    #[arg(short = 'n', long, value_name = "LINES", default_value_t = 100)]
    pub lines: u32,
}

#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// The profile, or one of its aliases
    pub profile: String,
    /// What to ask; `-` or a pipe reads it from standard input, a terminal opens a conversation
    pub prompt: Vec<String>,
    /// System prompt
    #[arg(long, value_name = "TEXT")]
    pub system: Option<String>,
    /// Longest answer, in tokens
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_tokens: Option<u32>,
}

#[derive(Debug, Clone, Args)]
pub struct UsageArgs {
    /// What to group by
    #[arg(long, value_enum, default_value_t = GroupBy::Day)]
    pub by: GroupBy,
    /// From when: 7d, 12h, 2w, today, yesterday, a date or an instant [default: as far back as records go]
    #[arg(long, value_name = "WHEN")]
    pub since: Option<String>,
    /// Until when, a named day included
    #[arg(long, value_name = "WHEN")]
    pub until: Option<String>,
    /// Time zone in which days begin [default: this machine's]
    #[arg(long, value_name = "ZONE")]
    pub tz: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum GroupBy {
    Day,
    Key,
    User,
    Profile,
    Model,
}

impl GroupBy {
    /// As the admin API calls it.
    pub fn name(self) -> &'static str {
        match self {
            GroupBy::Day => "day",
            GroupBy::Key => "key",
            GroupBy::User => "user",
            GroupBy::Profile => "profile",
            GroupBy::Model => "model",
        }
    }
}

#[derive(Debug, Clone, Args)]
pub struct RequestsArgs {
    #[command(flatten)]
    pub filter: RequestsFilter,
    #[command(subcommand)]
    pub command: Option<RequestsCommand>,
}

#[derive(Debug, Clone, Args)]
pub struct RequestsFilter {
    /// How many, newest first
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub limit: u32,
    /// Only those that stand or ended so
    #[arg(long, value_enum)]
    pub status: Option<RequestStatus>,
}

#[derive(Debug, Clone, Subcommand)]
pub enum RequestsCommand {
    /// List requests (the default)
    #[command(visible_alias = "list")]
    Ls(RequestsFilter),
    /// Show all that is kept of one request
    Show { id: String },
    /// End a running request
    Cancel { id: String },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RequestStatus {
    Running,
    Completed,
    Failed,
    Refused,
    Cancelled,
    Interrupted,
}

impl RequestStatus {
    /// As the admin API calls it.
    pub fn name(self) -> &'static str {
        match self {
            RequestStatus::Running => "running",
            RequestStatus::Completed => "completed",
            RequestStatus::Failed => "failed",
            RequestStatus::Refused => "refused",
            RequestStatus::Cancelled => "cancelled",
            RequestStatus::Interrupted => "interrupted",
        }
    }
}

/// The engine that is meant when none is named.
pub const DEFAULT_ENGINE: &str = "mlx-openai-server";

#[derive(Debug, Clone, Subcommand)]
pub enum EngineCommand {
    /// List the engines and their versions
    #[command(visible_alias = "list")]
    Ls,
    /// Install an engine now instead of on first need
    Install(EngineArgs),
    /// Build the newest known version beside the present one, try it, and switch to it
    Upgrade(EngineArgs),
    /// Go back to the version before
    Rollback(EngineArgs),
}

#[derive(Debug, Clone, Args)]
pub struct EngineArgs {
    /// The engine
    #[arg(default_value = DEFAULT_ENGINE)]
    pub name: String,
}
