//! Profiles: those of the file, and those made here, which can be changed.

mod command;
mod edit;
mod view;

use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::config::{settings_from_toml, settings_of, to_toml};
use crate::http::caller::{Admin, AdminReader};
use crate::http::error::ApiError;
use crate::http::extract::{Json, Path, Query, Raw};
use crate::http::state::Shared;
use crate::profiles::Placed;

pub use edit::load;
pub use view::{Profile, Profiles};

/// A body that is longer is no profile.
const MOST_BODY: usize = 1 << 20;

/// How a profile is shown, and whether a change is only tried.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProfileQuery {
    /// `toml`: as a `[[profile]]` of config.toml.
    format: Option<String>,
    /// Check it and show what would come of it; nothing is kept.
    #[serde(default)]
    dry_run: bool,
}

/// The name of a copy.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CopyRequest {
    name: String,
}

/// What was removed.
#[derive(Debug, Serialize, ToSchema)]
pub struct Removed {
    name: String,
    removed: bool,
    /// A process that served it still runs, until it is idle for as long as it may be or is stopped.
    backend_runs: bool,
}

/// `GET /api/v1/profiles`
#[utoipa::path(get, path = "/profiles", tag = "profiles", responses((status = 200, body = Profiles)))]
pub async fn list(State(gateway): State<Shared>, _caller: AdminReader) -> Json<Profiles> {
    let profiles = gateway.profiles.all().iter().map(|placed| view::of(&gateway, placed)).collect();
    Json(Profiles { profiles })
}

/// `GET /api/v1/profiles/{name}`, with `?format=toml` as it would stand in config.toml.
#[utoipa::path(get, path = "/profiles/{name}", tag = "profiles",
    params(("name" = String, Path), ("format" = Option<String>, Query)),
    responses((status = 200, body = Profile), (status = 404)))]
pub async fn get(
    State(gateway): State<Shared>,
    _caller: AdminReader,
    Path(name): Path<String>,
    Query(query): Query<ProfileQuery>,
) -> Result<Response, ApiError> {
    let placed = edit::find(&gateway, &name)?;
    match query.format.as_deref() {
        None | Some("json") => {
            let mut shown = view::of(&gateway, &placed);
            command::fill(&gateway, &mut shown, placed.profile()).await;
            Ok(tagged(shown, StatusCode::OK))
        }
        Some("toml") => toml(&placed),
        Some(other) => Err(ApiError::bad_request(
            format!("format {other:?} is not known; ask for json or toml"),
            "format",
        )),
    }
}

/// `GET /api/v1/profiles/{name}/export`: as it would stand in config.toml.
#[utoipa::path(get, path = "/profiles/{name}/export", tag = "profiles", params(("name" = String, Path)),
    responses((status = 200, body = String, content_type = "application/toml"), (status = 404)))]
pub async fn export(
    State(gateway): State<Shared>,
    _caller: AdminReader,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    toml(&edit::find(&gateway, &name)?)
}

/// `POST /api/v1/profiles`: the keys of a `[[profile]]`, as JSON or TOML. With `"suggest": true` what
/// the settings leave open follows from the model's own facts.
#[utoipa::path(post, path = "/profiles", tag = "profiles", params(("dry_run" = Option<bool>, Query)),
    request_body(content = Object), responses((status = 201, body = Profile), (status = 400), (status = 409)))]
pub async fn create(
    State(gateway): State<Shared>,
    _caller: Admin,
    Query(query): Query<ProfileQuery>,
    headers: HeaderMap,
    Raw(body): Raw,
) -> Result<Response, ApiError> {
    let mut settings = settings(&headers, &body)?;
    if settings.remove("suggest") == Some(Value::Bool(true)) {
        edit::suggest(&gateway, &mut settings).await;
    }
    let change = edit::Change { settings, replaces: None, if_match: None, dry_run: query.dry_run };
    Ok(match edit::put(&gateway, change).await? {
        Ok(profile) => {
            let status = if query.dry_run { StatusCode::OK } else { StatusCode::CREATED };
            tagged(profile, status)
        }
        Err(refused) => refused.into_response(),
    })
}

