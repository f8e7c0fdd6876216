//! Domain errors as answers, in OpenAI's shape.

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::response::{IntoResponse, Response};

use super::extract::read_body;
use super::hosts::HostError;
use super::state::Shared;
use crate::auth::{AuthError, AuthFault};
use crate::backends::AcquireError;
use crate::proxy::{BoxError, Failure, failed};
use crate::store::StoreError;
use crate::system::offload::OffloadError;
use crate::tools::{CallError, PluginError};
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

    /// A body that could not be read: 413 with the limit when it is larger than `limit` bytes, else that it broke off.
    pub fn of_body(error: impl Into<BoxError>, limit: usize) -> ApiError {
        let error = error.into();
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error.as_ref());
        while let Some(inner) = cause {
            if inner.is::<http_body_util::LengthLimitError>() {
                return Failure::fixed_too_large(limit as u64).into();
            }
            cause = inner.source();
        }
        Failure::unread(error).into()
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

impl From<AuthFault> for ApiError {
    fn from(fault: AuthFault) -> ApiError {
        let failure = |status, kind, code| Failure::refused(status, kind, code, fault.to_string());
        match &fault {
            AuthFault::Invalid(message, param) => ApiError::bad_request(message.clone(), param),
            AuthFault::WrongPassword | AuthFault::WrongKey => {
                ApiError(failure(401, "authentication_error", "invalid_credentials"))
            }
            AuthFault::Pending => ApiError(failure(403, "permission_error", "account_pending")),
            AuthFault::Disabled => ApiError(failure(403, "permission_error", "account_disabled")),
            AuthFault::FirstAccount(_) => {
                ApiError(failure(401, "authentication_error", "setup_link_required"))
            }
            AuthFault::StaleLink(_) => ApiError(failure(403, "permission_error", "setup_link_stale")),
            AuthFault::NotAllowed(_) => ApiError(failure(403, "permission_error", "permission_denied")),
            AuthFault::NotFound(message) => ApiError::not_found(message.clone()),
            AuthFault::Conflict(_) => ApiError(failure(409, "invalid_request_error", "conflict")),
            AuthFault::Throttled(wait) => {
                let mut failure = failure(429, "rate_limit_error", "too_many_attempts");
                failure.retry_after_s = Some(u32::try_from(wait.as_secs().max(1)).unwrap_or(u32::MAX));
                ApiError(failure)
            }
            AuthFault::Busy => {
                let mut failure = failure(429, "rate_limit_error", "too_many_attempts");
                failure.retry_after_s = Some(1);
                ApiError(failure)
            }
            AuthFault::UntilRestart(_) => {
                tracing::error!(error = %fault, "Revocation could not be recorded");
                ApiError(failure(503, "server_error", "revocation_not_recorded"))
            }
            AuthFault::Store(error) => ApiError::from(error.clone()),
            AuthFault::Random(_) | AuthFault::Internal(_) => {
                ApiError::internal("accounts could not be worked with", &fault)
            }
        }
    }
}

impl From<HostError> for ApiError {
    fn from(error: HostError) -> Self {
        let message = error.to_string();
        match error {
            HostError::Foreign(_) | HostError::Rebindable(_) | HostError::Origin(_) => {
                Failure::not_allowed(message).into()
            }
            HostError::Missing
            | HostError::Repeated(_)
            | HostError::Malformed(_)
            | HostError::Disagrees(..) => {
                Failure::refused(400, "invalid_request_error", "invalid_host", message).into()
            }
        }
    }
}

impl From<AuthError> for ApiError {
    fn from(error: AuthError) -> Self {
        if error == AuthError::CrossSite {
            return Failure::not_allowed(error.to_string()).into();
        }
        ApiError(Failure::refused(401, "authentication_error", "invalid_api_key", error.to_string()))
    }
}

impl From<AcquireError> for ApiError {
    /// Only routes that start servers have these errors, so that their callers may see servers.
    fn from(error: AcquireError) -> Self {
        ApiError(Failure::from(error).for_caller(true))
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        if !error.is_temporary() {
            return ApiError::internal("the store did not answer", &error);
        }
        tracing::error!(%error, "The store could not do what was asked");
        // Its words hold no path and no SQL, and say what a person may mend.
        let mut failure = Failure::refused(503, "server_error", "store_unavailable", error.to_string());
        failure.retry_after_s = Some(5);
        ApiError(failure)
    }
}

/// A disk that does not answer keeps one request, not the gateway.
impl From<OffloadError> for ApiError {
    fn from(error: OffloadError) -> ApiError {
        Failure::refused(503, "server_error", "disk_unresponsive", error.to_string()).into()
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

impl From<PluginError> for ApiError {
    fn from(error: PluginError) -> Self {
        let (status, code) = match &error {
            PluginError::NotFound(_) => return ApiError::not_found(error.to_string()),
            PluginError::Conflict(_) => (409, "conflict"),
            PluginError::Store(_) | PluginError::Engine(_) => {
                return ApiError::internal("the plugins could not be changed", &error);
            }
            _ => (400, "invalid_plugin"),
        };
        let mut failure = Failure::invalid(error.to_string(), None);
        (failure.status, failure.code) = (status, code);
        ApiError(failure)
    }
}

impl From<CallError> for ApiError {
    fn from(error: CallError) -> Self {
        let (status, kind) = match &error {
            CallError::UnknownTool(_) => (404, "invalid_request_error"),
            CallError::InvalidArguments(_) => (400, "invalid_request_error"),
            CallError::Denied(_) => (403, "permission_error"),
            CallError::Deadline(_) => (504, "server_error"),
            CallError::Busy(_) => (503, "server_error"),
            _ => (502, "server_error"),
        };
        let mut failure = Failure::invalid(error.to_string(), None);
        (failure.status, failure.kind, failure.code) = (status, kind, error.code());
        ApiError(failure)
    }
}

/// A body that is one JSON document; what is wrong with it is told in our own shape.
pub struct JsonBody<T>(pub T);

impl<T: serde::de::DeserializeOwned + Send + 'static> FromRequest<Shared> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, gateway: &Shared) -> Result<Self, ApiError> {
        let bytes = read_body(request, gateway).await?;
        let parse = |bytes: &[u8]| {
            let text = if bytes.trim_ascii().is_empty() { b"{}" } else { bytes };
            serde_json::from_slice(text)
        };
        let parsed = gateway.proxy.bodies.parse(bytes, parse).await.map_err(Failure::from)?;
        parsed
            .map(JsonBody)
            .map_err(|error| ApiError(Failure::invalid(format!("the body does not fit: {error}"), None)))
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        failed(&self.0).map(Body::new)
    }
}
