//! `models`: what there is on the hub and on this machine; fetching it and throwing it away.

mod library;
mod pull;
mod search;
mod shape;

use clap::{Args, Subcommand, ValueEnum};

use super::Context;
use super::exit::CliError;

#[derive(Debug, Clone, Subcommand)]
pub enum ModelsCommand {
    /// Find models on the hub
    Search(SearchArgs),
    /// Fetch a model from the hub; a fetch that was cut off goes on where it stopped
    Pull(PullArgs),
    /// List the models on this machine
    #[command(visible_alias = "list")]
    Ls(LsArgs),
    /// Show what is known of a model, here or on the hub
    Show(ShowArgs),
    /// Remove a model from this machine
    Rm(RmArgs),
    /// Show how much room models take
    Du,
}

#[derive(Debug, Clone, Args)]
pub struct SearchArgs {
    /// Words in the model's name
    pub words: Vec<String>,
    /// Only models of this owner, e.g. mlx-community
    #[arg(long, value_name = "OWNER")]
    pub author: Option<String>,
    /// What comes first
    #[arg(long, value_enum, default_value_t = SortBy::Downloads)]
    pub sort: SortBy,
    /// How many
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub limit: u32,
    /// Which page of so many
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub page: u32,
    /// Models that were not made for MLX too
    #[arg(long)]
    pub any: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SortBy {
    Downloads,
    Likes,
    Date,
    Trending,
}

#[derive(Debug, Clone, Args)]
pub struct PullArgs {
    /// The model: OWNER/NAME
    pub model: String,
    /// Return at once; the gateway goes on
    #[arg(long)]
    pub no_wait: bool,
}

#[derive(Debug, Clone, Args)]
pub struct LsArgs {
    /// Only models that nobody has used for so many days
    #[arg(long, value_name = "DAYS")]
    pub unused: Option<u32>,
}

#[derive(Debug, Clone, Args)]
pub struct ShowArgs {
    /// The model: OWNER/NAME, or a folder
    pub model: String,
    /// List its files on the hub too
    #[arg(long)]
    pub files: bool,
    /// Without asking the hub
    #[arg(long)]
    pub local: bool,
}

#[derive(Debug, Clone, Args)]
pub struct RmArgs {
    /// The model: OWNER/NAME
    pub model: String,
    /// Also when profiles that do not run name it
    #[arg(long)]
    pub force: bool,
}

pub async fn run(command: ModelsCommand, context: &mut Context) -> Result<(), CliError> {
    match command {
        ModelsCommand::Search(args) => search::run(&args, context).await,
        ModelsCommand::Pull(args) => pull::run(&args, context).await,
        ModelsCommand::Ls(args) => library::list(&args, context).await,
        ModelsCommand::Show(args) => library::show(&args, context).await,
        ModelsCommand::Rm(args) => library::remove(&args, context).await,
        ModelsCommand::Du => library::disk_use(context).await,
    }
}
