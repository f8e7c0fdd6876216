//! Who a request comes from, as extractors: a permission is a parameter's type. The one place that
//! knows where credentials stand.

use axum::extract::FromRequestParts;
use http::request::Parts;
use http::{Extensions, HeaderMap, Method, header};

use super::edge::Arrival;
use super::error::ApiError;
use super::hosts::same_origin;
use super::state::Shared;
use crate::auth::{AuthError, Caller, Credentials, Permit, Scope, Transport, Trust, Via};
use crate::events::Audience;
use crate::logging::RequestFields;
use crate::proxy::Failure;

/// The cookie of a page's session.
pub const SESSION_COOKIE: &str = "mlx_gateway_session";

/// Anybody who may talk to `/v1`; what exactly is checked where the request is resolved.
pub struct ApiCaller(pub Caller);

/// Somebody with an account, or who may see everything. Sees what is theirs: handlers filter by
/// [`SessionUser::owner`].
pub struct SessionUser(pub Caller);

/// A [`SessionUser`] who may change what is theirs.
pub struct SessionChanger(pub SessionUser);

/// Anybody who may ask models.
pub struct ModelCaller(pub Caller);

/// Anybody who may call tools.
pub struct ToolCaller(pub Caller);

/// A [`ToolCaller`] whose limits admit a call; the permit is held until its end. A parameter before the body.
pub struct AdmittedToolCaller(pub Caller, pub Permit);

/// Somebody who may see everything.
pub struct AdminReader(pub Caller);

/// Somebody who may change everything.
pub struct Admin(pub Caller);

/// A caller that may read metrics and the API's description: any on this machine unless `auth.api` is `required`,
/// known ones elsewhere.
pub struct DocsReader;

/// Whoever it is, or why it is nobody.
pub struct Anyone(pub Result<Caller, AuthError>);

impl SessionUser {
    /// Returns whether this caller has things of its own, or may read everyone's.
    pub fn admits(caller: &Caller) -> bool {
        (caller.via == Via::Session && caller.key.is_none()) || caller.sees_all()
    }

    /// Whose things may be seen; `None`: everybody's.
    pub fn owner(&self) -> Option<&str> {
        if self.0.sees_all() { None } else { Some(self.0.user.as_deref().unwrap_or_default()) }
    }

    /// Refuses who sees everything and may change nothing.
    pub fn may_change(&self) -> Result<(), ApiError> {
        if SessionChanger::admits(&self.0) {
            return Ok(());
        }
        Err(Failure::not_allowed("this needs an administrator, or a key with the scope admin").into())
    }
}

impl AdminReader {
    fn admits(caller: &Caller) -> bool {
        caller.sees_all()
    }
}

/// Returns whether this caller may read with GET what an event for `audience` shows: by the same conditions
/// as the extractors below.
pub fn may_read(caller: &Caller, audience: &Audience) -> bool {
    match audience {
        Audience::Readers => AdminReader::admits(caller),
        Audience::Owner(owner) => {
            SessionUser::admits(caller) && caller.user.as_deref().unwrap_or_default() == &**owner
        }
        Audience::OwnerAndReaders(owner) => {
            may_read(caller, &Audience::Readers)
                || SessionUser::admits(caller) && caller.user.as_deref() == Some(&**owner)
        }
        Audience::ProfileUsers(profile) => caller.may_use(profile),
    }
}

impl SessionChanger {
    /// Returns whether this caller may change what is its own.
    pub fn admits(caller: &Caller) -> bool {
        SessionUser::admits(caller) && (!caller.sees_all() || caller.has(Scope::Admin))
    }
}

impl FromRequestParts<Shared> for ApiCaller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, gateway: &Shared) -> Result<Self, ApiError> {
        Ok(ApiCaller(caller(parts, gateway)?))
    }
}

impl FromRequestParts<Shared> for SessionUser {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, gateway: &Shared) -> Result<Self, ApiError> {
        let caller = caller(parts, gateway)?;
        if SessionUser::admits(&caller) {
            return Ok(SessionUser(caller));
        }
        Err(Failure::not_allowed("this needs an account's session, or a key with the scope admin-read")
            .into())
    }
}

impl FromRequestParts<Shared> for SessionChanger {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, gateway: &Shared) -> Result<Self, ApiError> {
        let user = SessionUser::from_request_parts(parts, gateway).await?;
        user.may_change()?;
        Ok(SessionChanger(user))
    }
}

impl FromRequestParts<Shared> for ModelCaller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, gateway: &Shared) -> Result<Self, ApiError> {
        let caller = caller(parts, gateway)?;
        if caller.has(Scope::Inference) {
            return Ok(ModelCaller(caller));
        }
        Err(Failure::no_inference().into())
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

impl FromRequestParts<Shared> for AdmittedToolCaller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, gateway: &Shared) -> Result<Self, ApiError> {
        let ToolCaller(caller) = ToolCaller::from_request_parts(parts, gateway).await?;
        let permit = caller.admit_work().map_err(|error| Failure::rate_limited(&error))?;
        Ok(AdmittedToolCaller(caller, permit))
    }
}

