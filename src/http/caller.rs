//! Who a request comes from, as extractors: a permission is a parameter's type.

use axum::extract::FromRequestParts;
use http::request::Parts;
use http::{HeaderMap, header};

use super::edge::Arrival;
use super::error::ApiError;
use super::state::Shared;
use crate::auth::{AuthError, Caller, Road, Scope};
use crate::proxy::Failure;

/// Anybody who may talk to `/v1`; what exactly is checked where the request is resolved.
pub struct ApiCaller(pub Caller);

/// Anybody who may call tools.
pub struct ToolCaller(pub Caller);

/// Somebody who may see everything.
pub struct AdminReader;

/// Somebody who may change everything.
pub struct Admin;

impl FromRequestParts<Shared> for ApiCaller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, gateway: &Shared) -> Result<Self, ApiError> {
        Ok(ApiCaller(caller(parts, gateway)?))
    }
}

impl FromRequestParts<Shared> for ToolCaller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, gateway: &Shared) -> Result<Self, ApiError> {
        let caller = caller(parts, gateway)?;
        if caller.has(Scope::Tools) || caller.has(Scope::Admin) {
            return Ok(ToolCaller(caller));
        }
        Err(Failure::not_allowed("this key may not call tools; use one with the scope tools").into())
    }
}

impl FromRequestParts<Shared> for AdminReader {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, gateway: &Shared) -> Result<Self, ApiError> {
        let caller = caller(parts, gateway)?;
        if caller.has(Scope::AdminRead) || caller.has(Scope::Admin) {
            return Ok(AdminReader);
        }
        Err(Failure::not_allowed("this needs an administrator").into())
    }
}

impl FromRequestParts<Shared> for Admin {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, gateway: &Shared) -> Result<Self, ApiError> {
        let caller = caller(parts, gateway)?;
        if caller.has(Scope::Admin) {
            return Ok(Admin);
        }
        Err(Failure::not_allowed("this needs an administrator").into())
    }
}

fn caller(parts: &Parts, gateway: &Shared) -> Result<Caller, ApiError> {
    let road = parts.extensions.get::<Arrival>().map_or(Road::Network, |arrival| arrival.road);
    Ok(identify(&parts.headers, road, gateway)?)
}

/// The caller who sends these headers on that road.
pub fn identify(headers: &HeaderMap, road: Road, gateway: &Shared) -> Result<Caller, AuthError> {
    gateway.auth.admit(shown_key(headers), road)
}

/// The one place that knows where keys stand.
fn shown_key(headers: &HeaderMap) -> Option<&str> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| {
        let (scheme, key) = value.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(key.trim())
    });
    let plain = || headers.get("x-api-key").and_then(|value| value.to_str().ok());
    bearer.or_else(plain).filter(|key| !key.is_empty())
}
