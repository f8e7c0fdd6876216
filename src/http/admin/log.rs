//! Which lines of the gateway's own log are written.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::http::caller::{Admin, AdminReader};
use crate::http::error::ApiError;
use crate::http::extract::Json;
use crate::http::openapi::ErrorBody;
use crate::logging::{self, Levels, LogError};

/// What the gateway logs.
#[derive(Debug, Serialize, ToSchema)]
pub struct LogView {
    /// Levels by module.
    #[schema(example = "info,mlx_gateway::backends=debug")]
    filter: String,
    /// What it becomes with the next start.
    at_start: String,
    /// Null: standard error.
    file: Option<String>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LogChange {
    /// error, warn, info, debug, trace or off, also by module; null: as it was at the start.
    #[serde(deserialize_with = "Option::deserialize")]
    #[schema(required, example = "info,mlx_gateway::backends=debug")]
    filter: Option<String>,
}

/// Tell what is logged.
#[utoipa::path(
    get, path = "/log", tag = "system", operation_id = "log_get",
    responses((status = 200, body = LogView), (status = 409, description = "Nothing is logged here", body = ErrorBody))
)]
pub async fn get(_caller: AdminReader) -> Result<Json<LogView>, ApiError> {
    answer(logging::levels())
}

/// Change what is logged, at once and until the next start.
#[utoipa::path(
    put, path = "/log", tag = "system", operation_id = "log_put", request_body = LogChange,
    responses((status = 200, body = LogView), (status = 409, description = "Nothing is logged here", body = ErrorBody))
)]
pub async fn put(_caller: Admin, Json(asked): Json<LogChange>) -> Result<Json<LogView>, ApiError> {
    let answer = answer(logging::set_filter(asked.filter))?;
    tracing::info!(levels = answer.0.filter, "What is logged was changed");
    Ok(answer)
}

fn answer(levels: Result<Levels, LogError>) -> Result<Json<LogView>, ApiError> {
    match levels {
        Ok(Levels { filter, at_start, file }) => {
            let file = file.map(|file| file.display().to_string());
            Ok(Json(LogView { filter, at_start, file }))
        }
        Err(error @ LogError::Filter(_)) => Err(ApiError::bad_request(error.to_string(), "filter")),
        Err(error) => Err(ApiError::conflict(error.to_string(), "no_log")),
    }
}
