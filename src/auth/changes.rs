//! Changing accounts and ending sessions. A change that takes a right away holds in memory first and is written by
//! `revocations`; one that gives a right is written to the store first.

use std::sync::Arc;

use super::accounts::{self, Change, Verdict};
use super::entry::Origin;
use super::error::AuthFault;
use super::index::{Account, Key};
use super::secret::{digest, secret};
use super::service::Accounts;
use crate::store::keys::KeyRow;
use crate::store::sessions::SessionRow;
use crate::store::users::{self, UserRow};
use crate::store::withdrawals::Withdrawal;

/// How long a link to a new password is good for.
const LINK_MS: i64 = 24 * 60 * 60 * 1000;

impl Accounts {
    /// Changes an account; `None`: it is gone. What its sessions and keys have under way ends.
    pub async fn change(&self, id: &str, change: Change) -> Result<Option<Arc<Account>>, AuthFault> {
        let _changing = self.changing.lock().await;
        let row = users::by_id(&self.store, id.to_owned()).await?;
        let row = row.and_then(|row| self.revocations.of_user(row)).ok_or_else(|| unknown(id))?;
        let next = match accounts::decide(&row, self.index.active_admins(), &change)? {
            // Once more what waits: the answer says whether it is kept by now.
            Verdict::Keep(next) if next == row && change.withdraws() && self.revocations.concern(id) => next,
            Verdict::Keep(next) if next == row => return Ok(self.index.account(id)),
            Verdict::Keep(next) => next,
            Verdict::Remove => return self.remove(id).await.map(|()| None),
        };
        let is_theirs = |session: &SessionRow| session.user.as_deref() == Some(id);
        if change.withdraws() {
            let account = self.index.put_account(Account::of(&next));
            self.index.end_rights_of(id);
            self.index.end_sessions(is_theirs);
            self.withdraw(vec![of_account(next)]).await?;
            return Ok(Some(account));
        }
        // What was taken away before is written first, so that it does not come after.
        self.revocations.flush(&self.store).await?;
        users::put(&self.store, next.clone()).await?;
        let account = self.index.put_account(Account::of(&next));
        self.index.end_rights_of(id);
        if next.version != row.version {
            self.end_sessions(is_theirs).await?;
        }
        Ok(Some(account))
    }

    async fn remove(&self, id: &str) -> Result<(), AuthFault> {
        let at = self.clock.unix_ms();
        self.index.remove_account(id);
        let keys = self.index.keys();
        let keys: Vec<_> = keys.iter().filter(|key| key.user.as_deref() == Some(id)).collect();
        for key in &keys {
            self.index.change_key(&key.id, |key| Ok::<_, AuthFault>(key.revoke(at)))?;
        }
        self.index.end_sessions(|session| {
            let of_key = keys.iter().any(|key| session.key.as_deref() == Some(&*key.id));
            of_key || session.user.as_deref() == Some(id)
        });
        self.withdraw(vec![Withdrawal::Removed { id: id.to_owned(), at }]).await
    }

    /// Sets the password of an account.
    pub async fn set_password(&self, id: &str, password: String) -> Result<(), AuthFault> {
        let hash = self.passwords().hash(password).await?;
        self.change(id, Change::Password(hash)).await.map(drop)
    }

    /// Makes a link by which the owner of an account chooses a new password, once.
    pub async fn reset_link(&self, id: &str) -> Result<(String, i64), AuthFault> {
        self.index.account(id).ok_or_else(|| unknown(id))?;
        let token = secret("")?;
        let expires_at = self.clock.unix_ms() + LINK_MS;
        users::add_link(&self.store, digest(&token), id.to_owned(), expires_at).await?;
        Ok((token, expires_at))
    }

    /// Chooses a new password by a link.
    pub async fn reset(&self, token: &str, password: String, origin: &Origin) -> Result<(), AuthFault> {
        self.attempt(None, None, origin)?;
        // Hashed first: a password that is too short does not use the link up.
        let hash = self.passwords().hash(password).await?;
        let user = users::take_link(&self.store, digest(token), self.clock.unix_ms()).await?;
        let gone = || AuthFault::NotFound("the link has been used or has expired; ask for another".into());
        let user = user.ok_or_else(gone)?;
        self.change(&user, Change::Password(hash)).await?;
        self.succeeded(None, None, origin);
        Ok(())
    }

    /// Ends sessions, and returns how many.
    pub async fn end_sessions(&self, meant: impl Fn(&SessionRow) -> bool) -> Result<usize, AuthFault> {
        let ended = self.index.end_sessions(meant);
        let count = ended.len();
        self.withdraw(ended.into_iter().map(|id| Withdrawal::Session { id }).collect()).await?;
        Ok(count)
    }

    /// Writes withdrawals that memory has made.
    pub(super) async fn withdraw(&self, made: Vec<Withdrawal>) -> Result<(), AuthFault> {
        if made.is_empty() { Ok(()) } else { self.revocations.write(&self.store, made).await }
    }

    /// Writes what the store did not take before, until the process ends.
    pub async fn keep_revocations(&self) {
        self.revocations.keep_writing(&self.store).await;
    }
}

impl Key {
    /// The key as revoked at that time, or earlier.
    pub(super) fn revoke(&self, at: i64) -> Key {
        let row = KeyRow { revoked_at: self.row.revoked_at.or(Some(at)), ..self.row.clone() };
        Key::of(row, Arc::clone(&self.meter), Some(self))
    }
}

fn of_account(row: UserRow) -> Withdrawal {
    let UserRow { id, version, role, status, password, .. } = row;
    Withdrawal::Account { id, version, role, status, password }
}

fn unknown(id: &str) -> AuthFault {
    AuthFault::NotFound(format!("there is no user \"{id}\""))
}