/// `PUT /api/v1/profiles/{name}`: all settings anew; with `If-Match` only if nobody has changed them.
#[utoipa::path(put, path = "/profiles/{name}", tag = "profiles",
    params(("name" = String, Path), ("dry_run" = Option<bool>, Query), ("If-Match" = Option<String>, Header)),
    request_body(content = Object),
    responses((status = 200, body = Profile), (status = 400), (status = 404), (status = 409), (status = 412)))]
pub async fn put(
    State(gateway): State<Shared>,
    _caller: Admin,
    Path(name): Path<String>,
    Query(query): Query<ProfileQuery>,
    headers: HeaderMap,
    Raw(body): Raw,
) -> Result<Response, ApiError> {
    let mut settings = settings(&headers, &body)?;
    if !settings.contains_key("name") {
        settings.insert("name".to_owned(), Value::from(name.as_str()));
    }
    let change =
        edit::Change { settings, replaces: Some(name), if_match: if_match(&headers), dry_run: query.dry_run };
    Ok(match edit::put(&gateway, change).await? {
        Ok(profile) => tagged(profile, StatusCode::OK),
        Err(refused) => refused.into_response(),
    })
}

/// `POST /api/v1/profiles/{name}/copy`
#[utoipa::path(post, path = "/profiles/{name}/copy", tag = "profiles", params(("name" = String, Path)),
    request_body = CopyRequest, responses((status = 201, body = Profile), (status = 400), (status = 404), (status = 409)))]
pub async fn copy(
    State(gateway): State<Shared>,
    _caller: Admin,
    Path(name): Path<String>,
    Json(to): Json<CopyRequest>,
) -> Result<Response, ApiError> {
    let settings = edit::copied(&edit::find(&gateway, &name)?, to.name)?;
    let change = edit::Change { settings, replaces: None, if_match: None, dry_run: false };
    Ok(match edit::put(&gateway, change).await? {
        Ok(profile) => tagged(profile, StatusCode::CREATED),
        Err(refused) => refused.into_response(),
    })
}

/// `DELETE /api/v1/profiles/{name}`
#[utoipa::path(delete, path = "/profiles/{name}", tag = "profiles",
    params(("name" = String, Path), ("If-Match" = Option<String>, Header)),
    responses((status = 200, body = Removed), (status = 404), (status = 409), (status = 412)))]
pub async fn delete(
    State(gateway): State<Shared>,
    _caller: Admin,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Removed>, ApiError> {
    let backend_runs = edit::remove(&gateway, &name, if_match(&headers).as_deref()).await?;
    Ok(Json(Removed { name, removed: true, backend_runs }))
}

fn tagged(profile: Profile, status: StatusCode) -> Response {
    let tag = HeaderValue::from_str(&profile.etag).ok();
    let mut response = (status, Json(profile)).into_response();
    if let Some(tag) = tag {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

fn toml(placed: &Placed) -> Result<Response, ApiError> {
    let (settings, left_out) = match placed {
        Placed::File(profile) => settings_of(profile),
        Placed::Store { stored, .. } => (stored.settings.clone(), Vec::new()),
    };
    let mut text =
        to_toml(&settings).map_err(|error| ApiError::internal("the profile cannot be written", &error))?;
    if !left_out.is_empty() {
        let note =
            format!("# Left out, for it may be secret or belongs to one machine: {}\n", left_out.join(", "));
        text.insert_str(0, &note);
    }
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("application/toml; charset=utf-8"))];
    Ok((kind, text).into_response())
}

fn settings(headers: &HeaderMap, body: &Bytes) -> Result<Map<String, Value>, ApiError> {
    if body.len() > MOST_BODY {
        return Err(ApiError::bad_request(format!("a profile has at most {MOST_BODY} bytes"), "body"));
    }
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let read = if kind.starts_with("application/toml") {
        let text = std::str::from_utf8(body).map_err(|error| error.to_string());
        text.and_then(settings_from_toml)
    } else {
        serde_json::from_slice(body).map_err(|error| error.to_string())
    };
    read.map_err(|error| ApiError::bad_request(format!("the body is not a profile: {error}"), "body"))
}

fn if_match(headers: &HeaderMap) -> Option<String> {
    let given = headers.get(header::IF_MATCH)?.to_str().ok()?.trim();
    (given != "*").then(|| given.to_owned())
}
