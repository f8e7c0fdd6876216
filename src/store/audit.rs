//! The table `audit`: content-free.

use rusqlite::{Row, ToSql, params};

use super::{Store, StoreError};

/// Entries of one answer.
pub const LIST_MAX: usize = 1000;

/// Who did what to whom, when and from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
    /// UUIDv7, so that it is the order in time.
    pub id: String,
    /// Milliseconds since 1970, UTC.
    pub at: i64,
    /// The account's or key's id.
    pub actor: String,
    pub actor_name: String,
    pub via: String,
    /// `users.approve` and the like.
    pub action: String,
    pub target: Option<String>,
    /// The HTTP status it ended with.
    pub status: u16,
    pub address: Option<String>,
    /// The request's id.
    pub request: Option<String>,
}

/// Which entries; `None` asks for all.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    pub limit: usize,
    /// Only those before the one with this id.
    pub before: Option<String>,
    pub actor: Option<String>,
    pub action: Option<String>,
    pub target: Option<String>,
}

/// Adds an entry.
pub async fn add(store: &Store, row: AuditRow) -> Result<(), StoreError> {
    store
        .write(move |conn| {
            let sql = "INSERT INTO audit VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
            conn.prepare_cached(sql)?.execute(params![
                row.id,
                row.at,
                row.actor,
                row.actor_name,
                row.via,
                row.action,
                row.target,
                row.status,
                row.address,
                row.request,
            ])?;
            Ok(())
        })
        .await
}

/// Newest first.
pub async fn list(store: &Store, filter: AuditFilter) -> Result<Vec<AuditRow>, StoreError> {
    store
        .read(move |conn| {
            let conditions: [(&str, &Option<String>); 4] = [
                ("id <", &filter.before),
                ("actor =", &filter.actor),
                ("action =", &filter.action),
                ("target =", &filter.target),
            ];
            let mut sql = String::from(
                "SELECT id, at, actor, actor_name, via, action, target, status, address, request \
                 FROM audit WHERE true",
            );
            let mut values: Vec<&dyn ToSql> = Vec::new();
            for (condition, value) in conditions {
                if let Some(value) = value {
                    sql.push_str(&format!(" AND {condition} ?"));
                    values.push(value);
                }
            }
            let limit = i64::try_from(filter.limit.clamp(1, LIST_MAX)).unwrap_or(1);
            sql.push_str(" ORDER BY id DESC LIMIT ?");
            values.push(&limit);
            conn.prepare_cached(&sql)?.query_map(&*values, entry)?.collect()
        })
        .await
}

/// Forgets what is older than the instant. Returns how many entries went.
pub async fn prune(store: &Store, before_ms: i64) -> Result<usize, StoreError> {
    let end = super::requests::first_id_at(before_ms);
    store.write(move |conn| conn.execute("DELETE FROM audit WHERE id < ?1", [end])).await
}

fn entry(row: &Row<'_>) -> Result<AuditRow, rusqlite::Error> {
    Ok(AuditRow {
        id: row.get(0)?,
        at: row.get(1)?,
        actor: row.get(2)?,
        actor_name: row.get(3)?,
        via: row.get(4)?,
        action: row.get(5)?,
        target: row.get(6)?,
        status: row.get(7)?,
        address: row.get(8)?,
        request: row.get(9)?,
    })
}
