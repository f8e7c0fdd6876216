//! API keys: one's own, or everybody's for administrators.

use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::auth::{Key, Limits, Role, Scope, Scopes, Status};
use crate::config::parse_duration;
use crate::http::audit::Target;
use crate::http::caller::SessionUser;
use crate::http::error::ApiError;
use crate::http::extract::{Json, OptionalJson, Path};
use crate::http::openapi::ErrorBody;
use crate::http::state::Shared;
use crate::proxy::Failure;
use crate::store::keys::KeyRow;
use crate::system::terminal;
use crate::usage::rfc3339;

/// How long a rotated key's old secret counts without a wish.
const GRACE: Duration = Duration::from_secs(24 * 60 * 60);
const LONGEST_GRACE: Duration = Duration::from_secs(30 * 24 * 60 * 60);
const NAME_CHARS: usize = 100;
/// Profiles or tools that one key names.
const NAMES_MAX: usize = 200;

/// What a key is to be; with a name alone it may infer on all profiles.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewKey {
    #[schema(example = "laptop")]
    name: String,
    /// Of inference, mcp, tools, admin-read and admin.
    scopes: Option<Vec<String>>,
    /// Profiles it may name; absent: all.
    profiles: Option<Vec<String>>,
    /// Tools it may use; absent: all.
    tools: Option<Vec<String>>,
    /// RFC 3339; absent: never.
    expires_at: Option<String>,
    requests_per_minute: Option<u32>,
    tokens_per_minute: Option<u64>,
    /// Requests under way at one time.
    parallel: Option<u32>,
    /// Tokens from midnight to midnight, UTC.
    tokens_per_day: Option<u64>,
    /// Tokens of a calendar month, UTC.
    tokens_per_month: Option<u64>,
    /// Higher ones come first where requests wait; administrators may set it.
    #[schema(minimum = -100, maximum = 100)]
    priority: Option<i32>,
    /// The account it belongs to, for administrators; default: one's own.
    user: Option<String>,
}

#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rotation {
    /// How long the old secret still counts, such as `1h`; default 24h, at most 30d.
    #[schema(example = "1h")]
    grace: Option<String>,
}

/// A key's secret: the only time it is seen.
#[derive(Serialize, utoipa::ToSchema)]
pub struct NewKeyView {
    id: String,
    key: String,
    name: String,
    /// Until when the old secret counts, of a key that was rotated.
    #[serde(skip_serializing_if = "Option::is_none")]
    old_until: Option<String>,
}

#[derive(Serialize, utoipa::ToSchema)]
pub struct KeysView {
    keys: Vec<KeyView>,
}

/// A key, without its secret.
#[derive(Serialize, utoipa::ToSchema)]
pub struct KeyView {
    id: String,
    name: String,
    /// The first characters, to tell keys apart.
    prefix: String,
    /// The account it belongs to; null: the operator's.
    user: Option<String>,
    user_email: Option<String>,
    /// active, expired or revoked.
    status: &'static str,
    scopes: Vec<&'static str>,
    profiles: Option<Vec<String>>,
    tools: Option<Vec<String>>,
    expires_at: Option<String>,
    #[serde(flatten)]
    limits: Limits,
    used_tokens_day: u64,
    used_tokens_month: u64,
    priority: i32,
    created_at: String,
    last_used_at: Option<String>,
    revoked_at: Option<String>,
}

/// List keys: one's own, or everybody's for those who may see everything.
#[utoipa::path(get, path = "/keys", tag = "keys", responses((status = 200, body = KeysView)))]
pub async fn list(State(gateway): State<Shared>, user: SessionUser) -> Json<KeysView> {
    let now = gateway.proxy.clock.unix_ms();
    let all = gateway.accounts.index().keys();
    let seen = all.iter().filter(|key| is_theirs(&user, key));
    Json(KeysView { keys: seen.map(|key| view(&gateway, key, now)).collect() })
}

