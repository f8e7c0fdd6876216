//! The audit log, newest first.

use axum::extract::State;
use serde::{Deserialize, Serialize};

use crate::http::caller::AdminReader;
use crate::http::error::ApiError;
use crate::http::extract::{Json, Query};
use crate::http::state::Shared;
use crate::store::audit::{self, AuditFilter, AuditRow};
use crate::usage::rfc3339;

/// Entries given without a wish.
const LIMIT: usize = 100;

/// Which entries.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Asked {
    /// At most 1000; default 100.
    limit: Option<usize>,
    /// Only those before the one with this id.
    before: Option<String>,
    /// An account's or key's id.
    actor: Option<String>,
    /// Such as users.approve.
    action: Option<String>,
    /// What it was done to.
    target: Option<String>,
}

#[derive(Serialize, utoipa::ToSchema)]
pub struct AuditView {
    entries: Vec<AuditEntry>,
}

/// Who did what to whom, when and from where.
#[derive(Serialize, utoipa::ToSchema)]
pub struct AuditEntry {
    id: String,
    /// RFC 3339, UTC.
    at: String,
    actor: String,
    actor_name: String,
    /// session, key, environment, local_socket, open or none.
    via: String,
    action: String,
    target: Option<String>,
    /// The HTTP status it ended with.
    status: u16,
    address: Option<String>,
    request: Option<String>,
}

/// List who did what, newest first.
#[utoipa::path(get, path = "/audit", tag = "audit", params(Asked), responses((status = 200, body = AuditView)))]
pub async fn list(
    State(gateway): State<Shared>,
    _caller: AdminReader,
    Query(asked): Query<Asked>,
) -> Result<Json<AuditView>, ApiError> {
    let filter = AuditFilter {
        limit: asked.limit.unwrap_or(LIMIT),
        before: asked.before,
        actor: asked.actor,
        action: asked.action,
        target: asked.target,
    };
    let rows = audit::list(gateway.proxy.recorder.store(), filter).await?;
    Ok(Json(AuditView { entries: rows.into_iter().map(view).collect() }))
}

fn view(row: AuditRow) -> AuditEntry {
    AuditEntry {
        id: row.id,
        at: rfc3339(row.at),
        actor: row.actor,
        actor_name: row.actor_name,
        via: row.via,
        action: row.action,
        target: row.target,
        status: row.status,
        address: row.address,
        request: row.request,
    }
}
