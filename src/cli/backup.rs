//! `backup`, `restore`: all that a gateway knows, in one file and back.

use std::io::Write;
use std::path::{Path, PathBuf};

use http::Method;
use http_body_util::BodyExt;
use serde_json::json;

use super::args::{BackupArgs, Global, RestoreArgs};
use super::client::cut_off;
use super::connect::Host;
use super::exit::CliError;
use super::{Context, Out, format};
use crate::backup;
use crate::system::private;
use crate::usage::rfc3339;

/// Writes beside the file first: a backup that broke off never has its name.
pub async fn backup(args: &BackupArgs, context: &mut Context) -> Result<(), CliError> {
    if args.file.exists() && !args.force {
        let words = format!("{} is there already; --force writes over it", args.file.display());
        return Err(CliError::Conflict(words));
    }
    let part = part(&args.file);
    let written = fetch(&part, context).await;
    let named = written.and_then(|bytes| {
        std::fs::rename(&part, &args.file).map_err(|error| unwritable(&args.file, &error))?;
        Ok(bytes)
    });
    if named.is_err() && part.exists() {
        std::fs::remove_file(&part).map_err(|error| unwritable(&part, &error))?;
    }
    let bytes = named?;
    let left_out = left_out(&args.file)?;
    if context.out.json() {
        let made = json!({"file": args.file, "bytes": bytes, "left_out": left_out});
        return context.out.raw_json(made.to_string().as_bytes());
    }
    for name in &left_out {
        context.out.line(&format!("left out {name}: only regular files and folders are backed up"))?;
    }
    let size = format::bytes(bytes);
    context.out.line(&format!("{} holds everything ({size}); it has secrets in it", args.file.display()))
}

/// Names of what the plugin directory holds and the backup does not.
fn left_out(file: &Path) -> Result<Vec<String>, CliError> {
    let manifest = backup::read_manifest(file);
    manifest.map(|manifest| manifest.left_out).map_err(|error| CliError::Failed(error.to_string()))
}

async fn fetch(part: &Path, context: &Context) -> Result<u64, CliError> {
    let mut body = context.client.open(Method::GET, "/api/v1/backup", None).await?;
    let mut file = private::create(part).map_err(|error| unwritable(part, &error))?;
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|error| cut_off(&error))?.into_data() else { continue };
        bytes += data.len() as u64;
        file.write_all(&data).map_err(|error| unwritable(part, &error))?;
    }
    file.sync_all().map_err(|error| unwritable(part, &error))?;
    Ok(bytes)
}

/// Puts a backup in place, and says what was there before.
pub fn restore(args: &RestoreArgs, global: &Global, host: &impl Host, out: &mut Out) -> Result<(), CliError> {
    if global.server.is_some() {
        return Err(CliError::Usage(
            "a backup is restored on the machine it is for, without --server".into(),
        ));
    }
    let restored = host.restore(&args.file)?;
    if out.json() {
        return out.raw_json(json!(restored).to_string().as_bytes());
    }
    let made = rfc3339(restored.made_at_ms);
    out.line(&format!("restored what version {} wrote at {made}:", restored.version))?;
    for file in &restored.files {
        out.line(&format!("  {file}"))?;
    }
    if let Some(config) = &restored.config_beside {
        let why = if restored.config_in_use {
            "the configuration in use was left alone"
        } else {
            "no configuration file is in use here"
        };
        out.line(&format!("{why}; the one of the backup is {}", config.display()))?;
    }
    for name in &restored.left_out {
        out.line(&format!("{name} is not in the backup: only regular files and folders are"))?;
    }
    match &restored.kept {
        Some(kept) => out.line(&format!("what was there before lies in {}", kept.display())),
        None => Ok(()),
    }
}

fn part(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".part");
    PathBuf::from(name)
}

fn unwritable(path: &Path, error: &std::io::Error) -> CliError {
    CliError::Failed(format!("{} cannot be written: {error}", path.display()))
}
