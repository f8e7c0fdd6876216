//! Downloads: what is fetched, and steering it.

use std::convert::Infallible;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::unfold;
use http::{HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use utoipa::ToSchema;

use crate::http::caller::{Admin, AdminReader};
use crate::http::error::ApiError;
use crate::http::extract::{Json, Path, Raw};
use crate::http::state::Shared;
use crate::http::stream;
use crate::hub::downloads::{DownloadView, Order, OrderError};

/// What is to be fetched.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewDownload {
    /// `OWNER/NAME` on the hub.
    model: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct DownloadList {
    /// Newest first.
    downloads: Vec<DownloadView>,
}

/// `GET /api/v1/downloads`
#[utoipa::path(get, path = "/downloads", tag = "downloads", responses((status = 200, body = DownloadList)))]
pub async fn list(
    State(gateway): State<Shared>,
    _caller: AdminReader,
) -> Result<Json<DownloadList>, ApiError> {
    Ok(Json(DownloadList { downloads: gateway.hub.downloads.list().await? }))
}

/// `GET /api/v1/downloads/{id}`
#[utoipa::path(get, path = "/downloads/{id}", tag = "downloads", responses((status = 200, body = DownloadView)))]
pub async fn get(
    State(gateway): State<Shared>,
    _caller: AdminReader,
    Path(id): Path<String>,
) -> Result<Json<DownloadView>, ApiError> {
    Ok(Json(gateway.hub.downloads.get(&id).await?))
}

/// `POST /api/v1/downloads`: a model that is being fetched already keeps its one download.
#[utoipa::path(post, path = "/downloads", tag = "downloads", request_body = NewDownload,
    responses((status = 202, body = DownloadView)))]
pub async fn start(
    State(gateway): State<Shared>,
    _caller: Admin,
    Raw(body): Raw,
) -> Result<Response, ApiError> {
    let new: NewDownload = serde_json::from_slice(&body).map_err(|error| {
        ApiError::bad_request(format!("the body is {{\"model\": \"OWNER/NAME\"}}: {error}"), "model")
    })?;
    let view = gateway.hub.downloads.start(&new.model).await?;
    Ok((StatusCode::ACCEPTED, Json(view)).into_response())
}

/// `POST /api/v1/downloads/{id}/pause`
#[utoipa::path(post, path = "/downloads/{id}/pause", tag = "downloads", responses((status = 200, body = DownloadView)))]
pub async fn pause(
    state: State<Shared>,
    caller: Admin,
    id: Path<String>,
) -> Result<Json<DownloadView>, ApiError> {
    order(state, caller, id, Order::Pause).await
}

/// `POST /api/v1/downloads/{id}/resume`: goes on at the byte where it stopped.
#[utoipa::path(post, path = "/downloads/{id}/resume", tag = "downloads", responses((status = 200, body = DownloadView)))]
pub async fn resume(
    state: State<Shared>,
    caller: Admin,
    id: Path<String>,
) -> Result<Json<DownloadView>, ApiError> {
    order(state, caller, id, Order::Start).await
}

/// `POST /api/v1/downloads/{id}/retry`: the same, of one that failed or was cancelled.
#[utoipa::path(post, path = "/downloads/{id}/retry", tag = "downloads", responses((status = 200, body = DownloadView)))]
pub async fn retry(
    state: State<Shared>,
    caller: Admin,
    id: Path<String>,
) -> Result<Json<DownloadView>, ApiError> {
    order(state, caller, id, Order::Start).await
}

/// `POST /api/v1/downloads/{id}/cancel`: what was fetched and nothing needs is removed.
#[utoipa::path(post, path = "/downloads/{id}/cancel", tag = "downloads", responses((status = 200, body = DownloadView)))]
pub async fn cancel(
    state: State<Shared>,
    caller: Admin,
    id: Path<String>,
) -> Result<Json<DownloadView>, ApiError> {
    order(state, caller, id, Order::Cancel).await
}

/// `GET /api/v1/downloads/{id}/progress`: a line of JSON per change, up to four a second, until the
/// download is over or paused.
#[utoipa::path(get, path = "/downloads/{id}/progress", tag = "downloads",
    responses((status = 200, body = DownloadView, content_type = "application/x-ndjson")))]
pub async fn progress(
    State(gateway): State<Shared>,
    AdminReader(caller): AdminReader,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let (changes, view) = gateway.hub.downloads.follow(&id).await?;
    let lines = unfold(Some((changes, view, true)), |state| async move {
        let (mut changes, view, first): (watch::Receiver<u64>, _, bool) = state?;
        if !first && changes.changed().await.is_err() {
            return None;
        }
        let now: DownloadView = view();
        let line = serde_json::to_string(&now).ok()?;
        let next = now.status.is_active().then_some((changes, view, false));
        Some((Ok::<_, Infallible>(Bytes::from(format!("{line}\n"))), next))
    });
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"))];
    Ok((kind, stream::body(&caller, lines)).into_response())
}

async fn order(
    State(gateway): State<Shared>,
    _caller: Admin,
    Path(id): Path<String>,
    order: Order,
) -> Result<Json<DownloadView>, ApiError> {
    Ok(Json(gateway.hub.downloads.order(&id, order).await?))
}

impl From<OrderError> for ApiError {
    fn from(error: OrderError) -> Self {
        let mut failed = match error {
            OrderError::Store(error) => return error.into(),
            OrderError::Unknown(_) => return ApiError::not_found(error.to_string()),
            ref other => ApiError::bad_request(other.to_string(), "model"),
        };
        match error {
            OrderError::Conflict { .. } => (failed.0.status, failed.0.code) = (409, "conflict"),
            OrderError::TooMany => (failed.0.status, failed.0.code) = (429, "queue_full"),
            OrderError::ShuttingDown => failed = crate::proxy::Failure::shutting_down().into(),
            _ => {}
        }
        failed
    }
}
