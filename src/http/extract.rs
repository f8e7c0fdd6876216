//! axum's extractors with our own words for what cannot be understood: a refusal is always JSON in
//! the one shape of errors. Named like axum's, so that the OpenAPI document recognises them.

use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::StatusCode;
use http::request::Parts;
use http_body::Body as _;
use serde::de::DeserializeOwned;

use super::error::ApiError;
use crate::auth::Right;
use crate::proxy::Failure;

/// Bytes of the largest body that the admin API takes.
pub const ADMIN_BODY_LIMIT: usize = 2 << 20;

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

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for OptionalJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        if request.body().is_end_stream() {
            return Ok(OptionalJson(None));
        }
        let Json(value) = Json::from_request(request, state).await?;
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

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let right = request.extensions().get::<Right>().cloned();
        let read = axum::Json::from_request(request, state).await;
        still_has(right)?;
        match read {
            Ok(axum::Json(value)) => Ok(Json(value)),
            Err(error) => Err(unusable(&error)),
        }
    }
}

impl<S: Send + Sync> FromRequest<S> for Raw {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let right = request.extensions().get::<Right>().cloned();
        let read = Bytes::from_request(request, state).await;
        still_has(right).map_err(IntoResponse::into_response)?;
        read.map(Raw).map_err(IntoResponse::into_response)
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

/// Malformed, of another type than JSON, or too large.
fn unusable(error: &JsonRejection) -> ApiError {
    let mut answer = ApiError::bad_request(error.body_text(), "body");
    let (status, code) = match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => (413, "request_too_large"),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => (415, "unsupported_media_type"),
        _ => return answer,
    };
    (answer.0.status, answer.0.code) = (status, code);
    answer
}
