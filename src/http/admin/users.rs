//! Accounts, as administrators see and change them.

use std::sync::Arc;

use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::keys::check_names;
use crate::auth::{Account, Change, Role};
use crate::events::{Audience, Kind};
use crate::http::caller::{Admin, AdminReader};
use crate::http::error::ApiError;
use crate::http::extract::{Json, OptionalJson, Path};
use crate::http::openapi::ErrorBody;
use crate::http::state::Shared;
use crate::usage::rfc3339;

#[derive(Serialize, utoipa::ToSchema)]
pub struct UsersView {
    users: Vec<UserView>,
}

/// An account.
#[derive(Serialize, utoipa::ToSchema)]
pub struct UserView {
    id: String,
    email: String,
    /// admin or user.
    role: &'static str,
    /// pending, active or disabled.
    status: &'static str,
    /// RFC 3339, UTC.
    created_at: String,
    last_login_at: Option<String>,
    /// Names of the gateway's tools that it and its keys may use; null: all.
    tools: Option<Vec<String>>,
}

#[derive(Serialize, utoipa::ToSchema)]
pub struct PendingCount {
    /// Accounts that wait for approval.
    count: usize,
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RoleChange {
    /// admin or user.
    #[schema(example = "admin")]
    role: String,
}

/// Which of the gateway's tools somebody may use.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ToolsChange {
    /// Their names; an empty list: none; null: all, also those that come later.
    // Said or refused: what is left out by mistake lifts no restriction.
    #[serde(deserialize_with = "Option::deserialize")]
    #[schema(required, example = json!(["calculator"]))]
    tools: Option<Vec<String>>,
}

/// A password that is set at once; without a body a link is made instead.
#[derive(Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PasswordReset {
    #[schema(write_only)]
    password: Option<String>,
}

/// Where the account's owner chooses a new password, once; nulls: the password was set.
#[derive(Serialize, utoipa::ToSchema)]
pub struct ResetLink {
    /// A path of this gateway.
    link: Option<String>,
    token: Option<String>,
    /// RFC 3339, UTC.
    expires_at: Option<String>,
}

/// List the accounts.
#[utoipa::path(get, path = "/users", tag = "users", responses((status = 200, body = UsersView)))]
pub async fn list(State(gateway): State<Shared>, _caller: AdminReader) -> Json<UsersView> {
    Json(UsersView { users: gateway.accounts.index().accounts().iter().map(|one| view(one)).collect() })
}

/// Tell how many accounts wait for approval.
#[utoipa::path(get, path = "/users/pending/count", tag = "users", responses((status = 200, body = PendingCount)))]
pub async fn pending(State(gateway): State<Shared>, _caller: AdminReader) -> Json<PendingCount> {
    Json(PendingCount { count: gateway.accounts.pending() })
}

/// Let somebody in who waits for approval.
#[utoipa::path(
    post, path = "/users/{id}/approve", tag = "users",
    responses((status = 200, body = UserView), (status = 409, description = "It does not wait for approval", body = ErrorBody))
)]
pub async fn approve(
    State(gateway): State<Shared>,
    _caller: Admin,
    Path(id): Path<String>,
) -> Result<Json<UserView>, ApiError> {
    changed(&gateway, &id, Change::Approve).await
}

/// Turn somebody away who waits for approval; the account goes.
#[utoipa::path(
    post, path = "/users/{id}/reject", tag = "users",
    responses((status = 204, description = "It is gone"), (status = 409, description = "It does not wait for approval", body = ErrorBody))
)]
pub async fn reject(
    State(gateway): State<Shared>,
    _caller: Admin,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    removed(&gateway, &id, Change::Reject).await
}

/// Shut an account out; its sessions end and its keys are good for nothing until it is enabled.
#[utoipa::path(
    post, path = "/users/{id}/disable", tag = "users",
    responses((status = 200, body = UserView), (status = 409, description = "It is the last administrator", body = ErrorBody))
)]
pub async fn disable(
    State(gateway): State<Shared>,
    _caller: Admin,
    Path(id): Path<String>,
) -> Result<Json<UserView>, ApiError> {
    changed(&gateway, &id, Change::Disable).await
}

/// Let a disabled account in again.
#[utoipa::path(
    post, path = "/users/{id}/enable", tag = "users",
    responses((status = 200, body = UserView), (status = 409, description = "It waits for approval", body = ErrorBody))
)]
pub async fn enable(
    State(gateway): State<Shared>,
    _caller: Admin,
    Path(id): Path<String>,
) -> Result<Json<UserView>, ApiError> {
    changed(&gateway, &id, Change::Enable).await
}

