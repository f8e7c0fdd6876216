//! Whether the gateway lives and serves; never whether a model is loaded.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;

use super::state::Shared;

/// `status` is `ok`, or `shutting_down`.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
pub struct Health {
    status: &'static str,
}

const OK: Health = Health { status: "ok" };
const SHUTTING_DOWN: Health = Health { status: "shutting_down" };

/// Whether the gateway lives.
#[utoipa::path(get, path = "/livez", tag = "public", responses((status = 200, body = Health)))]
pub async fn live() -> Json<Health> {
    Json(OK)
}

/// Whether the gateway lives, by the name that most probes know.
#[utoipa::path(get, path = "/health", tag = "public", responses((status = 200, body = Health)))]
pub async fn health() -> Json<Health> {
    Json(OK)
}

/// Whether new requests are served.
#[utoipa::path(
    get, path = "/readyz", tag = "public",
    responses((status = 200, body = Health), (status = 503, description = "It is shutting down", body = Health))
)]
pub async fn ready(State(gateway): State<Shared>) -> Response {
    if gateway.is_draining() {
        return (StatusCode::SERVICE_UNAVAILABLE, Json(SHUTTING_DOWN)).into_response();
    }
    Json(OK).into_response()
}
