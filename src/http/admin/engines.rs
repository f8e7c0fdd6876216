//! Engines: what is installed, and changing that. Work is told step by step, as lines of JSON.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, header};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::backends::engine::{EngineError, EngineStatus, Engines, Step};
use crate::http::caller::{Admin, AdminReader};
use crate::http::error::ApiError;
use crate::http::state::Shared;

/// The engine that is managed.
const MANAGED: &str = "mlx-openai-server";
/// Steps that may wait for a slow reader; what is more is left out, never the end.
const STEPS: usize = 256;

/// What is asked of an engine.
#[derive(Debug, Clone, Copy)]
enum Work {
    Install,
    Upgrade,
    Rollback,
}

/// `GET /api/v1/engines`
pub async fn list(State(gateway): State<Shared>, _caller: AdminReader) -> Json<Value> {
    let engines: Vec<Value> = gateway.engines.list().await.iter().map(view).collect();
    Json(json!({"engines": engines}))
}

/// `POST /api/v1/engines/{name}/install`
pub async fn install(
    State(gateway): State<Shared>,
    _caller: Admin,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    steps(&gateway, &name, Work::Install)
}

/// `POST /api/v1/engines/{name}/upgrade`
pub async fn upgrade(
    State(gateway): State<Shared>,
    _caller: Admin,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    steps(&gateway, &name, Work::Upgrade)
}

/// `POST /api/v1/engines/{name}/rollback`
pub async fn rollback(
    State(gateway): State<Shared>,
    _caller: Admin,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    steps(&gateway, &name, Work::Rollback)
}

/// Does the work in a task of its own, so that a client that leaves does not leave it half done.
fn steps(gateway: &Shared, name: &str, work: Work) -> Result<Response, ApiError> {
    if name != MANAGED {
        let message = format!("only {MANAGED} is installed by the gateway, not \"{name}\"");
        return Err(ApiError::not_found(message));
    }
    let (sender, receiver) = mpsc::channel::<Value>(STEPS);
    let engines = gateway.engines.clone();
    gateway.tasks.spawn(async move {
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
    });
    let lines = stream::unfold(receiver, |mut receiver| async move {
        let line = receiver.recv().await?;
        Some((Ok::<_, std::convert::Infallible>(Bytes::from(format!("{line}\n"))), receiver))
    });
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"))];
    Ok((kind, Body::from_stream(lines)).into_response())
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

fn view(status: &EngineStatus) -> Value {
    let state = match (&status.current, status.managed) {
        (_, false) => "unmanaged",
        (None, _) => "not installed",
        (Some(_), _) if status.is_upgradable() => "upgradable",
        (Some(_), _) => "installed",
    };
    json!({
        "name": status.engine,
        "set": status.set,
        "managed": status.managed,
        "state": state,
        "version": status.version,
        "current": status.current,
        "previous": status.previous,
        "latest": status.available,
        "path": status.path,
        "command": status.command,
    })
}
