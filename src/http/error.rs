//! Domain errors as answers, in OpenAI's shape.

use axum::body::Body;
use axum::response::{IntoResponse, Response};

use crate::auth::AuthError;
use crate::backends::AcquireError;
use crate::proxy::{Failure, failed};
use crate::store::StoreError;
use crate::usage::UsageError;

/// Any error an API route answers with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError(pub Failure);

impl ApiError {
    /// Something that is not there.
    pub fn not_found(message: impl Into<String>) -> ApiError {
        let mut failure = Failure::invalid(message, None);
        (failure.status, failure.code) = (404, "not_found");
        ApiError(failure)
    }

    /// A query or body that cannot be understood.
    pub fn bad_request(message: impl Into<String>, param: &str) -> ApiError {
        ApiError(Failure::invalid(message, Some(param.to_owned())))
    }

    /// Something else stands in the way.
    pub fn conflict(message: impl Into<String>, code: &'static str) -> ApiError {
        let mut failure = Failure::invalid(message, None);
        (failure.status, failure.code) = (409, code);
        ApiError(failure)
    }

    /// Somebody else was quicker.
    pub fn precondition_failed(message: impl Into<String>) -> ApiError {
        let mut failure = Failure::invalid(message, None);
        (failure.status, failure.code) = (412, "precondition_failed");
        ApiError(failure)
    }

    /// Nothing the caller can mend; the words are for the log, not for the caller.
    pub fn internal(what: &'static str, error: &dyn std::error::Error) -> ApiError {
        tracing::error!(error = %error, "{what}");
        let mut failure = Failure::backend(format!("{what}; the gateway's log says more"));
        (failure.status, failure.kind, failure.code) = (500, "server_error", "internal_error");
        ApiError(failure)
    }
}

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> Self {
        ApiError(failure)
    }
}

impl From<AuthError> for ApiError {
    fn from(error: AuthError) -> Self {
        let mut failure = Failure::invalid(error.to_string(), None);
        (failure.status, failure.kind, failure.code) = (401, "authentication_error", "invalid_api_key");
        ApiError(failure)
    }
}

impl From<AcquireError> for ApiError {
    fn from(error: AcquireError) -> Self {
        ApiError(error.into())
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        ApiError::internal("the store did not answer", &error)
    }
}

impl From<UsageError> for ApiError {
    fn from(error: UsageError) -> Self {
        match error {
            UsageError::Store(error) => error.into(),
            other => ApiError::bad_request(other.to_string(), "tz"),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        failed(&self.0).map(Body::new)
    }
}
