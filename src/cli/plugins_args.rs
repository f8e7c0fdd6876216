//! What may be written behind `plugins`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Clone, Subcommand)]
pub enum PluginsCommand {
    /// List the plugins, their tools and how they stand
    #[command(visible_alias = "list")]
    Ls,
    /// Show all of one plugin: tools, permissions, limits, size, timings
    Info(PluginArgs),
    /// Add a plugin from its folder or its component, or put a new version in place
    Add(AddArgs),
    /// Remove a plugin with its files and grants
    Rm(PluginArgs),
    /// Grant what a plugin asks for, after showing it
    Grant(GrantArgs),
    /// Call a tool
    Call(CallArgs),
    /// Write a new plugin that builds and passes its test as it is
    New(NewArgs),
}

#[derive(Debug, Clone, Args)]
pub struct PluginArgs {
    /// The plugin
    pub name: String,
}

#[derive(Debug, Clone, Args)]
pub struct AddArgs {
    /// A folder with a plugin.toml, or a component (.wasm)
    pub path: PathBuf,
    /// Grant what it asks for without asking
    #[arg(long)]
    pub yes: bool,
}

#[derive(Debug, Clone, Args)]
pub struct GrantArgs {
    /// The plugin
    pub name: String,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}

#[derive(Debug, Clone, Args)]
pub struct CallArgs {
    /// The tool
    pub tool: String,
    /// Its arguments, a JSON object
    #[arg(default_value = "{}")]
    pub arguments: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Language {
    Rust,
    #[value(alias = "js")]
    Javascript,
    #[value(alias = "py")]
    Python,
}

#[derive(Debug, Clone, Args)]
pub struct NewArgs {
    /// The plugin's name, and that of the folder
    pub name: String,
    /// Where the folder is made
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub path: PathBuf,
    /// What it is written in
    #[arg(long, value_enum, default_value_t = Language::Rust)]
    pub language: Language,
}