/// Make a key; the answer is the only one that holds its secret.
#[utoipa::path(
    post, path = "/keys", tag = "keys", request_body = NewKey,
    responses((status = 201, description = "It works at once", body = NewKeyView), (status = 409, description = "There are too many keys", body = ErrorBody))
)]
pub async fn create(
    State(gateway): State<Shared>,
    user: SessionUser,
    Json(asked): Json<NewKey>,
) -> Result<Response, ApiError> {
    let row = wished(&gateway, &user, asked)?;
    let (key, secret) = gateway.accounts.create_key(row).await?;
    tracing::info!(key.id = %key.id, "A key was made");
    let view =
        NewKeyView { id: key.id.to_string(), key: secret, name: key.name.to_string(), old_until: None };
    Ok((StatusCode::CREATED, Target::of(&key.id), Json(view)).into_response())
}

/// Give a key a new secret; the old one counts for a while longer.
#[utoipa::path(
    post, path = "/keys/{id}/rotate", tag = "keys", request_body = Option<Rotation>,
    responses((status = 200, body = NewKeyView), (status = 409, description = "It was revoked", body = ErrorBody))
)]
pub async fn rotate(
    State(gateway): State<Shared>,
    user: SessionUser,
    Path(id): Path<String>,
    OptionalJson(asked): OptionalJson<Rotation>,
) -> Result<Json<NewKeyView>, ApiError> {
    changeable(&gateway, &user, &id)?;
    let grace = match asked.and_then(|asked| asked.grace) {
        None => GRACE,
        Some(text) => {
            parse_duration(&text).ok().filter(|grace| *grace <= LONGEST_GRACE).ok_or_else(|| {
                ApiError::bad_request("grace is a time of at most 30d, such as \"1h\"", "grace")
            })?
        }
    };
    let (key, secret) = gateway.accounts.rotate(&id, grace).await?;
    Ok(Json(NewKeyView {
        id: key.id.to_string(),
        key: secret,
        name: key.name.to_string(),
        old_until: key.row.old_until.map(rfc3339),
    }))
}

/// Revoke a key: it stops working at once, in streams that run as well.
#[utoipa::path(delete, path = "/keys/{id}", tag = "keys", responses((status = 204, description = "It is good for nothing")))]
pub async fn revoke(
    State(gateway): State<Shared>,
    user: SessionUser,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    changeable(&gateway, &user, &id)?;
    gateway.accounts.revoke(&id).await?;
    tracing::info!(key.id = id, "Key revoked");
    Ok(StatusCode::NO_CONTENT)
}

fn wished(gateway: &Shared, user: &SessionUser, asked: NewKey) -> Result<KeyRow, ApiError> {
    let caller = &user.0;
    let admin = caller.has(Scope::Admin);
    user.may_change()?;
    let name = asked.name.trim();
    if name.is_empty() || name.chars().count() > NAME_CHARS || name.chars().any(terminal::steers) {
        return Err(ApiError::bad_request(
            format!(
                "a key has a name of 1 to {NAME_CHARS} characters, without control characters and direction marks"
            ),
            "name",
        ));
    }
    check_limits(&asked)?;
    let owner = match asked.user {
        Some(_) if !admin => {
            return Err(Failure::not_allowed("only an administrator makes keys for others").into());
        }
        Some(id) => Some(id),
        None => caller.user.as_deref().map(str::to_owned),
    };
    let most = match &owner {
        None => Scopes::ALL,
        Some(id) => {
            match gateway.accounts.index().account(id).filter(|account| account.status == Status::Active) {
                Some(account) => account.role.scopes(),
                None => {
                    return Err(ApiError::bad_request(format!("there is no active user \"{id}\""), "user"));
                }
            }
        }
    };
    let scopes = scopes(asked.scopes, most)?;
    check_names(asked.profiles.as_deref(), "profiles")?;
    check_names(asked.tools.as_deref(), "tools")?;
    let priority = asked.priority.unwrap_or(0);
    if !(-100..=100).contains(&priority) || (priority > 0 && !admin) {
        return Err(ApiError::bad_request(
            "priority is -100 to 100; above 0 an administrator sets it",
            "priority",
        ));
    }
    Ok(KeyRow {
        name: name.to_owned(),
        user: owner,
        scopes: scopes.join(" "),
        profiles: asked.profiles,
        tools: asked.tools,
        expires_at: expiry(asked.expires_at.as_deref(), gateway.proxy.clock.unix_ms())?,
        limits: Limits {
            requests_per_minute: asked.requests_per_minute,
            tokens_per_minute: asked.tokens_per_minute,
            parallel: asked.parallel,
            tokens_per_day: asked.tokens_per_day,
            tokens_per_month: asked.tokens_per_month,
        }
        .to_json(),
        priority,
        ..KeyRow::default()
    })
}

