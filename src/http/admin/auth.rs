//! Registering, logging in and out, sessions, and choosing a new password by a link.

use axum::Extension;
use axum::extract::State;
use axum::response::{AppendHeaders, IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};

use crate::auth::{Account, AuthFault, Caller, DEVICE_S, Opened, Origin, Registered, Scope, Session, Via};
use crate::events::Kind;
use crate::http::audit::Target;
use crate::http::caller::{Anyone, ApiCaller, SESSION_COOKIE, SessionChanger, SessionUser, cookie_named};
use crate::http::edge::Arrival;
use crate::http::error::ApiError;
use crate::http::extract::{Json, Path};
use crate::http::openapi::ErrorBody;
use crate::http::state::Shared;
use crate::usage::rfc3339;

/// Bytes of a body that anyone may send: names, a password, a token.
pub const BODY_MAX: usize = 64 << 10;
/// Characters of a browser's name that are kept.
const AGENT_CHARS: usize = 200;

/// The cookie of a browser that has logged in with a password before, and the only path it is sent to.
const DEVICE_COOKIE: &str = "mlx_gateway_device";
const DEVICE_PATH: &str = "/api/v1/auth/login";

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Registration {
    #[schema(example = "ada@example.com")]
    email: String,
    /// At least 8 characters.
    #[schema(write_only)]
    password: String,
    /// The token of the set-up link. The first account needs it, or an administrator's credential, unless the
    /// gateway is open to its sender: no key exists, `auth.api` is not `required`, registration is not closed,
    /// and the request comes from this machine and through no proxy.
    #[schema(write_only)]
    setup_token: Option<String>,
}

/// An account's address and password, or a key.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    email: Option<String>,
    #[schema(write_only)]
    password: Option<String>,
    #[schema(write_only)]
    api_key: Option<String>,
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPassword {
    /// What the link carries.
    #[schema(write_only)]
    token: String,
    #[schema(write_only)]
    password: String,
}

/// Who is logged in.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct UserSummary {
    id: String,
    /// Null for a key without an account.
    email: Option<String>,
    /// admin or user.
    role: &'static str,
    /// active or pending.
    status: &'static str,
}

/// A session that has begun; the cookie carries the same token.
#[derive(Serialize, utoipa::ToSchema)]
pub struct LoggedIn {
    token: String,
    /// RFC 3339, UTC.
    expires_at: String,
    user: UserSummary,
}

/// The first administrator gets a session and a first key; later accounts wait for approval.
#[derive(Serialize, utoipa::ToSchema)]
pub struct RegisteredView {
    user: UserSummary,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<FirstKey>,
}

/// From now on requests need a key; this is the first one, seen only here.
#[derive(Serialize, utoipa::ToSchema)]
pub struct FirstKey {
    id: String,
    key: String,
}

/// Who asks, and how the gateway stands to strangers.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Me {
    /// Null: nobody is logged in, and nobody needs to be.
    user: Option<UserSummary>,
    /// session, key, environment, local_socket or open.
    via: &'static str,
    scopes: Vec<&'static str>,
    /// The session's id.
    session: Option<String>,
    /// Nobody has to log in: no key and no account exists.
    open: bool,
}

/// What a page needs to know before anybody is logged in.
#[derive(Serialize, utoipa::ToSchema)]
pub struct AuthState {
    /// No key and no account exists.
    setup: bool,
    /// No account exists: the next one is the administrator's.
    first_account: bool,
    /// The first account needs the set-up link, or an administrator's credential, from this caller.
    setup_token_needed: bool,
    /// Pages and requests need no credential here.
    open: bool,
    /// Accounts can be asked for.
    registration: bool,
    /// Who is logged in.
    user: Option<UserSummary>,
    /// What the caller's credential allows here; empty: it has to log in.
    scopes: Vec<&'static str>,
    /// Whether the caller may keep conversations and make keys of its own: an account's session, or the scope
    /// admin.
    personal: bool,
}

#[derive(Serialize, utoipa::ToSchema)]
pub struct SessionsView {
    sessions: Vec<SessionView>,
}

#[derive(Serialize, utoipa::ToSchema)]
pub struct SessionView {
    id: String,
    user: Option<String>,
    key: Option<String>,
    created_at: String,
    expires_at: String,
    address: Option<String>,
    agent: Option<String>,
    /// The one that asks.
    current: bool,
}

/// Tell what a page needs to know before anybody is logged in.
#[utoipa::path(get, path = "/auth/state", tag = "public", operation_id = "auth_state", responses((status = 200, body = AuthState)))]
pub async fn state(
    State(gateway): State<Shared>,
    Extension(arrival): Extension<Arrival>,
    Anyone(who): Anyone,
) -> Json<AuthState> {
    let accounts = &gateway.accounts;
    let first_account = !accounts.index().has_accounts();
    let registration =
        accounts.takes_registrations(accounts.proof(None, who.as_ref().ok(), arrival.transport));
    Json(AuthState {
        setup: accounts.gate.is_fresh(),
        first_account,
        setup_token_needed: first_account && !registration,
        open: accounts.gate.is_open(arrival.transport),
        registration,
        scopes: who.as_ref().map(|caller| caller.scopes.names()).unwrap_or_default(),
        personal: who.as_ref().is_ok_and(SessionChanger::admits),
        user: who.ok().filter(is_named).map(|caller| of_caller(&gateway, &caller)),
    })
}

