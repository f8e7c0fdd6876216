//! What is done with accounts, sessions and keys: store and memory are changed together, one change
//! at a time. Decisions are `accounts`', effects are here.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::accounts::{self, Change, Status};
use super::entry::Origin;
use super::error::AuthFault;
use super::gate::AuthGate;
use super::identity::Caller;
use super::index::{Account, Index, Key};
use super::limits::{Counts, Limits, day_start, month_start};
use super::meter::KeyMeter;
use super::password::Passwords;
use super::secret::{digest, new_id, secret};
use super::throttle::Throttle;
use super::token::{Claims, Tokens};
use crate::config::{Auth, Registration};
use crate::store::keys::{self, KeyRow};
use crate::store::rollup::tokens_by_key_since;
use crate::store::sessions::{self, SessionRow};
use crate::store::users::{self, Verdict};
use crate::store::{Store, StoreError};
use crate::system::clock::Clock;

/// How long a link to a new password is good for.
const LINK_MS: i64 = 24 * 60 * 60 * 1000;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// Keys that are not revoked, of everybody together.
pub const KEYS_MAX: usize = 100_000;
/// Sessions of one account or key; the oldest ends for a newer one.
const SESSIONS_MAX: usize = 100;
/// Accounts, sessions and keys.
pub struct Accounts {
    pub gate: AuthGate,
    pub(super) store: Store,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) epoch: Instant,
    pub(super) index: Arc<Index>,
    pub(super) passwords: Passwords,
    pub(super) throttle: Mutex<Throttle>,
    pub(super) registration: Registration,
    session_ms: i64,
    /// The secret part of the set-up link: it makes the first account.
    pub(super) setup: String,
    /// Store and memory change together.
    pub(super) changing: tokio::sync::Mutex<()>,
}

/// A session that has begun.
#[derive(Debug, Clone)]
pub struct Opened {
    pub token: String,
    /// Milliseconds since 1970, UTC.
    pub expires_at: i64,
    pub caller: Caller,
    /// The token of a browser that has logged in with a password.
    pub device: Option<String>,
}

impl Accounts {
    /// Reads what the store holds.
    pub async fn open(
        config: &Auth,
        store: Store,
        tokens: Tokens,
        clock: Arc<dyn Clock>,
    ) -> Result<Accounts, AuthFault> {
        let index = Arc::new(Index::default());
        for row in users::all(&store).await? {
            index.put_account(Account::of(&row));
        }
        let now = clock.unix_ms();
        for row in sessions::all(&store).await? {
            if row.expires_at > now {
                index.put_session(row);
            }
        }
        let rows = keys::all(&store).await?;
        let (day, month) = if rows.is_empty() {
            Default::default()
        } else {
            let used = async |from| {
                Ok::<_, StoreError>(tokens_by_key_since(&store, from).await?.into_iter().collect())
            };
            (used(day_start(now)).await?, used(month_start(now)).await?)
        };
        let (day, month): (std::collections::HashMap<String, u64>, std::collections::HashMap<String, u64>) =
            (day, month);
        for row in rows {
            let used = |of: &std::collections::HashMap<String, u64>| of.get(&row.id).copied().unwrap_or(0);
            let counts = Counts::resumed(now, used(&day), used(&month));
            let meter = Arc::new(KeyMeter::new(Limits::read(&row.limits), counts, Arc::clone(&clock)));
            index.put_key(Key::of(row, meter, None));
        }
        Ok(Accounts {
            gate: AuthGate::new(config, Arc::clone(&index), tokens, Arc::clone(&clock)),
            store,
            epoch: clock.now(),
            clock,
            index,
            passwords: Passwords::new()?,
            throttle: Mutex::default(),
            registration: config.registration,
            session_ms: i64::from(config.session_days) * DAY_MS,
            setup: secret("")?,
            changing: tokio::sync::Mutex::new(()),
        })
    }

    /// The accounts, sessions and keys in memory.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// Where passwords are hashed and compared.
    pub fn passwords(&self) -> &Passwords {
        &self.passwords
    }

    /// Seconds that a session lasts.
    pub fn session_s(&self) -> i64 {
        self.session_ms / 1000
    }

    /// How many accounts wait for approval.
    pub fn pending(&self) -> usize {
        self.index.accounts().iter().filter(|account| account.status == Status::Pending).count()
    }

