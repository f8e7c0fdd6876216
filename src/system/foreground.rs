//! A program that takes over the terminal, such as an editor, and is waited for.

use std::io;
use std::path::Path;
use std::process::ExitStatus;

use tokio::process::Command;

/// Runs it with this process's own terminal, environment and folder.
pub async fn run(program: &str, arguments: &[String], file: &Path) -> io::Result<ExitStatus> {
    Command::new(program).args(arguments).arg(file).kill_on_drop(true).status().await
}
