//! The tables `downloads` and `hub_settings`: what is being fetched, so that it goes on after a crash,
//! and what an operator has set for the hub.

use rusqlite::{OptionalExtension, Row};

use super::{Store, StoreError};

/// A download, as it is written down. What its status means, the hub knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DownloadRow {
    pub id: String,
    pub model: String,
    pub status: String,
    pub reason: Option<String>,
    pub commit: Option<String>,
    /// Milliseconds since 1970, UTC.
    pub created_at: i64,
    pub updated_at: i64,
    pub done_bytes: u64,
    pub total_bytes: Option<u64>,
}

const COLUMNS: &str = "id, model, status, reason, revision, created_at, updated_at, done_bytes, total_bytes";

/// Writes a download down, new or changed.
pub async fn put(store: &Store, row: DownloadRow) -> Result<(), StoreError> {
    store
        .write(move |conn| {
            let sql = format!(
                "INSERT OR REPLACE INTO downloads ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)"
            );
            conn.prepare_cached(&sql)?.execute((
                row.id,
                row.model,
                row.status,
                row.reason,
                row.commit,
                row.created_at,
                row.updated_at,
                row.done_bytes.cast_signed(),
                row.total_bytes.map(u64::cast_signed),
            ))?;
            Ok(())
        })
        .await
}

/// Every download, oldest first.
pub async fn all(store: &Store) -> Result<Vec<DownloadRow>, StoreError> {
    store
        .read(|conn| {
            let sql = format!("SELECT {COLUMNS} FROM downloads ORDER BY created_at, id");
            conn.prepare_cached(&sql)?.query_map((), row)?.collect()
        })
        .await
}

/// Deletes the record of a download; its files stay.
pub async fn remove(store: &Store, id: &str) -> Result<(), StoreError> {
    let id = id.to_owned();
    store
        .write(move |conn| {
            conn.execute("DELETE FROM downloads WHERE id = ?1", [id])?;
            Ok(())
        })
        .await
}

/// The hub's token that an operator has set.
pub async fn hub_token(store: &Store) -> Result<Option<String>, StoreError> {
    store
        .read(|conn| {
            let sql = "SELECT value FROM hub_settings WHERE name = 'token'";
            conn.query_row(sql, (), |row| row.get(0)).optional()
        })
        .await
}

/// Sets the hub's token, or forgets it.
pub async fn set_hub_token(store: &Store, token: Option<String>) -> Result<(), StoreError> {
    store
        .write(move |conn| {
            match token {
                Some(token) => conn.execute(
                    "INSERT OR REPLACE INTO hub_settings (name, value) VALUES ('token', ?1)",
                    [token],
                )?,
                None => conn.execute("DELETE FROM hub_settings WHERE name = 'token'", ())?,
            };
            Ok(())
        })
        .await
}

fn row(row: &Row<'_>) -> Result<DownloadRow, rusqlite::Error> {
    Ok(DownloadRow {
        id: row.get(0)?,
        model: row.get(1)?,
        status: row.get(2)?,
        reason: row.get(3)?,
        commit: row.get(4)?,
        created_at: row.get(5)?,
        updated_at: row.get(6)?,
        done_bytes: row.get::<_, i64>(7)?.cast_unsigned(),
        total_bytes: row.get::<_, Option<i64>>(8)?.map(i64::cast_unsigned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_download_is_written_changed_and_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("s.db")).unwrap();
        let mut one = DownloadRow {
            id: "1".into(),
            model: "org/m".into(),
            status: "running".into(),
            reason: None,
            commit: Some("c0ffee".into()),
            created_at: 5,
            updated_at: 6,
            done_bytes: 7,
            total_bytes: None,
        };
        put(&store, one.clone()).await.unwrap();
        (one.status, one.total_bytes) = ("failed".into(), Some(9));
        put(&store, one.clone()).await.unwrap();
        assert_eq!(all(&store).await.unwrap(), [one]);
        remove(&store, "1").await.unwrap();
        assert_eq!(all(&store).await.unwrap(), []);
        store.close().await;
    }

    #[tokio::test]
    async fn the_token_is_kept_until_it_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("s.db")).unwrap();
        assert_eq!(hub_token(&store).await.unwrap(), None);
        set_hub_token(&store, Some("hf_x".into())).await.unwrap();
        assert_eq!(hub_token(&store).await.unwrap().as_deref(), Some("hf_x"));
        set_hub_token(&store, None).await.unwrap();
        assert_eq!(hub_token(&store).await.unwrap(), None);
        store.close().await;
    }
}
