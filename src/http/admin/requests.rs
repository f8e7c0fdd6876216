//! Requests, one by one.

use axum::Json;
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::http::caller::{Admin, AdminReader};
use crate::http::error::ApiError;
use crate::http::state::Shared;
use crate::usage::{Filter, RequestView, Status};

/// Requests given without a wish.
const LIMIT: usize = 50;

/// Which requests.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    limit: Option<usize>,
    before: Option<String>,
    status: Option<String>,
    profile: Option<String>,
}

/// `GET /api/v1/requests`: newest first.
pub async fn list(
    State(gateway): State<Shared>,
    _caller: AdminReader,
    Query(asked): Query<Asked>,
) -> Result<Json<Value>, ApiError> {
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
        ..Filter::default()
    };
    let requests = gateway.proxy.recorder.list(filter).await?;
    Ok(Json(json!({"requests": requests})))
}

/// `GET /api/v1/requests/{id}`: by our id or the client's.
pub async fn get(
    State(gateway): State<Shared>,
    _caller: AdminReader,
    Path(id): Path<String>,
) -> Result<Json<RequestView>, ApiError> {
    let found = gateway.proxy.recorder.get(&id).await?;
    found.map(Json).ok_or_else(|| ApiError::not_found(format!("there is no request \"{id}\"")))
}

/// `POST /api/v1/requests/{id}/cancel`
pub async fn cancel(
    State(gateway): State<Shared>,
    _caller: Admin,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    if gateway.proxy.recorder.cancel(&id) {
        return Ok(Json(json!({"id": id, "cancelled": true})));
    }
    if gateway.proxy.recorder.get(&id).await?.is_none() {
        return Err(ApiError::not_found(format!("there is no request \"{id}\"")));
    }
    let mut error = ApiError::bad_request(format!("the request \"{id}\" has already ended"), "id");
    (error.0.status, error.0.code) = (409, "conflict");
    Err(error)
}
