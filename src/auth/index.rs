//! Accounts, sessions and keys in memory, so that telling who asks costs no look into the store. Holds
//! what the store holds; whoever changes one changes the other.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use subtle::ConstantTimeEq;
use tokio::sync::Notify;

use super::accounts::{Role, Status};
use super::identity::{Scope, Scopes};
use super::limits::Limits;
use super::meter::KeyMeter;
use super::right::Right;
use crate::store::keys::KeyRow;
use crate::store::sessions::SessionRow;
use crate::store::users::UserRow;

/// Parts of the index of keys, so that connections seldom meet at one lock.
const SHARDS: usize = 16;

/// An account as requests see it, without its password. Times are milliseconds since 1970, UTC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub id: Arc<str>,
    pub email: Arc<str>,
    pub role: Role,
    pub status: Status,
    pub version: i64,
    pub created_at: i64,
    pub last_login_at: Option<i64>,
    /// Tools that it may use; none: all.
    pub tools: Option<Arc<[String]>>,
}

/// A session that has not ended.
#[derive(Debug, Clone)]
pub struct Session {
    pub row: Arc<SessionRow>,
    /// Of those who show its token.
    pub right: Right,
}

/// A key with what it may do.
#[derive(Debug, Clone)]
pub struct Key {
    pub id: Arc<str>,
    pub name: Arc<str>,
    pub user: Option<Arc<str>>,
    pub scopes: Scopes,
    pub profiles: Option<Arc<[String]>>,
    pub tools: Option<Arc<[String]>>,
    pub row: KeyRow,
    /// Shared with what the key was before a change.
    pub meter: Arc<KeyMeter>,
    pub last_used: Arc<AtomicI64>,
    /// Of those who show its secret.
    pub right: Right,
    /// Of those who show the secret before the last rotation, until its grace period has passed.
    pub old_right: Option<Right>,
}

/// All accounts, sessions and keys in memory, so that letting somebody in reads no disk. The store is what
/// counts; whoever writes it writes here too.
#[derive(Default)]
pub struct Index {
    users: RwLock<HashMap<Arc<str>, Arc<Account>>>,
    sessions: RwLock<HashMap<Arc<str>, Session>>,
    keys: RwLock<HashMap<Arc<str>, Arc<Key>>>,
    digests: [RwLock<HashMap<[u8; 32], Arc<Key>>>; SHARDS],
    /// Of those who need no credential as long as there is no key and no account.
    fresh: Right,
    /// Called after rights have ended.
    on_end: OnceLock<Box<dyn Fn() + Send + Sync>>,
    /// Something that expires was added.
    expiring: Notify,
}

impl Account {
    /// What requests need of a row. An unknown role is a user's.
    pub fn of(row: &UserRow) -> Account {
        Account {
            id: row.id.as_str().into(),
            email: row.email.as_str().into(),
            role: Role::from_name(&row.role).unwrap_or(Role::User),
            status: Status::from_name(&row.status),
            version: row.version,
            created_at: row.created_at,
            last_login_at: row.last_login_at,
            tools: row.tools.as_deref().map(Arc::from),
        }
    }
}

impl Key {
    /// A key out of its row; `meter` and the rest live on from what it was before.
    pub fn of(row: KeyRow, meter: Arc<KeyMeter>, before: Option<&Key>) -> Key {
        meter.set_limits(Limits::read(&row.limits));
        let scopes: Vec<Scope> = row.scopes.split(' ').filter_map(Scope::from_name).collect();
        let last_used = row.last_used_at.unwrap_or_default();
        Key {
            id: row.id.as_str().into(),
            name: row.name.as_str().into(),
            user: row.user.as_deref().map(Arc::from),
            scopes: Scopes::of(&scopes),
            profiles: row.profiles.as_deref().map(Arc::from),
            tools: row.tools.as_deref().map(Arc::from),
            meter,
            last_used: before
                .map_or_else(|| Arc::new(AtomicI64::new(last_used)), |b| Arc::clone(&b.last_used)),
            right: before.map(|before| before.right.clone()).unwrap_or_default(),
            old_right: match before {
                Some(before) => before.old_right.clone(),
                None => row.old_digest.map(|_| Right::default()),
            },
            row,
        }
    }

    /// The key with another secret. What was begun with the present one goes on until `row.old_until`; what
    /// was begun with the one before that ends.
    pub fn rotate(&self, row: KeyRow) -> Key {
        self.old_right.iter().for_each(Right::end);
        let next = Key::of(row, Arc::clone(&self.meter), Some(self));
        Key { right: Right::default(), old_right: Some(self.right.clone()), ..next }
    }

    /// The right that goes with the secret of this digest.
    pub fn right_of(&self, digest: &[u8; 32]) -> &Right {
        let old = self.old_right.as_ref().filter(|_| self.row.digest != *digest);
        old.unwrap_or(&self.right)
    }

