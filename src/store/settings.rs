//! The table `settings`: what is set while the gateway runs, as JSON documents by name. Knows nothing
//! of what they say.

use rusqlite::{OptionalExtension, params};

use super::{Store, StoreError};

/// What was set under that name, as JSON.
pub async fn get(store: &Store, name: &'static str) -> Result<Option<String>, StoreError> {
    let sql = "SELECT value FROM settings WHERE name = ?1";
    store.read(move |conn| conn.query_row(sql, [name], |row| row.get(0)).optional()).await
}

/// Takes the place of what was set before.
pub async fn set(store: &Store, name: &'static str, value: String) -> Result<(), StoreError> {
    let sql = "INSERT OR REPLACE INTO settings (name, value) VALUES (?1, ?2)";
    store.write(move |conn| conn.execute(sql, params![name, value])).await.map(drop)
}
