//! Engines: what is installed, and changing that. Work is told step by step, as lines of JSON.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::unfold;
use http::{HeaderValue, header};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::auth::Caller;
use crate::backends::engine::{EngineError, EngineStatus, Engines, Step};
use crate::http::caller::{Admin, AdminReader};
use crate::http::error::ApiError;
use crate::http::extract::{Json, Path};
use crate::http::openapi::ErrorDetail;
use crate::http::state::Shared;
use crate::http::stream;
use crate::logging::InRequest;

/// The engine that is managed.
const MANAGED: &str = "mlx-openai-server";
/// Steps that may wait for a slow reader; what is more is left out, never the end.
const STEPS: usize = 256;

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct EnginesView {
    engines: Vec<EngineView>,
}

/// An engine, for one set of model types.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct EngineView {
    name: &'static str,
    /// Which model types; `-` when it is not managed.
    set: &'static str,
    managed: bool,
    /// unmanaged, not installed, installed or upgradable.
    state: &'static str,
    version: Option<String>,
    /// The installation that new servers are launched from.
    current: Option<String>,
    /// Where a rollback goes.
    previous: Option<String>,
    /// What an installation or upgrade would install.
    latest: Option<String>,
    path: Option<String>,
    /// The program that runs when it is not managed.
    command: Option<Vec<String>>,
}

/// One line of the answer while an engine is changed: a step, or the end.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct EngineStep {
    step: Option<String>,
    done: Option<bool>,
    version: Option<String>,
    error: Option<ErrorDetail>,
}

/// What is asked of an engine.
#[derive(Debug, Clone, Copy)]
enum Work {
    Install,
    Upgrade,
    Rollback,
}

/// List the engines.
#[utoipa::path(get, path = "/engines", tag = "engines", responses((status = 200, body = EnginesView)))]
pub async fn list(
    State(gateway): State<Shared>,
    _caller: AdminReader,
) -> Result<Json<EnginesView>, ApiError> {
    let engines = gateway.engines.list().await;
    let engines =
        engines.map_err(|error| ApiError::internal("the engines could not be looked at", &error))?;
    Ok(Json(EnginesView { engines: engines.iter().map(view).collect() }))
}

/// Install an engine, told step by step.
#[utoipa::path(
    post, path = "/engines/{name}/install", tag = "engines",
    responses((status = 200, description = "A line of JSON for each step", body = EngineStep, content_type = "application/x-ndjson"))
)]
pub async fn install(
    State(gateway): State<Shared>,
    Admin(caller): Admin,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    steps(&gateway, &caller, &name, Work::Install)
}

/// Build the newest known version beside the present one and switch to it, told step by step.
#[utoipa::path(
    post, path = "/engines/{name}/upgrade", tag = "engines",
    responses((status = 200, description = "A line of JSON for each step", body = EngineStep, content_type = "application/x-ndjson"))
)]
pub async fn upgrade(
    State(gateway): State<Shared>,
    Admin(caller): Admin,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    steps(&gateway, &caller, &name, Work::Upgrade)
}

/// Go back to the version before, told step by step.
#[utoipa::path(
    post, path = "/engines/{name}/rollback", tag = "engines",
    responses((status = 200, description = "A line of JSON for each step", body = EngineStep, content_type = "application/x-ndjson"))
)]
pub async fn rollback(
    State(gateway): State<Shared>,
    Admin(caller): Admin,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    steps(&gateway, &caller, &name, Work::Rollback)
}

/// Does the work in a task of its own, so that a client that leaves does not leave it half done.
fn steps(gateway: &Shared, caller: &Caller, name: &str, work: Work) -> Result<Response, ApiError> {
    if name != MANAGED {
        let message = format!("only {MANAGED} is installed by the gateway, not \"{name}\"");
        return Err(ApiError::not_found(message));
    }
    let (sender, receiver) = mpsc::channel::<Value>(STEPS);
    let engines = gateway.engines.clone();
    gateway.tasks.spawn(InRequest::current(async move {
        let told = Arc::new(sender.clone());
        let report = move |step: Step| {
            if told.try_send(json!({"step": step.to_string()})).is_err() {
                tracing::debug!("A step of an installation was not told: nobody reads");
            }
        };
        let last = match perform(&engines, work, &report).await {
            Ok(version) => json!({"done": true, "version": version}),
            Err(error) => {
                tracing::warn!(%error, "An engine could not be changed");
                json!({"error": {"message": error.to_string(), "type": "server_error", "code": "engine_failed", "param": null}})
            }
        };
        if sender.send(last).await.is_err() {
            tracing::debug!("Nobody waited for the end of an installation");
        }
    }));
    let lines = unfold(receiver, |mut receiver| async move {
        let line = receiver.recv().await?;
        Some((Ok::<_, std::convert::Infallible>(Bytes::from(format!("{line}\n"))), receiver))
    });
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"))];
    Ok((kind, stream::body(caller, lines)).into_response())
}

async fn perform(
    engines: &Engines,
    work: Work,
    report: &(dyn Fn(Step) + Send + Sync),
) -> Result<Option<String>, EngineError> {
    Ok(match work {
        Work::Install => engines.install(report).await?.version,
        Work::Upgrade => engines.upgrade(report).await?.into_iter().find_map(|status| status.version),
        Work::Rollback => engines.rollback().await?.into_iter().find_map(|status| status.version),
    })
}

fn view(status: &EngineStatus) -> EngineView {
    EngineView {
        name: status.engine,
        set: status.set,
        managed: status.managed,
        state: match (&status.current, status.managed) {
            (_, false) => "unmanaged",
            (None, _) => "not installed",
            (Some(_), _) if status.is_upgradable() => "upgradable",
            (Some(_), _) => "installed",
        },
        version: status.version.clone(),
        current: status.current.clone(),
        previous: status.previous.clone(),
        latest: status.available.clone(),
        path: status.path.as_ref().map(|path| path.display().to_string()),
        command: status.command.clone(),
    }
}