/// Ask for an account; the first one is the administrator's.
#[utoipa::path(
    post, path = "/auth/register", tag = "public", operation_id = "auth_register", request_body = Registration,
    responses(
        (status = 201, description = "It is there, or waits for approval", body = RegisteredView),
        (status = 401, description = "The first account needs the set-up link or an administrator's credential", body = ErrorBody),
        (status = 403, description = "Registration is closed, or the set-up token or credential is not enough", body = ErrorBody),
        (status = 409, description = "The address is taken", body = ErrorBody),
        (status = 429, description = "Too many attempts", body = ErrorBody),
    )
)]
pub async fn register(
    State(gateway): State<Shared>,
    Extension(arrival): Extension<Arrival>,
    headers: HeaderMap,
    Anyone(who): Anyone,
    Json(asked): Json<Registration>,
) -> Result<Response, ApiError> {
    let token = asked.setup_token.as_deref();
    let proof = gateway.accounts.proof(token, who.as_ref().ok(), arrival.transport);
    let origin = origin(&arrival, &headers);
    let registered = gateway.accounts.register(&asked.email, asked.password, proof, &origin).await;
    match registered
        .map_err(|fault| refused(fault, token.is_some() || who.is_ok_and(|caller| is_named(&caller))))?
    {
        Registered::Pending(account) => {
            super::users::publish(&gateway, &account, Kind::UserPending);
            let view = RegisteredView { user: summary(&account), token: None, expires_at: None, key: None };
            Ok((StatusCode::CREATED, Target::of(&account.email), Json(view)).into_response())
        }
        Registered::First { account, opened, key, secret } => {
            let view = RegisteredView {
                user: summary(&account),
                token: Some(opened.token.clone()),
                expires_at: Some(rfc3339(opened.expires_at)),
                key: Some(FirstKey { id: key.id.to_string(), key: secret }),
            };
            let cookies = cookies(&gateway, &opened, arrival.secure);
            Ok((StatusCode::CREATED, cookies, Target::of(&account.email), Json(view)).into_response())
        }
    }
}

/// Log in with an account or a key.
#[utoipa::path(
    post, path = "/auth/login", tag = "public", operation_id = "auth_login", request_body = Credentials,
    responses(
        (status = 200, body = LoggedIn),
        (status = 401, description = "The password or key is wrong", body = ErrorBody),
        (status = 429, description = "Too many attempts", body = ErrorBody),
    )
)]
pub async fn login(
    State(gateway): State<Shared>,
    Extension(arrival): Extension<Arrival>,
    headers: HeaderMap,
    Json(asked): Json<Credentials>,
) -> Result<Response, ApiError> {
    let origin = origin(&arrival, &headers);
    let (opened, who) = match (asked.api_key, asked.email, asked.password) {
        (Some(key), None, None) => {
            (gateway.accounts.log_in_with_key(&key, &origin).await, "a key".to_owned())
        }
        (None, Some(email), Some(password)) => {
            (gateway.accounts.log_in(&email, password, &origin).await, email)
        }
        _ => {
            let message = "log in with email and password, or with api_key alone";
            return Err(ApiError::bad_request(message, "body"));
        }
    };
    let opened = opened?;
    let view = LoggedIn {
        token: opened.token.clone(),
        expires_at: rfc3339(opened.expires_at),
        user: of_caller(&gateway, &opened.caller),
    };
    let cookies = cookies(&gateway, &opened, arrival.secure);
    Ok((cookies, Target::of(&who), Json(view)).into_response())
}

/// End the session that asks.
#[utoipa::path(post, path = "/auth/logout", tag = "auth", responses((status = 204, description = "It has ended")))]
pub async fn logout(
    State(gateway): State<Shared>,
    Extension(arrival): Extension<Arrival>,
    ApiCaller(caller): ApiCaller,
) -> Result<Response, ApiError> {
    if let Some(id) = &caller.session {
        gateway.accounts.end_sessions(|session| session.id == **id).await?;
    }
    let cookie = (header::SET_COOKIE, cookie(SESSION_COOKIE, "", "/", 0, arrival.secure));
    Ok((StatusCode::NO_CONTENT, AppendHeaders([cookie])).into_response())
}

/// Tell who asks.
#[utoipa::path(get, path = "/auth/me", tag = "auth", responses((status = 200, body = Me)))]
pub async fn me(State(gateway): State<Shared>, ApiCaller(caller): ApiCaller) -> Json<Me> {
    Json(Me {
        user: is_named(&caller).then(|| of_caller(&gateway, &caller)),
        via: caller.via.name(),
        scopes: caller.scopes.names(),
        session: caller.session.as_deref().map(str::to_owned),
        open: caller.via == Via::Open,
    })
}

