//! Reads from the table `requests`. The id carries the time, so ranges of time are ranges of the
//! primary key.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::types::{ToSql, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row};

use super::{RequestRecord, Status, Text, Tokens, attempts};
use crate::store::{Store, StoreError};

/// Records answered at one time.
pub const LIST_MAX: usize = 1000;

const COLUMNS: &str = "\
id, started_at, status, profile, model, key, user, \
prompt_tokens, completion_tokens, cached_tokens, reasoning_tokens, estimated, \
ttft_ms, decode_tps, duration_ms, endpoint, requested_model, streamed, http_status, \
error_code, error_message, finish_reason, client_request_id, queue_ms, start_ms, warnings, attempts";

/// Which records to list. `None` takes all.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// At most so many, and never more than [`LIST_MAX`]; 0 means that too.
    pub limit: usize,
    /// Only records older than the one of this id: the last of the page before.
    pub before: Option<String>,
    pub status: Option<Status>,
    pub profile: Option<String>,
    pub key: Option<String>,
    pub user: Option<String>,
}

/// A span of time in milliseconds since 1970, UTC: `from` belongs to it, `to` does not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Range {
    pub from: Option<i64>,
    pub to: Option<i64>,
}

/// What reports read of a record, borrowed from the row at hand.
#[derive(Debug, Clone, Copy)]
pub struct UsageRow<'a> {
    pub started_at: i64,
    pub status: &'a str,
    pub profile: Option<&'a str>,
    pub model: Option<&'a str>,
    pub key: Option<&'a str>,
    pub user: Option<&'a str>,
    pub tokens: Tokens,
    pub ttft_ms: Option<f64>,
    pub decode_tps: Option<f64>,
    pub duration_ms: Option<f64>,
}

