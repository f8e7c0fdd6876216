//! Backends: what they do, and starting and stopping them.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;

use super::server::{Server, Servers};
use crate::backends::{AcquireError, LaunchSpec, LogBatch, LogReader};
use crate::http::caller::{Admin, AdminReader};
use crate::http::error::ApiError;
use crate::http::state::Shared;

/// Lines given without a wish.
const LINES: usize = 100;
/// Silence after which a follower hears an empty line's worth of nothing: the check that it is there.
const FOLLOW_CHECK: Duration = Duration::from_secs(15);

/// Figures that are shown are at most that old.
pub const FIGURES_AGE: Duration = Duration::from_millis(900);

/// Which lines of a log.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogQuery {
    lines: Option<usize>,
    #[serde(default)]
    follow: bool,
}

/// Whether to wait for the outcome.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WaitQuery {
    #[serde(default)]
    wait: bool,
}

/// Whether to let the requests inside finish first.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StopQuery {
    #[serde(default)]
    now: bool,
}

/// `GET /api/v1/servers`
pub async fn list(State(gateway): State<Shared>, _caller: AdminReader) -> Json<Servers> {
    gateway.proxy.backends.look(FIGURES_AGE).await;
    Json(Servers { servers: Server::all(&gateway) })
}

/// `POST /api/v1/servers/{profile}/start`: 202, or with `?wait=true` the outcome.
pub async fn start(
    State(gateway): State<Shared>,
    _caller: Admin,
    Path(profile): Path<String>,
    Query(query): Query<WaitQuery>,
) -> Result<Response, ApiError> {
    let spec = launch(&gateway, &profile)?;
    let (backends, of) = (gateway.proxy.backends.clone(), Arc::clone(&spec));
    let starting = async move { backends.start(&of).await };
    outcome(&gateway, &spec, query.wait, starting).await
}

/// `POST /api/v1/servers/{profile}/restart`
pub async fn restart(
    State(gateway): State<Shared>,
    _caller: Admin,
    Path(profile): Path<String>,
    Query(query): Query<WaitQuery>,
) -> Result<Response, ApiError> {
    let spec = launch(&gateway, &profile)?;
    let (backends, of) = (gateway.proxy.backends.clone(), Arc::clone(&spec));
    let restarting = async move { backends.restart(&of).await };
    outcome(&gateway, &spec, query.wait, restarting).await
}

/// `POST /api/v1/servers/{profile}/stop`: answers when it has stopped; `?now=true` does not wait for
/// the requests inside.
pub async fn stop(
    State(gateway): State<Shared>,
    _caller: Admin,
    Path(profile): Path<String>,
    Query(query): Query<StopQuery>,
) -> Result<Json<Server>, ApiError> {
    let spec = launch(&gateway, &profile)?;
    // False: it has never run, and so is stopped too.
    let known = match query.now {
        true => gateway.proxy.backends.stop_now(&spec.id).await,
        false => gateway.proxy.backends.stop(&spec.id).await,
    };
    tracing::info!(backend.id = spec.id, backend.known = known, "A backend was stopped by request");
    Ok(Json(shown(&gateway, &spec)))
}

/// `GET /api/v1/servers/{profile}/logs`: plain text, newest lines last.
pub async fn logs(
    State(gateway): State<Shared>,
    _caller: AdminReader,
    Path(profile): Path<String>,
    Query(query): Query<LogQuery>,
) -> Result<Response, ApiError> {
    let spec = launch(&gateway, &profile)?;
    let none = || ApiError::not_found(format!("the backend of \"{profile}\" has not written anything yet"));
    let mut reader = gateway.proxy.backends.logs(&spec.id).ok_or_else(none)?;
    reader.skip_to_last(query.lines.unwrap_or(LINES));
    let body = if query.follow {
        let gateway = Arc::clone(&gateway);
        Body::from_stream(stream::unfold((reader, true), move |state| follow(state, Arc::clone(&gateway))))
    } else {
        Body::from(text(reader.read()))
    };
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"))];
    Ok((kind, body).into_response())
}

async fn follow(
    (mut reader, first): (LogReader, bool),
    gateway: Shared,
) -> Option<(Result<Bytes, Infallible>, (LogReader, bool))> {
    if first {
        return Some((Ok(text(reader.read())), (reader, false)));
    }
    loop {
        if let Ok(batch) = tokio::time::timeout(FOLLOW_CHECK, reader.follow()).await {
            return Some((Ok(text(batch)), (reader, false)));
        }
        if gateway.is_draining() {
            return None;
        }
    }
}

fn text(batch: LogBatch) -> Bytes {
    let mut out = String::new();
    if batch.skipped > 0 {
        out.push_str(&format!("… {} lines were skipped\n", batch.skipped));
    }
    for line in batch.lines {
        out.push_str(&line.text);
        out.push('\n');
    }
    out.into()
}

fn launch(gateway: &Shared, profile: &str) -> Result<Arc<LaunchSpec>, ApiError> {
    let profiles = gateway.proxy.profiles.load();
    let entry = profiles.entry(profile);
    let entry = entry.ok_or_else(|| ApiError::not_found(format!("there is no profile \"{profile}\"")))?;
    Ok(Arc::clone(&entry.launch))
}

async fn outcome(
    gateway: &Shared,
    spec: &LaunchSpec,
    wait: bool,
    work: impl Future<Output = Result<(), AcquireError>> + Send + 'static,
) -> Result<Response, ApiError> {
    if wait {
        work.await?;
        return Ok(Json(shown(gateway, spec)).into_response());
    }
    let id = spec.id.clone();
    gateway.tasks.spawn(async move {
        if let Err(error) = work.await {
            tracing::warn!(backend.id = id, %error, "A backend that was asked for did not start");
        }
    });
    Ok((StatusCode::ACCEPTED, Json(shown(gateway, spec))).into_response())
}

fn shown(gateway: &Shared, spec: &LaunchSpec) -> Server {
    Server::of(gateway, spec)
}