/// Choose a new password by a link that an administrator made.
#[utoipa::path(
    post, path = "/auth/reset-password", tag = "public", operation_id = "auth_reset_password", request_body = NewPassword,
    responses(
        (status = 204, description = "The password is set; sessions have ended"),
        (status = 404, description = "The link has been used or has expired", body = ErrorBody),
        (status = 429, description = "Too many attempts", body = ErrorBody),
    )
)]
pub async fn reset(
    State(gateway): State<Shared>,
    Extension(arrival): Extension<Arrival>,
    headers: HeaderMap,
    Json(asked): Json<NewPassword>,
) -> Result<StatusCode, ApiError> {
    gateway.accounts.reset(&asked.token, asked.password, &origin(&arrival, &headers)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// List sessions: one's own, or everybody's for those who may see everything.
#[utoipa::path(get, path = "/auth/sessions", tag = "auth", responses((status = 200, body = SessionsView)))]
pub async fn sessions(State(gateway): State<Shared>, user: SessionUser) -> Json<SessionsView> {
    let all = gateway.accounts.index().sessions();
    let seen = all.iter().filter(|session| is_theirs(&user, session));
    Json(SessionsView { sessions: seen.map(|session| session_view(session, &user.0)).collect() })
}

/// End a session.
#[utoipa::path(delete, path = "/auth/sessions/{id}", tag = "auth", operation_id = "end_session", responses((status = 204, description = "It has ended")))]
pub async fn end_session(
    State(gateway): State<Shared>,
    user: SessionUser,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    user.may_change()?;
    let found = gateway.accounts.index().session(&id).filter(|session| is_theirs(&user, session));
    let found = found.ok_or_else(|| ApiError::not_found(format!("there is no session \"{id}\"")))?;
    gateway.accounts.end_sessions(|session| session.id == found.row.id).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) fn summary(account: &Account) -> UserSummary {
    UserSummary {
        id: account.id.to_string(),
        email: Some(account.email.to_string()),
        role: account.role.name(),
        status: account.status.name(),
    }
}

fn of_caller(gateway: &Shared, caller: &Caller) -> UserSummary {
    let account = caller.user.as_ref().and_then(|user| gateway.accounts.index().account(user));
    let role = if caller.has(Scope::Admin) { "admin" } else { "user" };
    match account {
        Some(account) => UserSummary { role, ..summary(&account) },
        None => UserSummary {
            id: caller.key.as_deref().unwrap_or("local").to_owned(),
            email: None,
            role,
            status: "active",
        },
    }
}

fn is_named(caller: &Caller) -> bool {
    matches!(caller.via, Via::Session | Via::Key | Via::Environment)
}

fn is_theirs(user: &SessionUser, session: &Session) -> bool {
    user.owner().is_none_or(|owner| session.row.user.as_deref() == Some(owner))
}

fn session_view(session: &Session, caller: &Caller) -> SessionView {
    let row = &session.row;
    SessionView {
        id: row.id.clone(),
        user: row.user.clone(),
        key: row.key.clone(),
        created_at: rfc3339(row.created_at),
        expires_at: rfc3339(row.expires_at),
        address: row.address.clone(),
        agent: row.agent.clone(),
        current: caller.session.as_deref() == Some(&row.id),
    }
}

fn origin(arrival: &Arrival, headers: &HeaderMap) -> Origin {
    let agent = headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok());
    Origin {
        address: arrival.address,
        agent: agent.map(|agent| agent.chars().take(AGENT_CHARS).collect()),
        device: cookie_named(headers, DEVICE_COOKIE).map(str::to_owned),
    }
}

/// Returns the answer to a registration that is refused: 403 where a token or a credential was sent.
fn refused(fault: AuthFault, has_proof: bool) -> ApiError {
    let is_first = matches!(fault, AuthFault::FirstAccount(_));
    let mut error = ApiError::from(fault);
    if is_first && has_proof {
        (error.0.status, error.0.kind) = (403, "permission_error");
    }
    error
}

type Cookie = (header::HeaderName, HeaderValue);

/// Returns the page's session, and what makes its browser a known one for later log-ins.
fn cookies(gateway: &Shared, opened: &Opened, secure: bool) -> AppendHeaders<Vec<Cookie>> {
    let session = cookie(SESSION_COOKIE, &opened.token, "/", gateway.accounts.session_s(), secure);
    let device = opened.device.as_deref();
    let device = device.map(|token| cookie(DEVICE_COOKIE, token, DEVICE_PATH, DEVICE_S, secure));
    AppendHeaders(
        [Some(session), device].into_iter().flatten().map(|value| (header::SET_COOKIE, value)).collect(),
    )
}

/// Returns a cookie that scripts cannot read and that is never sent along from another site.
fn cookie(name: &str, token: &str, path: &str, seconds: i64, secure: bool) -> HeaderValue {
    let secure = if secure { "; Secure" } else { "" };
    let text = format!("{name}={token}; Path={path}; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static(""))
}