impl<'a> UsageRow<'a> {
    pub(super) fn of(record: &'a RequestRecord) -> UsageRow<'a> {
        UsageRow {
            started_at: record.started_at,
            status: record.status.name(),
            profile: record.profile.as_deref(),
            model: record.model.as_deref(),
            key: record.key.as_deref(),
            user: record.user.as_deref(),
            tokens: record.tokens,
            ttft_ms: record.ttft_ms,
            decode_tps: record.decode_tps,
            duration_ms: record.duration_ms,
        }
    }
}

/// Newest first.
pub async fn list(store: &Store, filter: Filter) -> Result<Vec<RequestRecord>, StoreError> {
    store.read(move |conn| select(conn, &filter)).await
}

/// Returns the record with this id of ours, or else the newest with this `x-request-id`. Clients choose that
/// one, so only the records of `user` are searched, unless that is `None`: another's record would hide theirs.
pub async fn get(store: &Store, id: &str, user: Option<&str>) -> Result<Option<RequestRecord>, StoreError> {
    let (id, user) = (id.to_owned(), user.map(str::to_owned));
    store
        .read(move |conn| {
            let by = |column: &str| {
                conn.prepare_cached(&format!(
                    "SELECT {COLUMNS} FROM requests WHERE {column} = ?1 AND (?2 IS NULL OR user = ?2) \
                     ORDER BY id DESC LIMIT 1"
                ))?
                .query_row((&id, &user), record)
                .optional()
            };
            match by("id")? {
                Some(found) => Ok(Some(found)),
                None => by("client_request_id"),
            }
        })
        .await
}

/// When the newest request began, in milliseconds since 1970.
pub async fn newest(store: &Store) -> Result<Option<i64>, StoreError> {
    store
        .read(|conn| {
            let sql = "SELECT started_at FROM requests ORDER BY id DESC LIMIT 1";
            conn.prepare_cached(sql)?.query_row((), |row| row.get(0)).optional()
        })
        .await
}

/// When each model was asked last.
pub async fn last_used(store: &Store) -> Result<HashMap<Arc<str>, i64>, StoreError> {
    store
        .read(|conn| {
            let sql = "SELECT model, max(started_at) FROM requests WHERE model IS NOT NULL GROUP BY model";
            let mut statement = conn.prepare_cached(sql)?;
            let rows =
                statement.query_map((), |row| Ok((Arc::from(row.get_ref(0)?.as_str()?), row.get(1)?)))?;
            rows.collect()
        })
        .await
}

/// Reads what [`usage_row`] takes; `rows` says from where, and which.
pub(in crate::store) fn usage_sql(rows: &str) -> String {
    format!(
        "SELECT started_at, status, profile, model, key, user, prompt_tokens, completion_tokens, \
         cached_tokens, reasoning_tokens, estimated, ttft_ms, decode_tps, duration_ms FROM {rows}"
    )
}

/// The lowest id that a record of that instant, or of a later one, can have.
pub(in crate::store) fn first_id_at(unix_ms: i64) -> String {
    let hex = format!("{:012x}", unix_ms.clamp(0, (1 << 48) - 1));
    let (high, low) = hex.split_at(8);
    format!("{high}-{low}")
}

fn select(conn: &Connection, filter: &Filter) -> Result<Vec<RequestRecord>, rusqlite::Error> {
    let conditions: [(&str, Option<&dyn ToSql>); 4] = [
        ("id <", filter.before.as_ref().map(|v| v as &dyn ToSql)),
        ("profile =", filter.profile.as_ref().map(|v| v as &dyn ToSql)),
        ("key =", filter.key.as_ref().map(|v| v as &dyn ToSql)),
        ("user =", filter.user.as_ref().map(|v| v as &dyn ToSql)),
    ];
    let mut sql = format!("SELECT {COLUMNS} FROM requests WHERE true");
    if let Some(status) = filter.status {
        // As a literal, so that SQLite sees that the index of running requests applies.
        sql.push_str(&format!(" AND status = '{}'", status.name()));
    }
    let mut values: Vec<&dyn ToSql> = Vec::new();
    for (condition, value) in conditions {
        if let Some(value) = value {
            sql.push_str(&format!(" AND {condition} ?"));
            values.push(value);
        }
    }
    let limit = if filter.limit == 0 { LIST_MAX } else { filter.limit.min(LIST_MAX) };
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    sql.push_str(" ORDER BY id DESC LIMIT ?");
    values.push(&limit);
    conn.prepare_cached(&sql)?.query_map(&*values, record)?.collect()
}

fn record(row: &Row<'_>) -> Result<RequestRecord, rusqlite::Error> {
    let owned = |text: Option<String>| text.map(Cow::Owned);
    Ok(RequestRecord {
        id: row.get(0)?,
        started_at: row.get(1)?,
        status: Status::from_name(row.get_ref(2)?.as_str()?).unwrap_or(Status::Failed),
        profile: text(row, 3)?,
        model: text(row, 4)?,
        key: text(row, 5)?,
        user: text(row, 6)?,
        tokens: tokens(row, 7)?,
        ttft_ms: row.get(12)?,
        decode_tps: row.get(13)?,
        duration_ms: row.get(14)?,
        endpoint: Cow::Owned(row.get(15)?),
        requested_model: text(row, 16)?,
        streamed: row.get(17)?,
        http_status: row.get(18)?,
        error_code: owned(row.get(19)?),
        error_message: row.get(20)?,
        finish_reason: owned(row.get(21)?),
        client_request_id: text(row, 22)?,
        queue_ms: row.get(23)?,
        start_ms: row.get(24)?,
        warnings: attempts::decode_warnings(row.get_ref(25)?.as_str_or_null()?),
        attempts: attempts::decode(row.get_ref(26)?.as_str_or_null()?),
    })
}

pub(in crate::store) fn usage_row<'a>(row: &'a Row<'_>) -> Result<UsageRow<'a>, rusqlite::Error> {
    Ok(UsageRow {
        started_at: row.get(0)?,
        status: row.get_ref(1)?.as_str()?,
        profile: row.get_ref(2)?.as_str_or_null()?,
        model: row.get_ref(3)?.as_str_or_null()?,
        key: row.get_ref(4)?.as_str_or_null()?,
        user: row.get_ref(5)?.as_str_or_null()?,
        tokens: tokens(row, 6)?,
        ttft_ms: row.get(11)?,
        decode_tps: row.get(12)?,
        duration_ms: row.get(13)?,
    })
}

/// Five columns in the order of [`Tokens`].
fn tokens(row: &Row<'_>, first: usize) -> Result<Tokens, rusqlite::Error> {
    let count = |at| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(at)?.map(i64::unsigned_abs));
    Ok(Tokens {
        prompt: count(first)?,
        completion: count(first + 1)?,
        cached: count(first + 2)?,
        reasoning: count(first + 3)?,
        estimated: row.get(first + 4)?,
    })
}

fn text(row: &Row<'_>, at: usize) -> Result<Text, rusqlite::Error> {
    match row.get_ref(at)? {
        ValueRef::Null => Ok(None),
        value => Ok(Some(Arc::from(value.as_str()?))),
    }
}