impl FromRequestParts<Shared> for AdminReader {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, gateway: &Shared) -> Result<Self, ApiError> {
        let caller = caller(parts, gateway)?;
        if AdminReader::admits(&caller) {
            return Ok(AdminReader(caller));
        }
        Err(Failure::not_allowed("this needs an administrator, or a key with the scope admin-read").into())
    }
}

impl FromRequestParts<Shared> for Admin {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, gateway: &Shared) -> Result<Self, ApiError> {
        let caller = caller(parts, gateway)?;
        if caller.has(Scope::Admin) {
            return Ok(Admin(caller));
        }
        Err(Failure::not_allowed("this needs an administrator, or a key with the scope admin").into())
    }
}

impl FromRequestParts<Shared> for DocsReader {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, gateway: &Shared) -> Result<Self, ApiError> {
        if gateway.accounts.gate.trust(transport(&parts.extensions)) < Trust::Monitoring {
            caller(parts, gateway)?;
        }
        Ok(DocsReader)
    }
}

impl FromRequestParts<Shared> for Anyone {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, gateway: &Shared) -> Result<Self, Self::Rejection> {
        Ok(Anyone(admit(&parts.headers, &parts.method, &parts.extensions, gateway)))
    }
}

/// Returns the transport that a request came in over.
pub fn transport(extensions: &Extensions) -> Transport {
    extensions.get::<Arrival>().map_or(Transport::Network, |arrival| arrival.transport)
}

/// Returns the caller of a request, and ends the answer when the caller loses its right, even if the client does not read.
pub fn admit(
    headers: &HeaderMap,
    method: &Method,
    extensions: &Extensions,
    gateway: &Shared,
) -> Result<Caller, AuthError> {
    match extensions.get::<Arrival>() {
        Some(arrival) => admit_arrival(headers, method, arrival, gateway),
        None => identify(headers, method, Transport::Network, gateway),
    }
}

/// The same for a request that was not handed to the router.
pub fn admit_arrival(
    headers: &HeaderMap,
    method: &Method,
    arrival: &Arrival,
    gateway: &Shared,
) -> Result<Caller, AuthError> {
    let caller = identify(headers, method, arrival.transport, gateway)?;
    arrival.connection.watch_right(caller.right());
    if let Some(key) = &caller.key {
        RequestFields::set_key(key);
    }
    Ok(caller)
}

/// Returns the caller who sends these headers over that transport.
pub fn identify(
    headers: &HeaderMap,
    method: &Method,
    transport: Transport,
    gateway: &Shared,
) -> Result<Caller, AuthError> {
    let (bearer, api_key) = (bearer(headers), api_key(headers));
    let cookie = if bearer.or(api_key).is_none() { cookie(headers) } else { None };
    let foreign = cookie.is_some() && !is_own_page(headers, method);
    gateway.accounts.gate.admit(Credentials { bearer, api_key, cookie, foreign }, transport)
}

/// Whether a request sends a credential that is valid.
pub fn has_credential(headers: &HeaderMap, method: &Method, gateway: &Shared) -> bool {
    let caller = identify(headers, method, Transport::Network, gateway);
    caller.is_ok_and(|caller| caller.via != Via::Open)
}

fn caller(parts: &mut Parts, gateway: &Shared) -> Result<Caller, ApiError> {
    let caller = admit(&parts.headers, &parts.method, &parts.extensions, gateway)?;
    // Looked at again when the body has arrived, see `extract`.
    parts.extensions.insert(caller.right().clone());
    Ok(caller)
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, key) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let key = key.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !key.is_empty()).then_some(key)
}

fn api_key(headers: &HeaderMap) -> Option<&str> {
    headers.get("x-api-key")?.to_str().ok().filter(|key| !key.is_empty())
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    cookie_named(headers, SESSION_COOKIE)
}

/// A cookie that is there and not empty.
pub fn cookie_named<'a>(headers: &'a HeaderMap, wanted: &str) -> Option<&'a str> {
    let all = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let mut pairs = all.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == wanted).map(|(_, token)| token).filter(|token| !token.is_empty())
}

/// Whether a request that carries the cookie was made by a page of ours. Browsers send no Origin when
/// a page of the same origin only reads.
fn is_own_page(headers: &HeaderMap, method: &Method) -> bool {
    let reads = matches!(*method, Method::GET | Method::HEAD);
    let text = |name| headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
    match (text(header::ORIGIN), text(header::HOST)) {
        (Some(origin), Some(host)) => same_origin(origin, host),
        (Some(_), None) => false,
        (None, _) => reads,
    }
}
