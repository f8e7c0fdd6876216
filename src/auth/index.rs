//! Accounts, sessions and keys in memory, so that telling who asks costs no look into the store. Holds
//! what the store holds; whoever changes one changes the other.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use subtle::ConstantTimeEq;
use tokio_util::sync::CancellationToken;

use super::accounts::{Role, Status};
use super::identity::{Scope, Scopes};
use super::limits::Limits;
use super::meter::KeyMeter;
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

/// A session that has not ended, and what ends its streams.
#[derive(Debug, Clone)]
pub struct Session {
    pub row: Arc<SessionRow>,
    pub ended: CancellationToken,
}

/// A key with what it may do.
#[derive(Debug)]
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
    pub ended: CancellationToken,
}

/// All accounts, sessions and keys in memory, so that letting somebody in reads no disk. The store is what
/// counts; whoever writes it writes here too.
#[derive(Default)]
pub struct Index {
    users: RwLock<HashMap<Arc<str>, Arc<Account>>>,
    sessions: RwLock<HashMap<Arc<str>, Session>>,
    keys: RwLock<HashMap<Arc<str>, Arc<Key>>>,
    digests: [RwLock<HashMap<[u8; 32], Arc<Key>>>; SHARDS],
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
            ended: before.map_or_else(CancellationToken::new, |before| before.ended.clone()),
            row,
        }
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

    /// Whether there is any account, a waiting one included.
    pub fn has_accounts(&self) -> bool {
        !read(&self.users).is_empty()
    }

    /// Takes the place of what was known of the account.
    pub fn put_account(&self, account: Account) -> Arc<Account> {
        let account = Arc::new(account);
        write(&self.users).insert(Arc::clone(&account.id), Arc::clone(&account));
        account
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
        sessions.insert(id, Session { row: Arc::new(row), ended: CancellationToken::new() });
    }

    /// Ends the sessions that are meant, and gives their ids.
    pub fn end_sessions(&self, meant: impl Fn(&SessionRow) -> bool) -> Vec<String> {
        let mut ended = Vec::new();
        write(&self.sessions).retain(|_, session| {
            let goes = meant(&session.row);
            if goes {
                session.ended.cancel();
                ended.push(session.row.id.clone());
            }
            !goes
        });
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

    /// The key with this digest; the one before its last rotation counts until its grace has passed.
    pub fn key_of(&self, digest: &[u8; 32], now_ms: i64) -> Option<Arc<Key>> {
        let key = read(self.shard(digest)).get(digest).cloned()?;
        if bool::from(key.row.digest.ct_eq(digest)) {
            return Some(key);
        }
        let old = key.row.old_digest.is_some_and(|old| bool::from(old.ct_eq(digest)));
        (old && key.row.old_until.is_some_and(|until| until > now_ms)).then_some(key)
    }

    /// Takes the place of what was known of the key, and goes on counting where that had come to.
    pub fn put_key(&self, key: Key) -> Arc<Key> {
        let key = Arc::new(key);
        let before = write(&self.keys).insert(Arc::clone(&key.id), Arc::clone(&key));
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
