//! The table `profiles`: those made through the API. Knows nothing of what their settings mean.

use rusqlite::{Connection, params};

use super::{Store, StoreError};

/// More are not taken: each is kept in memory.
pub const PROFILES_MAX: usize = 1_000;

/// One row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfileRow {
    pub name: String,
    /// A JSON object.
    pub settings: String,
    /// Milliseconds since 1970, UTC.
    pub created_at: i64,
    pub updated_at: i64,
}

/// All of them, by name. Blocks: meant for start-up.
pub fn all(store: &Store) -> Result<Vec<ProfileRow>, StoreError> {
    store.inner.readers.read_now(select)
}

/// Adds it, or puts its settings in place of those that are there.
pub async fn put(store: &Store, row: ProfileRow) -> Result<(), StoreError> {
    const UPSERT: &str = "\
INSERT INTO profiles (name, settings, created_at, updated_at) VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (name) DO UPDATE SET settings = excluded.settings, updated_at = excluded.updated_at";
    let ProfileRow { name, settings, created_at, updated_at } = row;
    let write = move |conn: &mut Connection| {
        conn.execute(UPSERT, params![name, settings, created_at, updated_at]).map(drop)
    };
    store.write(write).await
}

/// False: there was none of that name.
pub async fn remove(store: &Store, name: &str) -> Result<bool, StoreError> {
    let name = name.to_owned();
    store.write(move |conn| Ok(conn.execute("DELETE FROM profiles WHERE name = ?1", [name])? > 0)).await
}

fn select(conn: &Connection) -> Result<Vec<ProfileRow>, rusqlite::Error> {
    let mut statement =
        conn.prepare("SELECT name, settings, created_at, updated_at FROM profiles ORDER BY name")?;
    let rows = statement.query_map([], |row| {
        Ok(ProfileRow {
            name: row.get(0)?,
            settings: row.get(1)?,
            created_at: row.get(2)?,
            updated_at: row.get(3)?,
        })
    })?;
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, settings: &str, at: i64) -> ProfileRow {
        ProfileRow { name: name.into(), settings: settings.into(), created_at: at, updated_at: at }
    }

    #[tokio::test]
    async fn profiles_outlive_the_process_that_made_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.db");
        let store = Store::open(&path).unwrap();
        put(&store, row("b", "{}", 1)).await.unwrap();
        put(&store, row("a", "{}", 2)).await.unwrap();
        put(&store, row("b", r#"{"pinned":true}"#, 3)).await.unwrap();
        store.close().await;
        drop(store);
        let store = Store::open(&path).unwrap();
        let changed = ProfileRow { created_at: 1, ..row("b", r#"{"pinned":true}"#, 3) };
        assert_eq!(all(&store).unwrap(), [row("a", "{}", 2), changed]);
        assert!(remove(&store, "a").await.unwrap());
        assert!(!remove(&store, "a").await.unwrap());
        assert_eq!(all(&store).unwrap().len(), 1);
        store.close().await;
    }
}