    /// Ends sessions, in memory first.
    pub async fn end_sessions(&self, meant: impl Fn(&SessionRow) -> bool) -> Result<usize, AuthFault> {
        let ended = self.index.end_sessions(meant);
        let count = ended.len();
        if count > 0 {
            sessions::remove(&self.store, ended).await?;
        }
        Ok(count)
    }

    /// Changes an account; `None`: it is gone.
    pub async fn change(&self, id: &str, change: Change) -> Result<Option<Arc<Account>>, AuthFault> {
        let _changing = self.changing.lock().await;
        let voids = change != Change::Approve;
        let decided = users::change(&self.store, id.to_owned(), move |user, admins| {
            accounts::decide(user, admins, &change)
        });
        let verdict =
            decided.await?.ok_or_else(|| AuthFault::NotFound(format!("there is no user \"{id}\"")))??;
        let account = match verdict {
            Verdict::Keep(row) => {
                let before = self.index.account(id).map(|account| account.version);
                let account = self.index.put_account(Account::of(&row));
                if voids && before != Some(account.version) {
                    self.end_sessions(|session| session.user.as_deref() == Some(id)).await?;
                }
                Some(account)
            }
            Verdict::Remove => {
                self.index.remove_account(id);
                self.end_sessions(|session| session.user.as_deref() == Some(id)).await?;
                None
            }
        };
        if account.as_ref().is_some_and(|account| account.status != Status::Active) {
            self.close_streams(id);
        }
        if account.is_none() {
            for key in self.index.keys().iter().filter(|key| key.user.as_deref() == Some(id)) {
                self.revoke(key).await?;
            }
        }
        Ok(account)
    }

    /// Ends what the keys of an account have open; they count again when it is enabled.
    fn close_streams(&self, user: &str) {
        for key in self.index.keys().iter().filter(|key| key.user.as_deref() == Some(user)) {
            let row = KeyRow { last_used_at: key.last_used_ms(), ..key.row.clone() };
            self.index.put_key(Key::of(row, Arc::clone(&key.meter), None));
            key.ended.cancel();
        }
    }

    /// Sets a password for somebody.
    pub async fn set_password(&self, id: &str, password: String) -> Result<(), AuthFault> {
        let hash = self.passwords.hash(password).await?;
        self.change(id, Change::Password(hash)).await.map(drop)
    }

    /// A link by which somebody chooses a new password, once.
    pub async fn reset_link(&self, id: &str) -> Result<(String, i64), AuthFault> {
        let account = self.index.account(id);
        account.ok_or_else(|| AuthFault::NotFound(format!("there is no user \"{id}\"")))?;
        let token = secret("")?;
        let expires_at = self.clock.unix_ms() + LINK_MS;
        users::add_link(&self.store, digest(&token), id.to_owned(), expires_at).await?;
        Ok((token, expires_at))
    }

    /// Chooses a new password by a link.
    pub async fn reset(&self, token: &str, password: String, origin: &Origin) -> Result<(), AuthFault> {
        self.attempt(None, None, origin)?;
        // Hashed first: a password that is too short does not use the link up.
        let hash = self.passwords.hash(password).await?;
        let user = users::take_link(&self.store, digest(token), self.clock.unix_ms()).await?;
        let gone = || AuthFault::NotFound("the link has been used or has expired; ask for another".into());
        let user = user.ok_or_else(gone)?;
        self.change(&user, Change::Password(hash)).await?;
        self.succeeded(None, None, origin);
        Ok(())
    }

    /// Makes a key out of what is wished for, and its secret.
    pub async fn create_key(&self, mut row: KeyRow) -> Result<(Arc<Key>, String), AuthFault> {
        if self.index.keys().iter().filter(|key| key.row.revoked_at.is_none()).count() >= KEYS_MAX {
            return Err(AuthFault::Conflict(format!("there are {KEYS_MAX} keys already; revoke some")));
        }
        let secret = secret(KEY_PREFIX)?;
        (row.id, row.created_at) = (new_id(), self.clock.unix_ms());
        (row.digest, row.prefix) = (digest(&secret), shown(&secret));
        if row.scopes.is_empty() {
            row.scopes = super::Scope::Inference.name().into();
        }
        let meter = KeyMeter::new(Limits::read(&row.limits), Counts::default(), Arc::clone(&self.clock));
        keys::put(&self.store, row.clone()).await?;
        Ok((self.index.put_key(Key::of(row, Arc::new(meter), None)), secret))
    }

