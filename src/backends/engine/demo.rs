//! Owns the demo model: made by a script in the engine's environment on first use, so that a
//! profile answers on any machine without a model hub.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Step;
use super::digest::{hex_sha256, short};
use super::env::Vars;
use super::error::{EngineError, io};
use super::tool::{Input, Tool};
use crate::system::private;

const SCRIPT: &str = include_str!("demo_model.py");
const LIMIT: Duration = Duration::from_secs(120);

/// Where the demo model is once it was made.
pub fn folder(models_dir: &Path) -> PathBuf {
    // Another script makes another model.
    let digest = hex_sha256(&[SCRIPT.as_bytes()]);
    models_dir.join(format!("demo-{}", short(&digest)))
}

/// The folder of the demo model, made when it is not there.
pub async fn ensure(
    python: &Path,
    models_dir: &Path,
    env: &Vars,
    report: &(dyn Fn(Step) + Send + Sync),
) -> Result<PathBuf, EngineError> {
    let folder = folder(models_dir);
    if folder.join("config.json").is_file() {
        return Ok(folder);
    }
    report(Step::MakingDemoModel);
    private::create_dir(models_dir).map_err(io("create", models_dir))?;
    let work = private::temp_dir_in(models_dir, ".demo-").map_err(io("create a folder in", models_dir))?;
    let made = work.path().join("model");
    Tool::new(python, env, LIMIT)
        .args(["-I", "-"])
        .args([&made])
        .stdin(Input::Text(SCRIPT))
        .run(&|_| {})
        .await
        .map_err(EngineError::Demo)?;
    match std::fs::rename(&made, &folder) {
        // Another process was faster; its model is the same.
        Err(_) if folder.join("config.json").is_file() => Ok(folder),
        Err(error) => Err(io("create", folder)(error)),
        Ok(()) => Ok(folder),
    }
}
