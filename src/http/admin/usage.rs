//! What was used, in sums.

use axum::Json;
use axum::extract::{Query, State};
use jiff::Timestamp;
use serde::Deserialize;

use crate::http::caller::AdminReader;
use crate::http::error::ApiError;
use crate::http::state::Shared;
use crate::usage::{GroupBy, UsageQuery, UsageReport};

/// RFC 3339 times, an IANA zone for days, and what to group by.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    from: Option<String>,
    to: Option<String>,
    tz: Option<String>,
    group_by: Option<String>,
}

/// `GET /api/v1/usage`
pub async fn get(
    State(gateway): State<Shared>,
    _caller: AdminReader,
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
        user: None,
    };
    Ok(Json(crate::usage::usage(&gateway.proxy.recorder, query).await?))
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
