//! Backends: what they do, and starting and stopping them.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::unfold;
use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;

use super::server::{Server, Servers};
use crate::backends::{AcquireError, LaunchSpec, LogBatch, LogReader};
use crate::http::caller::{Admin, AdminReader};
use crate::http::error::ApiError;
use crate::http::extract::{Json, Path, Query};
use crate::http::openapi::ErrorBody;
use crate::http::state::Shared;
use crate::http::stream;
use crate::logging::InRequest;

/// Lines given without a wish.
const LINES: usize = 100;
/// Silence after which a follower hears an empty line's worth of nothing: the check that it is there.
const FOLLOW_CHECK: Duration = Duration::from_secs(15);

/// Figures that are shown are at most that old.
pub const FIGURES_AGE: Duration = Duration::from_millis(900);

/// Which lines of a log.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct LogQuery {
    /// How many of the last lines; default 100.
    lines: Option<usize>,
    /// Go on with what is written from now on.
    #[serde(default)]
    follow: bool,
}

/// Whether to wait for the outcome.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct WaitQuery {
    /// Answer only when it is ready, or has failed.
    #[serde(default)]
    wait: bool,
}

/// Whether to let the requests inside finish first.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct StopQuery {
    /// Do not wait for the requests inside.
    #[serde(default)]
    now: bool,
}

/// List the backends and what they do.
#[utoipa::path(get, path = "/servers", tag = "servers", responses((status = 200, body = Servers)))]
pub async fn list(State(gateway): State<Shared>, _caller: AdminReader) -> Json<Servers> {
    gateway.proxy.backends.look(FIGURES_AGE).await;
    Json(Servers { servers: Server::all(&gateway) })
}

/// Start a profile's backend.
#[utoipa::path(
    post, path = "/servers/{profile}/start", tag = "servers", params(WaitQuery),
    responses(
        (status = 200, description = "It answers", body = Server),
        (status = 202, description = "It is being started", body = Server),
        (status = 429, description = "Too many wait for it already", body = ErrorBody),
        (status = 504, description = "It did not start in time", body = ErrorBody),
    )
)]
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

/// Stop a profile's backend and start it again.
#[utoipa::path(
    post, path = "/servers/{profile}/restart", tag = "servers", params(WaitQuery),
    responses(
        (status = 200, description = "It answers", body = Server),
        (status = 202, description = "It is being started", body = Server),
        (status = 429, description = "Too many wait for it already", body = ErrorBody),
        (status = 504, description = "It did not start in time", body = ErrorBody),
    )
)]
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

/// Stop a profile's backend; answers when it has stopped.
#[utoipa::path(post, path = "/servers/{profile}/stop", tag = "servers", params(StopQuery), responses((status = 200, body = Server)))]
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

/// Keep a profile's backend loaded until it is let go; a restart of the gateway does not change that.
#[utoipa::path(
    post, path = "/servers/{profile}/pin", tag = "servers",
    responses((status = 200, body = Server))
)]
pub async fn pin(
    State(gateway): State<Shared>,
    _caller: Admin,
    Path(profile): Path<String>,
) -> Result<Json<Server>, ApiError> {
    keep(&gateway, &profile, true).await
}

/// Let a profile's backend be stopped again when it is idle or another needs its memory.
#[utoipa::path(
    post, path = "/servers/{profile}/unpin", tag = "servers",
    responses((status = 200, body = Server), (status = 409, description = "Its profile pins it", body = ErrorBody))
)]
pub async fn unpin(
    State(gateway): State<Shared>,
    _caller: Admin,
    Path(profile): Path<String>,
) -> Result<Json<Server>, ApiError> {
    keep(&gateway, &profile, false).await
}

async fn keep(gateway: &Shared, profile: &str, kept: bool) -> Result<Json<Server>, ApiError> {
    let spec = launch(gateway, profile)?;
    if !kept && spec.pinned {
        let why = format!("\"{profile}\" is pinned by its profile; set `pinned = false` there to let it go");
        return Err(ApiError::conflict(why, "pinned_by_profile"));
    }
    if !gateway.proxy.backends.keep(&spec.id, kept).await? {
        return Err(ApiError::not_found(format!("the backend of \"{profile}\" is gone")));
    }
    Ok(Json(shown(gateway, &spec)))
}

/// Show what a backend has written, newest lines last.
#[utoipa::path(
    get, path = "/servers/{profile}/logs", tag = "servers", params(LogQuery),
    responses((status = 200, description = "Plain text", body = String, content_type = "text/plain"))
)]
pub async fn logs(
    State(gateway): State<Shared>,
    AdminReader(caller): AdminReader,
    Path(profile): Path<String>,
    Query(query): Query<LogQuery>,
) -> Result<Response, ApiError> {
    let spec = launch(&gateway, &profile)?;
    let none = || ApiError::not_found(format!("the backend of \"{profile}\" has not written anything yet"));
    let mut reader = gateway.proxy.backends.logs(&spec.id).ok_or_else(none)?;
    reader.skip_to_last(query.lines.unwrap_or(LINES));
    let body = if query.follow {
        let gateway = Arc::clone(&gateway);
        stream::body(&caller, unfold((reader, true), move |state| follow(state, Arc::clone(&gateway))))
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
    gateway.tasks.spawn(InRequest::current(async move {
        if let Err(error) = work.await {
            tracing::warn!(backend.id = id, %error, "Could not start backend");
        }
    }));
    Ok((StatusCode::ACCEPTED, Json(shown(gateway, spec))).into_response())
}

fn shown(gateway: &Shared, spec: &LaunchSpec) -> Server {
    Server::of(gateway, spec)
}
