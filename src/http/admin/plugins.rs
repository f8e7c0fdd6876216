//! Plugins: what there is, adding, removing, granting.

use axum::Json;
use axum::extract::{Path, State};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::http::caller::{Admin, AdminReader};
use crate::http::error::{ApiError, JsonBody};
use crate::http::openapi::ErrorBody;
use crate::http::state::Shared;
use crate::tools::{NewPlugin, Permissions, PluginView};

/// Bytes of a request that adds a plugin: the largest component, in base64, and its manifest.
pub const ADD_MAX: usize = 96 << 20;

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Plugins {
    plugins: Vec<PluginView>,
}

/// A plugin to add.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPluginBody {
    /// The text of its `plugin.toml`; without one it asks for nothing and needs a `name`.
    manifest: Option<String>,
    name: Option<String>,
    /// The component, in base64.
    wasm: String,
}

/// What to grant; nothing: all that the plugin asks for.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GrantBody {
    permissions: Option<Permissions>,
}

/// `GET /api/v1/plugins`
#[utoipa::path(get, path = "/plugins", tag = "plugins", responses((status = 200, body = Plugins)))]
pub async fn list(State(gateway): State<Shared>, _caller: AdminReader) -> Json<Plugins> {
    Json(Plugins { plugins: gateway.tools.plugins().await })
}

/// `GET /api/v1/plugins/{name}`
#[utoipa::path(get, path = "/plugins/{name}", tag = "plugins", responses((status = 200, body = PluginView)))]
pub async fn get(
    State(gateway): State<Shared>,
    _caller: AdminReader,
    Path(name): Path<String>,
) -> Result<Json<PluginView>, ApiError> {
    Ok(Json(gateway.tools.plugin(&name).await?))
}

/// `POST /api/v1/plugins`: 201, or 200 where it took the place of an earlier version.
#[utoipa::path(post, path = "/plugins", tag = "plugins", request_body = NewPluginBody, responses((status = 200, description = "It took the place of an earlier version", body = PluginView), (status = 201, body = PluginView), (status = 409, description = "Another plugin is in the way, or it comes with the gateway", body = ErrorBody)))]
pub async fn add(
    State(gateway): State<Shared>,
    _caller: Admin,
    JsonBody(body): JsonBody<NewPluginBody>,
) -> Result<(StatusCode, Json<PluginView>), ApiError> {
    let wasm = STANDARD
        .decode(body.wasm.as_bytes())
        .map_err(|error| ApiError::bad_request(format!("wasm is not base64: {error}"), "wasm"))?;
    let added = gateway.tools.add(NewPlugin { manifest: body.manifest, name: body.name, wasm }).await?;
    let status = if added.replaced { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, Json(added.plugin)))
}

/// `DELETE /api/v1/plugins/{name}`
#[utoipa::path(delete, path = "/plugins/{name}", tag = "plugins", responses((status = 200, body = PluginView), (status = 409, description = "Another plugin is in the way, or it comes with the gateway", body = ErrorBody)))]
pub async fn remove(
    State(gateway): State<Shared>,
    _caller: Admin,
    Path(name): Path<String>,
) -> Result<Json<PluginView>, ApiError> {
    Ok(Json(gateway.tools.remove(&name).await?))
}

/// `POST /api/v1/plugins/{name}/grant`: in force when it answers.
#[utoipa::path(post, path = "/plugins/{name}/grant", tag = "plugins", request_body = GrantBody, responses((status = 200, body = PluginView), (status = 409, description = "Another plugin is in the way, or it comes with the gateway", body = ErrorBody)))]
pub async fn grant(
    State(gateway): State<Shared>,
    Admin(caller): Admin,
    Path(name): Path<String>,
    JsonBody(body): JsonBody<GrantBody>,
) -> Result<Json<PluginView>, ApiError> {
    Ok(Json(
        gateway.tools.grant(&name, body.permissions.as_ref(), caller.principal().map(str::to_owned)).await?,
    ))
}
