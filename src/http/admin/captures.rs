//! Captures: the switch, and what was captured of one request. Read by whose request it was and by
//! administrators, nobody else.

use axum::extract::State;
use http::StatusCode;
use serde::Serialize;

use super::requests::theirs;
use crate::captures::{Capture, Change, ChangeError, Switch};
use crate::events::{Audience, Kind};
use crate::http::caller::{Admin, AdminReader, SessionChanger};
use crate::http::error::ApiError;
use crate::http::extract::{Json, Path};
use crate::http::openapi::ErrorBody;
use crate::http::state::Shared;

/// How captures are switched, and how much is kept.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct CapturesView {
    #[serde(flatten)]
    switch: Switch,
    /// Requests of which something is kept.
    kept: u64,
    kept_bytes: u64,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Forgotten {
    /// Requests of which nothing is kept any more.
    forgotten: usize,
}

/// What was captured of a request.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct CaptureView {
    /// Null: captures were off when it began, or what was captured has gone.
    capture: Option<Capture>,
}

/// Whether requests are captured, and how much is kept.
#[utoipa::path(get, path = "/captures", tag = "captures", responses((status = 200, body = CapturesView)))]
pub async fn get(
    State(gateway): State<Shared>,
    _caller: AdminReader,
) -> Result<Json<CapturesView>, ApiError> {
    Ok(Json(view(&gateway).await?))
}

/// Switch captures on for a while, or off.
#[utoipa::path(
    put, path = "/captures", tag = "captures", request_body = Change,
    responses((status = 200, body = CapturesView))
)]
pub async fn put(
    State(gateway): State<Shared>,
    Admin(caller): Admin,
    Json(change): Json<Change>,
) -> Result<Json<CapturesView>, ApiError> {
    let switch = gateway.captures.change(change).await?;
    match switch.until_ms {
        Some(until) => {
            tracing::warn!(user.name = %caller.name, captures.until_ms = until, "Switched captures on");
        }
        None => tracing::info!(user.name = %caller.name, "Switched captures off"),
    }
    let view = view(&gateway).await?;
    gateway.events.publish(Kind::CapturesChanged, Audience::Readers, &view);
    Ok(Json(view))
}

/// Forget everything that was captured.
#[utoipa::path(delete, path = "/captures", tag = "captures", responses((status = 200, body = Forgotten)))]
pub async fn remove_all(State(gateway): State<Shared>, _caller: Admin) -> Result<Json<Forgotten>, ApiError> {
    Ok(Json(Forgotten { forgotten: gateway.captures.remove_all().await? }))
}

/// Show what a request and its answer said: to whose it was, and to administrators.
#[utoipa::path(
    get, path = "/requests/{id}/capture", tag = "requests", operation_id = "capture",
    responses((status = 200, body = CaptureView))
)]
pub async fn of_request(
    State(gateway): State<Shared>,
    SessionChanger(user): SessionChanger,
    Path(id): Path<String>,
) -> Result<Json<CaptureView>, ApiError> {
    let found = theirs(&gateway, &user, &id).await?;
    let capture = gateway.captures.get(&found.id).await?;
    if capture.is_some() && found.user.as_deref() != user.0.user.as_deref() {
        tracing::info!(capture.request_id = found.id, user.name = %user.0.name, "Administrator read capture of another account");
    }
    Ok(Json(CaptureView { capture }))
}

/// Forget what a request and its answer said.
#[utoipa::path(
    delete, path = "/requests/{id}/capture", tag = "requests", operation_id = "forget_capture",
    responses((status = 204, description = "Nothing of it is kept"), (status = 404, body = ErrorBody))
)]
pub async fn forget(
    State(gateway): State<Shared>,
    SessionChanger(user): SessionChanger,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let found = theirs(&gateway, &user, &id).await?;
    match gateway.captures.remove(&found.id).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(ApiError::not_found(format!("nothing was captured of the request \"{id}\""))),
    }
}

async fn view(gateway: &Shared) -> Result<CapturesView, ApiError> {
    let kept = gateway.captures.kept().await?;
    Ok(CapturesView { switch: gateway.captures.switch(), kept: kept.rows, kept_bytes: kept.bytes })
}

impl From<ChangeError> for ApiError {
    fn from(error: ChangeError) -> ApiError {
        match error {
            ChangeError::Range { param, .. } => ApiError::bad_request(error.to_string(), param),
            ChangeError::MinutesWithoutOn => ApiError::bad_request(error.to_string(), "minutes"),
            ChangeError::Store(error) => error.into(),
        }
    }
}
