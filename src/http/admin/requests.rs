//! Requests, one by one.

use axum::extract::State;
use serde::{Deserialize, Serialize};

use crate::http::caller::SessionUser;
use crate::http::error::ApiError;
use crate::http::extract::{Json, Path, Query};
use crate::http::openapi::ErrorBody;
use crate::http::state::Shared;
use crate::proxy::Failure;
use crate::usage::{Filter, RequestView, Status};

/// Requests given without a wish.
const LIMIT: usize = 50;

/// Newest first.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct RequestsView {
    requests: Vec<RequestView>,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Cancelled {
    id: String,
    cancelled: bool,
}

/// Which requests.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Asked {
    /// At most 1000; default 50.
    limit: Option<usize>,
    /// Only those before the one with this id.
    before: Option<String>,
    /// running, completed, failed, refused, cancelled or interrupted.
    status: Option<String>,
    profile: Option<String>,
}

/// List requests, newest first.
#[utoipa::path(get, path = "/requests", tag = "requests", params(Asked), responses((status = 200, body = RequestsView)))]
pub async fn list(
    State(gateway): State<Shared>,
    user: SessionUser,
    Query(asked): Query<Asked>,
) -> Result<Json<RequestsView>, ApiError> {
    let status = match asked.status.as_deref() {
        None | Some("") => None,
        Some(name) => {
            let unknown = || ApiError::bad_request(format!("there is no status \"{name}\""), "status");
            Some(Status::from_name(name).ok_or_else(unknown)?)
        }
    };
    let filter = Filter {
        limit: asked.limit.unwrap_or(LIMIT),
        before: asked.before,
        status,
        profile: asked.profile,
        user: user.owner().map(str::to_owned),
        ..Filter::default()
    };
    let requests = gateway.proxy.recorder.list(filter).await?;
    Ok(Json(RequestsView { requests }))
}

/// Show one request, by our id or the client's.
#[utoipa::path(get, path = "/requests/{id}", tag = "requests", responses((status = 200, body = RequestView)))]
pub async fn get(
    State(gateway): State<Shared>,
    user: SessionUser,
    Path(id): Path<String>,
) -> Result<Json<RequestView>, ApiError> {
    Ok(Json(theirs(&gateway, &user, &id).await?))
}

/// End a running request: one's own, or anybody's for administrators.
#[utoipa::path(
    post, path = "/requests/{id}/cancel", tag = "requests",
    responses((status = 200, body = Cancelled), (status = 409, description = "It has already ended", body = ErrorBody))
)]
pub async fn cancel(
    State(gateway): State<Shared>,
    user: SessionUser,
    Path(id): Path<String>,
) -> Result<Json<Cancelled>, ApiError> {
    user.may_change()?;
    let found = theirs(&gateway, &user, &id).await?;
    if gateway.proxy.recorder.cancel(&found.id) {
        return Ok(Json(Cancelled { id: found.id, cancelled: true }));
    }
    let words = format!("the request \"{id}\" has already ended");
    Err(Failure::refused(409, "invalid_request_error", "conflict", words).into())
}

/// Returns a request that the caller may see; another account's is not found.
pub(super) async fn theirs(gateway: &Shared, user: &SessionUser, id: &str) -> Result<RequestView, ApiError> {
    let found = gateway.proxy.recorder.get(id, user.owner()).await?;
    found.ok_or_else(|| ApiError::not_found(format!("there is no request \"{id}\"")))
}
