//! Owns the fetching of a Hub model with the engine's own hub library, before a server is started:
//! only then is it known what kind of model it is, and loading takes no longer than loading.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use serde::Deserialize;

use super::Step;
use super::env::Vars;
use super::error::EngineError;
use super::tool::{Input, Tool, ToolError};

const SCRIPT: &str = include_str!("fetch_model.py");
/// The largest models have hundreds of gigabytes.
const LIMIT: Duration = Duration::from_secs(24 * 60 * 60);

/// A line of the script.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Line {
    Progress { done_bytes: u64, total_bytes: u64 },
    Done { path: PathBuf },
    Failed { error: String },
}

/// Fetches what is missing of a model into the Hugging Face cache; gives back the snapshot. What
/// was fetched before an interruption is kept.
pub async fn fetch(
    python: &Path,
    id: &str,
    hub_cache: &Path,
    env: &Vars,
    report: &(dyn Fn(Step) + Send + Sync),
) -> Result<PathBuf, EngineError> {
    let end = Mutex::new(None);
    let failed = |reason: String| EngineError::Download { model: id.to_owned(), reason };
    let on_line = |line: &str| match serde_json::from_str(line) {
        Ok(Line::Progress { done_bytes, total_bytes }) => {
            report(Step::Downloading { model: id.to_owned(), done_bytes, total_bytes });
        }
        Ok(last) => {
            if let Ok(mut end) = end.lock() {
                *end = Some(last);
            }
        }
        Err(_) => tracing::debug!(model = id, line, "The hub library said something."),
    };
    report(Step::Downloading { model: id.to_owned(), done_bytes: 0, total_bytes: 0 });
    let ran = Tool::new(python, env, LIMIT)
        .args(["-I", "-", id])
        .args([hub_cache])
        .stdin(Input::Text(SCRIPT))
        .run(&on_line)
        .await;
    match (ran, end.into_inner().ok().flatten()) {
        (Ok(_), Some(Line::Done { path })) => Ok(path),
        (_, Some(Line::Failed { error })) => Err(failed(error)),
        (Ok(_), _) => Err(failed("the hub library said nothing".to_owned())),
        (Err(ToolError::Failed { tail, .. }), _) => Err(failed(tail.join(" | "))),
        (Err(error), _) => Err(failed(error.to_string())),
    }
}
