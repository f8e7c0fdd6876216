//! The table `measured_memory`: what backends were seen to need, by their launch settings.

use rusqlite::params;

use super::{Store, StoreError};

/// Every row: a digest of launch settings, and bytes. The newest first.
pub async fn all(store: &Store) -> Result<Vec<(String, u64)>, StoreError> {
    store
        .read(|conn| {
            let sql = "SELECT settings, bytes FROM measured_memory ORDER BY measured_at DESC";
            let mut statement = conn.prepare(sql)?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?)))?;
            rows.map(|row| row.map(|(settings, bytes)| (settings, u64::try_from(bytes).unwrap_or(0))))
                .collect()
        })
        .await
}

/// Writes a figure down, over an earlier one.
pub async fn put(store: &Store, settings: String, bytes: u64, now_ms: i64) -> Result<(), StoreError> {
    let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
    store
        .write(move |conn| {
            let sql = "INSERT INTO measured_memory (settings, bytes, measured_at) VALUES (?1, ?2, ?3) \
                       ON CONFLICT (settings) DO UPDATE SET bytes = ?2, measured_at = ?3";
            conn.execute(sql, params![settings, bytes, now_ms])
        })
        .await
        .map(drop)
}
