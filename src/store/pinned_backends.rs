//! The table `pinned_backends`: which backends somebody wants kept loaded.

use rusqlite::params;

use super::{Store, StoreError};

/// Their ids.
pub async fn all(store: &Store) -> Result<Vec<String>, StoreError> {
    store
        .read(|conn| {
            let mut statement = conn.prepare("SELECT backend FROM pinned_backends ORDER BY backend")?;
            statement.query_map([], |row| row.get(0))?.collect()
        })
        .await
}

/// Notes that a backend is pinned.
pub async fn add(store: &Store, backend: String, now_ms: i64) -> Result<(), StoreError> {
    let sql = "INSERT OR IGNORE INTO pinned_backends (backend, pinned_at) VALUES (?1, ?2)";
    store.write(move |conn| conn.execute(sql, params![backend, now_ms])).await.map(drop)
}

/// Notes that it is not pinned any more.
pub async fn remove(store: &Store, backend: String) -> Result<(), StoreError> {
    let sql = "DELETE FROM pinned_backends WHERE backend = ?1";
    store.write(move |conn| conn.execute(sql, [backend])).await.map(drop)
}