    /// A new secret for a key; the old one counts for another `grace`.
    pub async fn rotate(&self, key: &Key, grace: Duration) -> Result<(Arc<Key>, String), AuthFault> {
        let _changing = self.changing.lock().await;
        let secret = secret(KEY_PREFIX)?;
        let grace_ms = i64::try_from(grace.as_millis()).unwrap_or(i64::MAX);
        let mut row = key.row.clone();
        (row.old_digest, row.digest) = (Some(row.digest), digest(&secret));
        row.old_until = Some(self.clock.unix_ms().saturating_add(grace_ms));
        row.prefix = shown(&secret);
        row.last_used_at = key.last_used_ms();
        keys::put(&self.store, row.clone()).await?;
        Ok((self.index.put_key(Key::of(row, Arc::clone(&key.meter), Some(key))), secret))
    }

    /// From now on the key is good for nothing, in streams that run as well.
    pub async fn revoke(&self, key: &Key) -> Result<(), AuthFault> {
        let mut row = key.row.clone();
        row.revoked_at = Some(row.revoked_at.unwrap_or(self.clock.unix_ms()));
        row.last_used_at = key.last_used_ms();
        // In memory first: should the store fail, the key is dead until the next start at least.
        self.index.put_key(Key::of(row.clone(), Arc::clone(&key.meter), Some(key)));
        key.ended.cancel();
        keys::put(&self.store, row).await?;
        let id = key.id.to_string();
        self.end_sessions(|session| session.key.as_deref() == Some(&id)).await?;
        Ok(())
    }

    /// Writes when keys were last used, where that has changed.
    pub async fn note_use(&self) -> Result<(), StoreError> {
        let newer = |key: &Arc<Key>| key.last_used_ms().filter(|at| Some(*at) != key.row.last_used_at);
        let used: Vec<_> =
            self.index.keys().iter().filter_map(|key| Some((key.id.to_string(), newer(key)?))).collect();
        if used.is_empty() { Ok(()) } else { keys::touch(&self.store, used).await }
    }

    pub(super) async fn begin(
        &self,
        account: Option<&Arc<Account>>,
        key: Option<String>,
        origin: &Origin,
    ) -> Result<Opened, AuthFault> {
        let now = self.clock.unix_ms();
        let row = SessionRow {
            id: new_id(),
            user: account.map(|account| account.id.to_string()),
            key,
            created_at: now,
            expires_at: now + self.session_ms,
            address: origin.address.map(|address| address.to_string()),
            agent: origin.agent.clone(),
        };
        let subject = row.user.clone().or(row.key.clone()).unwrap_or_default();
        let claims = Claims {
            sid: row.id.clone(),
            sub: subject,
            ver: account.map_or(0, |account| account.version),
            iat: now / 1000,
            exp: row.expires_at / 1000,
        };
        let token = self.gate.tokens.sign(&claims)?;
        let same = |other: &SessionRow| other.user == row.user && other.key == row.key;
        let old: Vec<String> = self
            .index
            .sessions()
            .iter()
            .map(|s| Arc::clone(&s.row))
            .filter(|s| same(s))
            .skip(SESSIONS_MAX - 1)
            .map(|s| s.id.clone())
            .collect();
        self.end_sessions(|session| old.contains(&session.id)).await?;
        let expires_at = row.expires_at;
        sessions::add(&self.store, row.clone()).await?;
        self.index.put_session(row);
        let credentials = super::Credentials { bearer: Some(&token), ..Default::default() };
        let caller = self.gate.admit(credentials, super::Transport::Network);
        let caller = caller.map_err(|error| AuthFault::Internal(error.to_string()))?;
        Ok(Opened { token, expires_at, caller, device: None })
    }
}

/// What keys begin with; clients that look for `sk-` are content.
const KEY_PREFIX: &str = "sk-mgw-";
/// Characters of a key that are shown later.
const PREFIX_CHARS: usize = 12;

fn shown(secret: &str) -> String {
    secret.chars().take(PREFIX_CHARS).collect()
}