    fn end_rights(&self) {
        self.right.end();
        self.old_right.iter().for_each(Right::end);
    }

    /// The same key for those who are identified from now on.
    fn with_new_rights(&self) -> Key {
        let old_right = self.old_right.as_ref().map(|_| Right::default());
        Key { right: Right::default(), old_right, ..self.clone() }
    }

    /// Milliseconds since 1970; none: never.
    pub fn last_used_ms(&self) -> Option<i64> {
        Some(self.last_used.load(Ordering::Relaxed)).filter(|at| *at > 0)
    }
}

impl Index {
    /// The account of that id.
    pub fn account(&self, id: &str) -> Option<Arc<Account>> {
        read(&self.users).get(id).cloned()
    }

    /// Every account, oldest first.
    pub fn accounts(&self) -> Vec<Arc<Account>> {
        let mut all: Vec<_> = read(&self.users).values().cloned().collect();
        all.sort_by(|a, b| a.id.cmp(&b.id));
        all
    }

    /// Administrators who can log in.
    pub fn active_admins(&self) -> u64 {
        let is_active =
            |account: &&Arc<Account>| account.role == Role::Admin && account.status == Status::Active;
        read(&self.users).values().filter(is_active).count() as u64
    }

    /// Whether there is any account, a waiting one included.
    pub fn has_accounts(&self) -> bool {
        !read(&self.users).is_empty()
    }

    /// Takes the place of what was known of the account.
    pub fn put_account(&self, account: Account) -> Arc<Account> {
        let account = Arc::new(account);
        write(&self.users).insert(Arc::clone(&account.id), Arc::clone(&account));
        self.end_fresh();
        account
    }

    /// Changes what is known of the account, as it is now.
    pub fn change_account(&self, id: &str, change: impl FnOnce(&mut Account)) {
        if let Some(account) = write(&self.users).get_mut(id) {
            change(Arc::make_mut(account));
        }
    }

    /// Forgets the account; its sessions and keys are the caller's to end.
    pub fn remove_account(&self, id: &str) {
        write(&self.users).remove(id);
    }

    /// The session of that id, if it has not ended.
    pub fn session(&self, id: &str) -> Option<Session> {
        read(&self.sessions).get(id).cloned()
    }

    /// Newest first.
    pub fn sessions(&self) -> Vec<Session> {
        let mut all: Vec<_> = read(&self.sessions).values().cloned().collect();
        all.sort_by(|a, b| b.row.id.cmp(&a.row.id));
        all
    }

    /// Adds a session that begins, and forgets those that have expired.
    pub fn put_session(&self, row: SessionRow) {
        let mut sessions = write(&self.sessions);
        let now = row.created_at;
        sessions.retain(|_, session| session.row.expires_at > now);
        let id: Arc<str> = row.id.as_str().into();
        sessions.insert(id, Session { row: Arc::new(row), right: Right::default() });
        self.expiring.notify_one();
    }

    /// Ends the sessions that are meant, and gives their ids.
    pub fn end_sessions(&self, meant: impl Fn(&SessionRow) -> bool) -> Vec<String> {
        let mut ended = Vec::new();
        write(&self.sessions).retain(|_, session| {
            let goes = meant(&session.row);
            if goes {
                session.right.end();
                ended.push(session.row.id.clone());
            }
            !goes
        });
        if !ended.is_empty() {
            self.notify_end();
        }
        ended
    }

    /// The key of that id, revoked and expired ones included.
    pub fn key(&self, id: &str) -> Option<Arc<Key>> {
        read(&self.keys).get(id).cloned()
    }

    /// In the order of their making.
    pub fn keys(&self) -> Vec<Arc<Key>> {
        let mut all: Vec<_> = read(&self.keys).values().cloned().collect();
        all.sort_by(|a, b| a.id.cmp(&b.id));
        all
    }

    /// Whether any key was ever made.
    pub fn has_keys(&self) -> bool {
        !read(&self.keys).is_empty()
    }

    /// Returns when the oldest account was made (milliseconds since 1970, UTC).
    pub fn first_account_ms(&self) -> Option<i64> {
        read(&self.users).values().map(|account| account.created_at).min()
    }

    /// Returns when the oldest key was made (milliseconds since 1970, UTC).
    pub fn first_key_ms(&self) -> Option<i64> {
        read(&self.keys).values().map(|key| key.row.created_at).min()
    }

    /// The key with this digest; the one before its last rotation counts until its grace has passed.
    pub fn key_of(&self, digest: &[u8; 32], now_ms: i64) -> Option<Arc<Key>> {
        let key = read(self.shard(digest)).get(digest).cloned()?;
        if bool::from(key.row.digest.ct_eq(digest)) {
            return Some(key);
        }
        let old = key.row.old_digest.is_some_and(|old| bool::from(old.ct_eq(digest)));
        (old && key.row.old_until.is_some_and(|until| until > now_ms)).then_some(key)
    }

