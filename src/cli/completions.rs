//! `completions`: what a shell needs to complete the commands.

use clap::CommandFactory;

use super::args::{Cli, CompletionsArgs};
use super::exit::CliError;
use super::out::Out;

pub fn run(args: &CompletionsArgs, out: &mut Out) -> Result<(), CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "mlx-gateway", &mut script);
    out.text(&String::from_utf8_lossy(&script))
}
