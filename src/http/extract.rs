//! axum's extractors with our own words for what cannot be understood: a refusal is always JSON in
//! the one shape of errors. Named like axum's, so that the OpenAPI document recognises them.

use axum::Extension;
use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, FromRequest, FromRequestParts, Request};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, StatusCode, header};
use http_body::Body as _;
use serde::de::DeserializeOwned;

use super::error::ApiError;
use super::state::Shared;
use crate::auth::Right;
use crate::proxy::Failure;

/// Bytes of the largest body that the admin API takes.
pub const ADMIN_BODY_LIMIT: usize = 2 << 20;

/// The limit of a route's bodies, in its requests' extensions: axum keeps its own to itself, and a refusal names it.
#[derive(Clone, Copy)]
pub struct BodyLimit(usize);

/// Limits the bodies of a route to so many bytes; the layer nearest to the handler counts.
pub fn limit_body(bytes: usize) -> (DefaultBodyLimit, Extension<BodyLimit>) {
    (DefaultBodyLimit::max(bytes), Extension(BodyLimit(bytes)))
}

/// Reads a whole body. Fails with 413 and the limit's number when it is larger than its route takes.
pub async fn read_body<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, ApiError> {
    let limit = request.extensions().get::<BodyLimit>().map_or(ADMIN_BODY_LIMIT, |limit| limit.0);
    Bytes::from_request(request, state).await.map_err(|error| match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Failure::fixed_too_large(limit as u64).into(),
        _ => Failure::unread(error).into(),
    })
}

/// What stands in the path.
pub struct Path<T>(pub T);

/// What stands behind the question mark.
pub struct Query<T>(pub T);

/// A JSON body; never one of another content type, so that a foreign page's form is not one.
pub struct Json<T>(pub T);

/// A body as it was sent.
pub struct Raw(pub Bytes);

/// A JSON body that may be left out.
pub struct OptionalJson<T>(pub Option<T>);

impl<T: DeserializeOwned + Send + 'static> FromRequest<Shared> for OptionalJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, gateway: &Shared) -> Result<Self, ApiError> {
        if request.body().is_end_stream() {
            return Ok(OptionalJson(None));
        }
        let Json(value) = Json::from_request(request, gateway).await?;
        Ok(OptionalJson(Some(value)))
    }
}

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Path(value)),
            Err(error) => Err(ApiError::bad_request(error.body_text(), "path")),
        }
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match axum::extract::Query::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(value)) => Ok(Query(value)),
            Err(error) => Err(ApiError::bad_request(error.body_text(), "query")),
        }
    }
}

impl<T: DeserializeOwned + Send + 'static> FromRequest<Shared> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, gateway: &Shared) -> Result<Self, ApiError> {
        let right = request.extensions().get::<Right>().cloned();
        if !is_json(request.headers()) {
            let mut answer =
                ApiError::bad_request("Expected request with `Content-Type: application/json`", "body");
            (answer.0.status, answer.0.code) = (415, "unsupported_media_type");
            return Err(answer);
        }
        let read = read_body(request, gateway).await;
        still_has(right)?;
        let body = read?;
        let parse = |body: &[u8]| axum::Json::from_bytes(body).map(|axum::Json(value)| value);
        let parsed = gateway.proxy.bodies.parse(body, parse).await.map_err(Failure::from)?;
        parsed.map(Json).map_err(|error: JsonRejection| ApiError::bad_request(error.body_text(), "body"))
    }
}

/// By the content type that a foreign page's form cannot have.
fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let subtype = essence.strip_prefix("application/").unwrap_or_default();
    subtype == "json" || subtype.ends_with("+json")
}

impl<S: Send + Sync> FromRequest<S> for Raw {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let right = request.extensions().get::<Right>().cloned();
        let read = read_body(request, state).await;
        still_has(right)?;
        read.map(Raw)
    }
}

/// Refuses a caller who lost its right while its body arrived.
fn still_has(right: Option<Right>) -> Result<(), ApiError> {
    if right.is_some_and(|right| right.has_ended()) { Err(Failure::revoked().into()) } else { Ok(()) }
}

impl<T: serde::Serialize> axum::response::IntoResponse for Json<T> {
    fn into_response(self) -> axum::response::Response {
        axum::Json(self.0).into_response()
    }
}
