//! Making, rotating and revoking keys. A change names a key by its id and reads it under the lock, so that no
//! change works on what another has replaced.

use std::sync::Arc;
use std::time::Duration;

use super::error::AuthFault;
use super::index::Key;
use super::limits::{Counts, Limits};
use super::meter::KeyMeter;
use super::secret::{digest, new_id, secret};
use super::service::Accounts;
use crate::store::StoreError;
use crate::store::keys::{self, KeyRow, Rotation};
use crate::store::withdrawals::Withdrawal;

/// Keys that are not revoked, of all accounts together.
pub const KEYS_MAX: usize = 100_000;
/// The same of one account, and with those that were revoked, whose rows are kept.
pub const ACCOUNT_KEYS_MAX: usize = 500;
const ACCOUNT_ROWS_MAX: usize = 10_000;
/// Prefix of every key; clients that look for `sk-` accept it.
const KEY_PREFIX: &str = "sk-mgw-";
/// Characters of a key that are shown later.
const PREFIX_CHARS: usize = 12;

impl Accounts {
    /// Adds a key with the restrictions of `row`, and returns it with its secret.
    pub async fn create_key(&self, mut row: KeyRow) -> Result<(Arc<Key>, String), AuthFault> {
        let _changing = self.changing.lock().await;
        if self.index.keys().iter().filter(|key| key.row.revoked_at.is_none()).count() >= KEYS_MAX {
            return Err(AuthFault::Conflict(format!("there are {KEYS_MAX} keys already; revoke some")));
        }
        if let Some(user) = &row.user {
            if self.index.account(user).is_none() {
                return Err(AuthFault::NotFound(format!("there is no user \"{user}\"")));
            }
            self.check_account_keys(user)?;
        }
        let secret = secret(KEY_PREFIX)?;
        (row.id, row.created_at) = (new_id(), self.clock.unix_ms());
        (row.digest, row.prefix) = (digest(&secret), prefix(&secret));
        if row.scopes.is_empty() {
            row.scopes = super::Scope::Inference.name().into();
        }
        let meter = KeyMeter::new(Limits::read(&row.limits), Counts::default(), Arc::clone(&self.clock));
        keys::add(&self.store, row.clone()).await?;
        Ok((self.index.put_key(Key::of(row, Arc::new(meter), None)), secret))
    }

    fn check_account_keys(&self, user: &str) -> Result<(), AuthFault> {
        let all = self.index.keys();
        let theirs = || all.iter().filter(|key| key.user.as_deref() == Some(user));
        if theirs().filter(|key| key.row.revoked_at.is_none()).count() >= ACCOUNT_KEYS_MAX {
            let words = format!("an account has at most {ACCOUNT_KEYS_MAX} keys; revoke some");
            return Err(AuthFault::Conflict(words));
        }
        if theirs().count() >= ACCOUNT_ROWS_MAX {
            let words =
                format!("an account makes at most {ACCOUNT_ROWS_MAX} keys; rotate one of those it has");
            return Err(AuthFault::Conflict(words));
        }
        Ok(())
    }

    /// Gives a key a new secret; the present one counts for another `grace`. A revoked key stays revoked.
    pub async fn rotate(&self, id: &str, grace: Duration) -> Result<(Arc<Key>, String), AuthFault> {
        let _changing = self.changing.lock().await;
        let before = self.index.key(id).ok_or_else(|| unknown(id))?;
        if before.row.revoked_at.is_some() {
            return Err(revoked(id));
        }
        let secret = secret(KEY_PREFIX)?;
        let grace_ms = i64::try_from(grace.as_millis()).unwrap_or(i64::MAX);
        let rotation = Rotation {
            id: id.to_owned(),
            digest: digest(&secret),
            old_digest: before.row.digest,
            old_until: self.clock.unix_ms().saturating_add(grace_ms),
            prefix: prefix(&secret),
        };
        if !keys::rotate(&self.store, rotation.clone()).await? {
            return Err(revoked(id));
        }
        // It may have been revoked while the store wrote.
        let rotated = self.index.change_key(id, |key| match key.row.revoked_at {
            Some(_) => Err(revoked(id)),
            None => Ok(key.rotate(rotation.applied_to(&key.row))),
        })?;
        Ok((rotated.ok_or_else(|| unknown(id))?, secret))
    }

    /// Revokes a key: it is refused from now on, and what it has under way ends.
    pub async fn revoke(&self, id: &str) -> Result<(), AuthFault> {
        // In memory at once, whatever the store is doing.
        let at = self.clock.unix_ms();
        let revoked = self.index.change_key(id, |key| Ok::<_, AuthFault>(key.revoke(at)))?;
        let at = revoked.ok_or_else(|| unknown(id))?.row.revoked_at.unwrap_or(at);
        self.index.end_sessions(|session| session.key.as_deref() == Some(id));
        self.withdraw(vec![Withdrawal::Key { id: id.to_owned(), at }]).await
    }

    /// Writes when keys were last used, where that has changed.
    pub async fn note_use(&self) -> Result<(), StoreError> {
        let newer = |key: &Arc<Key>| key.last_used_ms().filter(|at| Some(*at) != key.row.last_used_at);
        let used: Vec<_> =
            self.index.keys().iter().filter_map(|key| Some((key.id.to_string(), newer(key)?))).collect();
        if used.is_empty() { Ok(()) } else { keys::touch(&self.store, used).await }
    }
}

fn unknown(id: &str) -> AuthFault {
    AuthFault::NotFound(format!("there is no key \"{id}\""))
}

fn revoked(id: &str) -> AuthFault {
    AuthFault::Conflict(format!("the key \"{id}\" was revoked; make another"))
}

fn prefix(secret: &str) -> String {
    secret.chars().take(PREFIX_CHARS).collect()
}