/// Whether a list of names is one that is kept.
pub(super) fn check_names(names: Option<&[String]>, param: &'static str) -> Result<(), ApiError> {
    if names.is_some_and(|names| names.len() > NAMES_MAX || names.iter().any(String::is_empty)) {
        let words = format!("{param} names at most {NAMES_MAX}, none of them empty");
        return Err(ApiError::bad_request(words, param));
    }
    Ok(())
}

fn scopes(asked: Option<Vec<String>>, most: Scopes) -> Result<Vec<&'static str>, ApiError> {
    let Some(asked) = asked else { return Ok(vec![Scope::Inference.name()]) };
    let mut scopes = Vec::new();
    for name in &asked {
        let known = Scope::ALL.map(Scope::name).join(", ");
        let unknown =
            || ApiError::bad_request(format!("\"{name}\" is no scope; there are {known}"), "scopes");
        let scope = Scope::from_name(name).ok_or_else(unknown)?;
        if !most.has(scope) {
            let words = format!("the scope {name} needs an owner of the role {}", Role::Admin.name());
            return Err(Failure::not_allowed(words).into());
        }
        scopes.push(scope);
    }
    if scopes.is_empty() {
        return Err(ApiError::bad_request("a key without a scope is good for nothing", "scopes"));
    }
    Ok(Scopes::of(&scopes).names())
}

/// A limit of nothing would be a key that is good for nothing.
fn check_limits(asked: &NewKey) -> Result<(), ApiError> {
    let limits = [
        ("requests_per_minute", asked.requests_per_minute.map(u64::from)),
        ("tokens_per_minute", asked.tokens_per_minute),
        ("parallel", asked.parallel.map(u64::from)),
        ("tokens_per_day", asked.tokens_per_day),
        ("tokens_per_month", asked.tokens_per_month),
    ];
    match limits.into_iter().find(|(_, limit)| *limit == Some(0)) {
        Some((param, _)) => Err(ApiError::bad_request(format!("{param} is at least 1, or left out"), param)),
        None => Ok(()),
    }
}

fn expiry(text: Option<&str>, now_ms: i64) -> Result<Option<i64>, ApiError> {
    let Some(text) = text else { return Ok(None) };
    let at = text.parse::<Timestamp>().ok().map(Timestamp::as_millisecond);
    match at.filter(|at| *at > now_ms) {
        Some(at) => Ok(Some(at)),
        None => Err(ApiError::bad_request(
            format!("expires_at is a time to come, such as 2030-01-31T12:00:00Z, not \"{text}\""),
            "expires_at",
        )),
    }
}

fn is_theirs(user: &SessionUser, key: &Key) -> bool {
    user.owner().is_none_or(|owner| key.user.as_deref() == Some(owner))
}

/// Checks that the caller may change the key; a key of another account is not found.
fn changeable(gateway: &Shared, user: &SessionUser, id: &str) -> Result<(), ApiError> {
    user.may_change()?;
    let found = gateway.accounts.index().key(id).filter(|key| is_theirs(user, key));
    found.map(drop).ok_or_else(|| ApiError::not_found(format!("there is no key \"{id}\"")))
}

fn view(gateway: &Shared, key: &Key, now_ms: i64) -> KeyView {
    let row = &key.row;
    let (day, month) = key.meter.used();
    let owner = key.user.as_ref().and_then(|user| gateway.accounts.index().account(user));
    KeyView {
        id: row.id.clone(),
        name: row.name.clone(),
        prefix: row.prefix.clone(),
        user: row.user.clone(),
        user_email: owner.map(|owner| owner.email.to_string()),
        status: match (row.revoked_at, row.expires_at) {
            (Some(_), _) => "revoked",
            (None, Some(at)) if at <= now_ms => "expired",
            _ => "active",
        },
        scopes: key.scopes.names(),
        profiles: row.profiles.clone(),
        tools: row.tools.clone(),
        expires_at: row.expires_at.map(rfc3339),
        limits: Limits::read(&row.limits),
        used_tokens_day: day,
        used_tokens_month: month,
        priority: row.priority,
        created_at: rfc3339(row.created_at),
        last_used_at: key.last_used_ms().map(rfc3339),
        revoked_at: row.revoked_at.map(rfc3339),
    }
}
