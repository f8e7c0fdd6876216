//! What was used, in sums.

use axum::extract::State;
use jiff::Timestamp;
use serde::Deserialize;

use crate::http::caller::SessionUser;
use crate::http::error::ApiError;
use crate::http::extract::{Json, Query};
use crate::http::state::Shared;
use crate::usage::{GroupBy, UsageQuery, UsageReport};

/// RFC 3339 times, an IANA zone for days, and what to group by.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Asked {
    /// The first instant, RFC 3339 or milliseconds since 1970; included.
    from: Option<String>,
    /// The last one, not included.
    to: Option<String>,
    /// An IANA time zone for days; default UTC.
    tz: Option<String>,
    /// day, key, user, profile or model.
    group_by: Option<String>,
}

/// Add up what was used: by oneself, or by everybody for those who may see everything.
#[utoipa::path(get, path = "/usage", tag = "usage", params(Asked), responses((status = 200, body = UsageReport)))]
pub async fn get(
    State(gateway): State<Shared>,
    user: SessionUser,
    Query(asked): Query<Asked>,
) -> Result<Json<UsageReport>, ApiError> {
    let group_by = match asked.group_by.as_deref() {
        None | Some("") => None,
        Some(name) => Some(GroupBy::from_name(name).ok_or_else(|| {
            let known: Vec<&str> = GroupBy::ALL.iter().map(|group| group.name()).collect();
            ApiError::bad_request(
                format!("group_by is one of {}, not \"{name}\"", known.join(", ")),
                "group_by",
            )
        })?),
    };
    let query = UsageQuery {
        from: instant(asked.from.as_deref(), "from")?,
        to: instant(asked.to.as_deref(), "to")?,
        tz: asked.tz,
        group_by,
        user: user.owner().map(str::to_owned),
    };
    let mut report = crate::usage::usage(&gateway.proxy.recorder, query).await?;
    let index = gateway.accounts.index();
    for group in &mut report.groups {
        let id = group.group.as_deref();
        group.name = match group_by {
            Some(GroupBy::Key) => id.and_then(|id| index.key(id)).map(|key| key.name.to_string()),
            Some(GroupBy::User) => {
                id.and_then(|id| index.account(id)).map(|account| account.email.to_string())
            }
            _ => None,
        };
    }
    Ok(Json(report))
}

/// Milliseconds since 1970 out of RFC 3339, or out of just that.
fn instant(text: Option<&str>, name: &str) -> Result<Option<i64>, ApiError> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    if let Ok(ms) = text.parse::<i64>() {
        return Ok(Some(ms));
    }
    match text.parse::<Timestamp>() {
        Ok(at) => Ok(Some(at.as_millisecond())),
        Err(error) => {
            let message = format!("{name} is a time such as 2026-01-31T12:00:00Z, not \"{text}\": {error}");
            Err(ApiError::bad_request(message, name))
        }
    }
}
