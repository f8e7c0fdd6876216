//! The table `plugin_grants`: what an administrator allowed a plugin.

use rusqlite::params;

use super::{Store, StoreError};

/// One plugin's grants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantRow {
    pub plugin: String,
    /// JSON.
    pub permissions: String,
    /// Milliseconds since 1970, UTC.
    pub granted_at: i64,
    pub granted_by: Option<String>,
    /// SHA-256 of the component that it was given to.
    pub digest: Option<String>,
    /// Its place below the plugin directory; none of the two: from before they were noted.
    pub path: Option<String>,
}

impl Store {
    /// What was granted to which plugin.
    pub async fn plugin_grants(&self) -> Result<Vec<GrantRow>, StoreError> {
        const SELECT: &str = "SELECT plugin, permissions, granted_at, granted_by, digest, path FROM plugin_grants ORDER BY plugin";
        self.read(|conn| {
            let mut statement = conn.prepare_cached(SELECT)?;
            let rows = statement.query_map([], |row| {
                Ok(GrantRow {
                    plugin: row.get(0)?,
                    permissions: row.get(1)?,
                    granted_at: row.get(2)?,
                    granted_by: row.get(3)?,
                    digest: row.get(4)?,
                    path: row.get(5)?,
                })
            })?;
            rows.collect()
        })
        .await
    }

    /// Takes the place of what was granted before.
    pub async fn grant_plugin(&self, row: GrantRow) -> Result<(), StoreError> {
        const UPSERT: &str =
            "INSERT OR REPLACE INTO plugin_grants (plugin, permissions, granted_at, granted_by, digest, path)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let write = move |conn: &mut rusqlite::Connection| {
            let GrantRow { plugin, permissions, granted_at, granted_by, digest, path } = row;
            let values = params![plugin, permissions, granted_at, granted_by, digest, path];
            conn.prepare_cached(UPSERT)?.execute(values)
        };
        self.write(write).await.map(drop)
    }

    /// Takes back everything that a plugin was granted.
    pub async fn revoke_plugin(&self, plugin: String) -> Result<(), StoreError> {
        self.write(move |conn| conn.execute("DELETE FROM plugin_grants WHERE plugin = ?1", [plugin]))
            .await
            .map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_grant_is_kept_replaced_and_revoked() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store.db")).unwrap();
        let row = |permissions: &str| GrantRow {
            plugin: "weather".into(),
            permissions: permissions.into(),
            granted_at: 5,
            granted_by: None,
            digest: Some("00".into()),
            path: Some("weather".into()),
        };
        store.grant_plugin(row("{}")).await.unwrap();
        store.grant_plugin(row("{\"http\":[]}")).await.unwrap();
        assert_eq!(store.plugin_grants().await.unwrap(), [row("{\"http\":[]}")]);
        store.revoke_plugin("weather".into()).await.unwrap();
        assert_eq!(store.plugin_grants().await.unwrap(), []);
    }
}