/// Make somebody an administrator, or a user again.
#[utoipa::path(
    post, path = "/users/{id}/role", tag = "users", request_body = RoleChange,
    responses((status = 200, body = UserView), (status = 409, description = "It is the last administrator", body = ErrorBody))
)]
pub async fn role(
    State(gateway): State<Shared>,
    _caller: Admin,
    Path(id): Path<String>,
    Json(asked): Json<RoleChange>,
) -> Result<Json<UserView>, ApiError> {
    let unknown =
        || ApiError::bad_request(format!("a role is admin or user, not \"{}\"", asked.role), "role");
    let role = Role::from_name(&asked.role).ok_or_else(unknown)?;
    changed(&gateway, &id, Change::Role(role)).await
}

/// Restrict somebody, with all sessions and keys, to some of the gateway's tools, or lift that.
#[utoipa::path(
    post, path = "/users/{id}/tools", tag = "users", request_body = ToolsChange,
    responses((status = 200, body = UserView))
)]
pub async fn tools(
    State(gateway): State<Shared>,
    _caller: Admin,
    Path(id): Path<String>,
    Json(asked): Json<ToolsChange>,
) -> Result<Json<UserView>, ApiError> {
    check_names(asked.tools.as_deref(), "tools")?;
    changed(&gateway, &id, Change::Tools(asked.tools)).await
}

/// Make a link by which somebody chooses a new password, or set one at once.
#[utoipa::path(
    post, path = "/users/{id}/reset-password", tag = "users", request_body = Option<PasswordReset>,
    responses((status = 200, body = ResetLink), (status = 429, description = "Too many passwords are being hashed", body = ErrorBody))
)]
pub async fn reset_password(
    State(gateway): State<Shared>,
    Admin(caller): Admin,
    Path(id): Path<String>,
    OptionalJson(asked): OptionalJson<PasswordReset>,
) -> Result<Json<ResetLink>, ApiError> {
    let id = account(&gateway, &id)?.id.to_string();
    if let Some(password) = asked.and_then(|asked| asked.password) {
        gateway.accounts.set_password(&id, password).await?;
        return Ok(Json(ResetLink { link: None, token: None, expires_at: None }));
    }
    let (token, expires_at) = gateway.accounts.reset_link(&id).await?;
    tracing::info!(user.id = id, actor = %caller.name, "A link to a new password was made");
    let link = Some(format!("/login?reset={token}"));
    Ok(Json(ResetLink { link, token: Some(token), expires_at: Some(rfc3339(expires_at)) }))
}

/// Delete an account; its keys are revoked, what it used stays in the records.
#[utoipa::path(
    delete, path = "/users/{id}", tag = "users", operation_id = "delete",
    responses((status = 204, description = "It is gone"), (status = 409, description = "It is the last administrator", body = ErrorBody))
)]
pub async fn delete(
    State(gateway): State<Shared>,
    _caller: Admin,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    removed(&gateway, &id, Change::Delete).await
}

/// Publishes an account that is new or has changed, and how many wait for approval.
pub(super) fn publish(gateway: &Shared, account: &Account, kind: Kind) {
    gateway.events.publish(kind, Audience::Readers, &view(account));
    publish_pending(gateway);
}

fn publish_pending(gateway: &Shared) {
    let count = PendingCount { count: gateway.accounts.pending() };
    gateway.events.publish(Kind::UsersPendingCount, Audience::Readers, &count);
}

/// An account by its id or its address.
fn account(gateway: &Shared, name: &str) -> Result<Arc<Account>, ApiError> {
    let index = gateway.accounts.index();
    let by_email = || index.accounts().into_iter().find(|one| one.email.eq_ignore_ascii_case(name));
    let found = index.account(name).or_else(by_email);
    found.ok_or_else(|| ApiError::not_found(format!("there is no user \"{name}\"")))
}

async fn changed(gateway: &Shared, name: &str, change: Change) -> Result<Json<UserView>, ApiError> {
    let id = Arc::clone(&account(gateway, name)?.id);
    let changed = gateway.accounts.change(&id, change).await?;
    let changed = changed.ok_or_else(|| ApiError::not_found(format!("there is no user \"{name}\"")))?;
    publish(gateway, &changed, Kind::UserChanged);
    Ok(Json(view(&changed)))
}

async fn removed(gateway: &Shared, name: &str, change: Change) -> Result<StatusCode, ApiError> {
    let before = account(gateway, name)?;
    gateway.accounts.change(&before.id, change).await?;
    let gone = serde_json::json!({"id": before.id, "removed": true});
    gateway.events.publish(Kind::UserChanged, Audience::Readers, &gone);
    publish_pending(gateway);
    Ok(StatusCode::NO_CONTENT)
}

fn view(account: &Account) -> UserView {
    UserView {
        id: account.id.to_string(),
        email: account.email.to_string(),
        role: account.role.name(),
        status: account.status.name(),
        created_at: rfc3339(account.created_at),
        last_login_at: account.last_login_at.map(rfc3339),
        tools: account.tools.as_deref().map(<[String]>::to_vec),
    }
}
