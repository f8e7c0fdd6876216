//! The table `api_keys`. Knows digests, never a key.

use rusqlite::{Row, params};

use super::{Store, StoreError};

const COLUMNS: &str = "id, user, name, digest, old_digest, old_until, prefix, scopes, profiles, tools, \
    expires_at, limits, priority, created_at, last_used_at, revoked_at";

/// One key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyRow {
    pub id: String,
    /// The owner's account; none: the operator's.
    pub user: Option<String>,
    pub name: String,
    pub digest: [u8; 32],
    pub old_digest: Option<[u8; 32]>,
    /// Milliseconds since 1970, UTC, like all times here.
    pub old_until: Option<i64>,
    pub prefix: String,
    /// Separated by spaces.
    pub scopes: String,
    pub profiles: Option<Vec<String>>,
    pub tools: Option<Vec<String>>,
    pub expires_at: Option<i64>,
    /// What it may use, as a JSON object whose members are not known here; empty: all it likes.
    pub limits: String,
    pub priority: i32,
    pub created_at: i64,
    pub last_used_at: Option<i64>,
    pub revoked_at: Option<i64>,
}

/// Every key, revoked and expired ones included.
pub async fn all(store: &Store) -> Result<Vec<KeyRow>, StoreError> {
    store
        .read(|conn| {
            let sql = format!("SELECT {COLUMNS} FROM api_keys ORDER BY id");
            conn.prepare_cached(&sql)?.query_map([], key)?.collect()
        })
        .await
}

/// A new secret for a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotation {
    pub id: String,
    pub digest: [u8; 32],
    /// The digest of the secret that it replaces.
    pub old_digest: [u8; 32],
    /// Until when that one counts.
    pub old_until: i64,
    pub prefix: String,
}

impl Rotation {
    /// The row with the new secret.
    pub fn applied_to(&self, row: &KeyRow) -> KeyRow {
        KeyRow {
            digest: self.digest,
            old_digest: Some(self.old_digest),
            old_until: Some(self.old_until),
            prefix: self.prefix.clone(),
            ..row.clone()
        }
    }
}

/// Adds a key.
pub async fn add(store: &Store, row: KeyRow) -> Result<(), StoreError> {
    store
        .write(move |conn| {
            let sql = format!(
                "INSERT INTO api_keys ({COLUMNS}) VALUES \
                 (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)"
            );
            conn.prepare_cached(&sql)?.execute(params![
                row.id,
                row.user,
                row.name,
                row.digest,
                row.old_digest,
                row.old_until,
                row.prefix,
                row.scopes,
                encode(row.profiles.as_deref()),
                encode(row.tools.as_deref()),
                row.expires_at,
                row.limits,
                row.priority,
                row.created_at,
                row.last_used_at,
                row.revoked_at,
            ])?;
            Ok(())
        })
        .await
}

/// Replaces a key's secret, unless the key is revoked. False: there is no such key that is not.
pub async fn rotate(store: &Store, to: Rotation) -> Result<bool, StoreError> {
    store
        .write(move |conn| {
            let sql = "UPDATE api_keys SET digest = ?2, old_digest = ?3, old_until = ?4, prefix = ?5 \
                       WHERE id = ?1 AND revoked_at IS NULL";
            let values = params![to.id, to.digest, to.old_digest, to.old_until, to.prefix];
            Ok(conn.prepare_cached(sql)?.execute(values)? > 0)
        })
        .await
}

/// Notes when keys were last used.
pub async fn touch(store: &Store, used: Vec<(String, i64)>) -> Result<(), StoreError> {
    store
        .write(move |conn| {
            let tx = conn.transaction()?;
            for (id, at) in &used {
                tx.prepare_cached("UPDATE api_keys SET last_used_at = ?2 WHERE id = ?1")?
                    .execute(params![id, at])?;
            }
            tx.commit()
        })
        .await
}

fn key(row: &Row<'_>) -> Result<KeyRow, rusqlite::Error> {
    Ok(KeyRow {
        id: row.get(0)?,
        user: row.get(1)?,
        name: row.get(2)?,
        digest: row.get(3)?,
        old_digest: row.get(4)?,
        old_until: row.get(5)?,
        prefix: row.get(6)?,
        scopes: row.get(7)?,
        profiles: decode(row.get(8)?),
        tools: decode(row.get(9)?),
        expires_at: row.get(10)?,
        limits: row.get(11)?,
        priority: row.get(12)?,
        created_at: row.get(13)?,
        last_used_at: row.get(14)?,
        revoked_at: row.get(15)?,
    })
}

/// Names as a JSON list; null: all.
pub(super) fn encode(names: Option<&[String]>) -> Option<String> {
    names.and_then(|names| serde_json::to_string(names).ok())
}

/// A list that cannot be read allows nothing.
pub(super) fn decode(text: Option<String>) -> Option<Vec<String>> {
    text.map(|text| serde_json::from_str(&text).unwrap_or_default())
}
