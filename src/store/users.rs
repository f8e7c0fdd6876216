//! The tables `users` and `reset_links`. Knows rows, not what an account may do.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::keys::{decode, encode};
use super::{Store, StoreError};

const COLUMNS: &str = "id, email, password, role, status, version, created_at, last_login_at, tools";

/// One account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserRow {
    pub id: String,
    /// Lower case.
    pub email: String,
    /// In PHC form.
    pub password: String,
    pub role: String,
    pub status: String,
    pub version: i64,
    /// Milliseconds since 1970, UTC.
    pub created_at: i64,
    pub last_login_at: Option<i64>,
    /// Tools of the gateway that it may use; none: all.
    pub tools: Option<Vec<String>>,
}

/// Every account, oldest first.
pub async fn all(store: &Store) -> Result<Vec<UserRow>, StoreError> {
    store.read(|conn| rows(conn, "ORDER BY id", [])).await
}

/// The account with that address.
pub async fn by_email(store: &Store, email: String) -> Result<Option<UserRow>, StoreError> {
    store.read(move |conn| Ok(rows(conn, "WHERE email = ?1", [email])?.pop())).await
}

/// Adds an account, decided in view of how many there are. `Ok(None)`: the address is taken, or
/// nothing was to be added.
pub async fn add(
    store: &Store,
    decide: impl FnOnce(u64) -> Option<UserRow> + Send + 'static,
) -> Result<Option<UserRow>, StoreError> {
    store
        .write(move |conn| {
            let tx = conn.transaction()?;
            let count: i64 = tx.query_row("SELECT count(*) FROM users", [], |row| row.get(0))?;
            let Some(user) = decide(count.unsigned_abs()) else { return Ok(None) };
            let added = insert(&tx, "OR IGNORE", &user)?;
            tx.commit()?;
            Ok((added > 0).then_some(user))
        })
        .await
}

/// The account of that id.
pub async fn by_id(store: &Store, id: String) -> Result<Option<UserRow>, StoreError> {
    store.read(move |conn| Ok(rows(conn, "WHERE id = ?1", [id])?.pop())).await
}

/// Writes what can be changed of an account.
pub async fn put(store: &Store, user: UserRow) -> Result<(), StoreError> {
    store
        .write(move |conn| {
            let sql = "UPDATE users SET password = ?2, role = ?3, status = ?4, version = ?5, tools = ?6 WHERE id = ?1";
            let tools = encode(user.tools.as_deref());
            let values = params![user.id, user.password, user.role, user.status, user.version, tools];
            conn.prepare_cached(sql)?.execute(values).map(drop)
        })
        .await
}

/// Notes when an account last logged in.
pub async fn note_log_in(store: &Store, id: String, at: i64) -> Result<(), StoreError> {
    store
        .write(move |conn| {
            let sql = "UPDATE users SET last_login_at = ?2 WHERE id = ?1";
            conn.prepare_cached(sql)?.execute(params![id, at]).map(drop)
        })
        .await
}

/// Keeps a link by its digest; earlier ones of the account are void.
pub async fn add_link(
    store: &Store,
    digest: [u8; 32],
    user: String,
    expires_at: i64,
) -> Result<(), StoreError> {
    store
        .write(move |conn| {
            let tx = conn.transaction()?;
            tx.execute("DELETE FROM reset_links WHERE user = ?1", [&user])?;
            tx.execute("INSERT INTO reset_links VALUES (?1, ?2, ?3)", params![digest, user, expires_at])?;
            tx.commit()
        })
        .await
}

/// The account of a link, which is used up by asking.
pub async fn take_link(store: &Store, digest: [u8; 32], now_ms: i64) -> Result<Option<String>, StoreError> {
    store
        .write(move |conn| {
            let sql = "DELETE FROM reset_links WHERE digest = ?1 RETURNING user, expires_at";
            let found: Option<(String, i64)> =
                conn.query_row(sql, [digest], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
            Ok(found.filter(|(_, expires_at)| *expires_at > now_ms).map(|(user, _)| user))
        })
        .await
}

fn insert(conn: &Connection, conflict: &str, user: &UserRow) -> Result<usize, rusqlite::Error> {
    let sql = format!("INSERT {conflict} INTO users ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)");
    conn.prepare_cached(&sql)?.execute(params![
        user.id,
        user.email,
        user.password,
        user.role,
        user.status,
        user.version,
        user.created_at,
        user.last_login_at,
        encode(user.tools.as_deref()),
    ])
}

fn rows(
    conn: &Connection,
    which: &str,
    values: impl rusqlite::Params,
) -> Result<Vec<UserRow>, rusqlite::Error> {
    let mut statement = conn.prepare_cached(&format!("SELECT {COLUMNS} FROM users {which}"))?;
    statement.query_map(values, user)?.collect()
}

fn user(row: &Row<'_>) -> Result<UserRow, rusqlite::Error> {
    Ok(UserRow {
        id: row.get(0)?,
        email: row.get(1)?,
        password: row.get(2)?,
        role: row.get(3)?,
        status: row.get(4)?,
        version: row.get(5)?,
        created_at: row.get(6)?,
        last_login_at: row.get(7)?,
        tools: decode(row.get(8)?),
    })
}
