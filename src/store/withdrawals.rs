//! Rights that are withdrawn from keys, sessions and accounts, written in one transaction. Each is written the same
//! however often it is repeated, and none undoes a later change.

use rusqlite::{Connection, params};

use super::{Store, StoreError};

/// A right that somebody no longer has. Times are milliseconds since 1970, UTC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Withdrawal {
    /// The key is revoked, and sessions of it end.
    Key {
        id: String,
        at: i64,
    },
    Session {
        id: String,
    },
    /// The account is disabled, demoted or has another password. `version`: of the account after that change; a row
    /// of this or a later version stays as it is.
    Account {
        id: String,
        version: i64,
        role: String,
        status: String,
        password: String,
    },
    /// The account is gone, and its keys are revoked.
    Removed {
        id: String,
        at: i64,
    },
}

/// Writes withdrawals, all or none.
pub async fn write(store: &Store, withdrawals: Vec<Withdrawal>) -> Result<(), StoreError> {
    store
        .write(move |conn| {
            let tx = conn.transaction()?;
            for withdrawal in &withdrawals {
                withdrawal.write(&tx)?;
            }
            tx.commit()
        })
        .await
}

impl Withdrawal {
    fn write(&self, conn: &Connection) -> Result<(), rusqlite::Error> {
        match self {
            Withdrawal::Key { id, at } => {
                let revoke = "UPDATE api_keys SET revoked_at = ?2 WHERE id = ?1 AND revoked_at IS NULL";
                conn.prepare_cached(revoke)?.execute(params![id, at])?;
                conn.prepare_cached("DELETE FROM sessions WHERE key = ?1")?.execute([id])?;
            }
            Withdrawal::Session { id } => {
                conn.prepare_cached("DELETE FROM sessions WHERE id = ?1")?.execute([id])?;
            }
            Withdrawal::Account { id, version, role, status, password } => {
                let change = "UPDATE users SET version = ?2, role = ?3, status = ?4, password = ?5 \
                              WHERE id = ?1 AND version < ?2";
                let values = params![id, version, role, status, password];
                if conn.prepare_cached(change)?.execute(values)? > 0 {
                    conn.prepare_cached("DELETE FROM sessions WHERE user = ?1")?.execute([id])?;
                    conn.prepare_cached("DELETE FROM reset_links WHERE user = ?1")?.execute([id])?;
                }
            }
            Withdrawal::Removed { id, at } => {
                let sessions = "DELETE FROM sessions WHERE user = ?1 OR key IN (SELECT id FROM api_keys WHERE user = ?1)";
                conn.prepare_cached(sessions)?.execute([id])?;
                let revoke = "UPDATE api_keys SET revoked_at = ?2 WHERE user = ?1 AND revoked_at IS NULL";
                conn.prepare_cached(revoke)?.execute(params![id, at])?;
                conn.prepare_cached("DELETE FROM reset_links WHERE user = ?1")?.execute([id])?;
                conn.prepare_cached("DELETE FROM users WHERE id = ?1")?.execute([id])?;
            }
        }
        Ok(())
    }
}
