//! `import`: profiles out of another program's configuration. Reads that program's file and asks no
//! gateway; what comes out is TOML for config.toml, with what could not be taken over as comments.

mod llama_swap;
mod model_manager;
mod shell;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::args::ImportArgs;
use super::exit::CliError;
use super::out::Out;
use crate::config::to_toml;

/// The first bytes of every SQLite file.
const SQLITE: &[u8] = b"SQLite format 3\0";
/// Bytes of a configuration; a longer file is none.
const TEXT_MAX: u64 = 4 << 20;

/// A profile as it would stand in config.toml, and what of the original it leaves out.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Imported {
    pub settings: Map<String, Value>,
    pub left_out: Vec<String>,
}

/// What a source came to: its profiles, and what concerns the whole of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Found {
    /// The program that wrote the source.
    pub program: &'static str,
    pub profiles: Vec<Imported>,
    pub left_out: Vec<String>,
}

impl Imported {
    /// A profile of that name, with nothing else set.
    pub fn new(name: &str) -> Imported {
        let mut imported = Imported::default();
        imported.set("name", name);
        imported
    }

    /// Sets a key of the profile, as config.toml would.
    pub fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.settings.insert(key.to_owned(), value.into());
    }

    /// Notes something of the original that has no counterpart here.
    pub fn leave_out(&mut self, what: impl Into<String>) {
        self.left_out.push(what.into());
    }
}

/// `mlx-gateway import SOURCE`: prints the configuration, and what was left out as a comment.
pub fn run(args: &ImportArgs, out: &mut Out) -> Result<(), CliError> {
    let found = read(&args.source)?;
    if out.json() {
        let profiles: Vec<Value> = found
            .profiles
            .iter()
            .map(|profile| json!({"settings": profile.settings, "left_out": profile.left_out}))
            .collect();
        let all = json!({"program": found.program, "profiles": profiles, "left_out": found.left_out});
        return out.raw_json(all.to_string().as_bytes());
    }
    out.text(&text(&found)?)?;
    out.note(&format!(
        "{} profiles of {}; append them to config.toml, and look at the comments",
        found.profiles.len(),
        found.program
    ))
}

#[expect(
    clippy::disallowed_methods,
    reason = "an argument of the command line may be a pipe; at most TEXT_MAX is read"
)]
fn read(source: &Path) -> Result<Found, CliError> {
    let failed = |reason: String| CliError::Failed(format!("{}: {reason}", source.display()));
    let mut start = Vec::new();
    let file = File::open(source).map_err(|error| failed(error.to_string()))?;
    let taken = (&file).take(SQLITE.len() as u64).read_to_end(&mut start);
    taken.map_err(|error| failed(error.to_string()))?;
    if start == SQLITE {
        return model_manager::read(source).map_err(failed);
    }
    let mut rest = Vec::new();
    file.take(TEXT_MAX).read_to_end(&mut rest).map_err(|error| failed(error.to_string()))?;
    start.extend_from_slice(&rest);
    let text = String::from_utf8(start).map_err(|_| failed(UNKNOWN.to_owned()))?;
    llama_swap::read(&text, |name| std::env::var(name).ok()).map_err(failed)
}

/// A configuration of llama-swap as profiles of config.toml; `variable` gives what `${env.NAME}` stands for.
pub fn of_llama_swap(yaml: &str, variable: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let found = llama_swap::read(yaml, variable)?;
    text(&found).map_err(|error| error.to_string())
}

const UNKNOWN: &str = "this is neither the database of MLX Model Manager nor a configuration of llama-swap";

fn text(found: &Found) -> Result<String, CliError> {
    let mut text = format!("# From {}.\n", found.program);
    for what in &found.left_out {
        text += &format!("# Not taken over: {}\n", one_line(what));
    }
    for profile in &found.profiles {
        text.push('\n');
        for what in &profile.left_out {
            text += &format!("# Not taken over: {}\n", one_line(what));
        }
        text += &to_toml(&profile.settings).map_err(|error| CliError::Failed(error.to_string()))?;
    }
    Ok(text)
}

/// A comment ends with its line.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
