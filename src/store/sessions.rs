//! The table `sessions`.

use rusqlite::{Row, params};

use super::{Store, StoreError};

/// One session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRow {
    pub id: String,
    pub user: Option<String>,
    pub key: Option<String>,
    /// Milliseconds since 1970, UTC, like all times here.
    pub created_at: i64,
    pub expires_at: i64,
    pub address: Option<String>,
    pub agent: Option<String>,
}

/// Every session that is kept, expired ones included.
pub async fn all(store: &Store) -> Result<Vec<SessionRow>, StoreError> {
    store
        .read(|conn| {
            let sql =
                "SELECT id, user, key, created_at, expires_at, address, agent FROM sessions ORDER BY id";
            conn.prepare_cached(sql)?.query_map([], session)?.collect()
        })
        .await
}

/// Adds a session and forgets those that have expired.
pub async fn add(store: &Store, row: SessionRow) -> Result<(), StoreError> {
    store
        .write(move |conn| {
            let tx = conn.transaction()?;
            tx.prepare_cached("DELETE FROM sessions WHERE expires_at < ?1")?.execute([row.created_at])?;
            tx.prepare_cached("INSERT INTO sessions VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?.execute(
                params![row.id, row.user, row.key, row.created_at, row.expires_at, row.address, row.agent,],
            )?;
            tx.commit()
        })
        .await
}

fn session(row: &Row<'_>) -> Result<SessionRow, rusqlite::Error> {
    Ok(SessionRow {
        id: row.get(0)?,
        user: row.get(1)?,
        key: row.get(2)?,
        created_at: row.get(3)?,
        expires_at: row.get(4)?,
        address: row.get(5)?,
        agent: row.get(6)?,
    })
}