    /// Adds a key.
    pub fn put_key(&self, key: Key) -> Arc<Key> {
        let key = self.put(&mut write(&self.keys), key);
        self.end_fresh();
        key
    }

    /// Changes a key as it is now: no other change comes between the look at it and this one. One that is
    /// revoked loses its rights.
    pub fn change_key<E>(
        &self,
        id: &str,
        change: impl FnOnce(&Key) -> Result<Key, E>,
    ) -> Result<Option<Arc<Key>>, E> {
        let mut keys = write(&self.keys);
        let Some(before) = keys.get(id) else { return Ok(None) };
        let next = change(before)?;
        let key = self.put(&mut keys, next);
        drop(keys);
        if key.row.revoked_at.is_some() {
            key.end_rights();
        }
        self.notify_end();
        Ok(Some(key))
    }

    /// Ends what the sessions and keys of an account have begun; those that still count have new rights.
    pub fn end_rights_of(&self, user: &str) {
        let mut keys = write(&self.keys);
        let theirs: Vec<_> = keys.values().filter(|key| key.user.as_deref() == Some(user)).cloned().collect();
        for key in theirs.iter().filter(|key| key.row.revoked_at.is_none()) {
            self.put(&mut keys, key.with_new_rights());
            key.end_rights();
        }
        drop(keys);
        let of_key = |row: &SessionRow| theirs.iter().any(|key| row.key.as_deref() == Some(&*key.id));
        for session in write(&self.sessions).values_mut() {
            if session.row.user.as_deref() == Some(user) || of_key(&session.row) {
                std::mem::take(&mut session.right).end();
            }
        }
        self.notify_end();
    }

    /// Ends the rights of sessions, keys and rotated secrets that have expired. Returns when the next one does, in
    /// milliseconds since 1970.
    pub fn end_expired(&self, now_ms: i64) -> Option<i64> {
        let (mut expired, mut next) = (Vec::new(), None::<i64>);
        let mut is_over = |until: i64| {
            if until > now_ms {
                next = Some(next.map_or(until, |next| next.min(until)));
            }
            until <= now_ms
        };
        for key in read(&self.keys).values().filter(|key| !key.right.has_ended()) {
            if key.row.expires_at.is_some_and(&mut is_over) {
                key.end_rights();
                expired.push(Arc::clone(&key.id));
            } else if let Some(old) = key.old_right.as_ref().filter(|old| !old.has_ended())
                && key.row.old_until.is_some_and(&mut is_over)
            {
                old.end();
            }
        }
        let of_key = |row: &SessionRow| expired.iter().any(|key| row.key.as_deref() == Some(&**key));
        for session in write(&self.sessions).values().filter(|session| !session.right.has_ended()) {
            if is_over(session.row.expires_at) || of_key(&session.row) {
                session.right.end();
            }
        }
        self.notify_end();
        next
    }

    /// Resolves when something that expires was added.
    pub async fn expiring(&self) {
        self.expiring.notified().await;
    }

    /// The right of those who need no credential while there is neither a key nor an account.
    pub fn fresh_right(&self) -> Right {
        self.fresh.clone()
    }

    /// Calls `then` after rights have ended, before the change that ended them is answered.
    pub fn on_end(&self, then: impl Fn() + Send + Sync + 'static) {
        if self.on_end.set(Box::new(then)).is_err() {
            tracing::error!("A second callback for the end of rights was ignored");
        }
    }

    fn end_fresh(&self) {
        if !self.fresh.has_ended() {
            self.fresh.end();
            self.notify_end();
        }
    }

    fn notify_end(&self) {
        if let Some(then) = self.on_end.get() {
            then();
        }
    }

    fn put(&self, keys: &mut HashMap<Arc<str>, Arc<Key>>, key: Key) -> Arc<Key> {
        let key = Arc::new(key);
        let before = keys.insert(Arc::clone(&key.id), Arc::clone(&key));
        let current = [Some(key.row.digest), key.row.old_digest];
        for digest in
            before.iter().flat_map(|before| [Some(before.row.digest), before.row.old_digest]).flatten()
        {
            if !current.contains(&Some(digest)) {
                write(self.shard(&digest)).remove(&digest);
            }
        }
        for digest in current.into_iter().flatten() {
            write(self.shard(&digest)).insert(digest, Arc::clone(&key));
        }
        if key.row.expires_at.or(key.row.old_until).is_some() {
            self.expiring.notify_one();
        }
        key
    }

    fn shard(&self, digest: &[u8; 32]) -> &RwLock<HashMap<[u8; 32], Arc<Key>>> {
        &self.digests[usize::from(digest[0]) % SHARDS]
    }
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
