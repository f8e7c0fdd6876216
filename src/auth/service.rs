//! What is done with accounts, sessions and keys: store and memory are changed together, one change
//! at a time. Decisions are `accounts`', effects are here.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::accounts::Status;
use super::entry::Origin;
use super::error::AuthFault;
use super::gate::AuthGate;
use super::identity::Caller;
use super::index::{Account, Index, Key};
use super::limits::{Counts, Limits, day_start, month_start};
use super::meter::KeyMeter;
use super::password::Passwords;
use super::revocations::{Revocations, Unwritten};
use super::secret::{new_id, secret};
use super::throttle::Throttle;
use super::token::{Claims, Tokens};
use crate::config::{Auth, Registration};
use crate::store::keys;
use crate::store::rollup::tokens_by_key_since;
use crate::store::sessions::{self, SessionRow};
use crate::store::users;
use crate::store::{Store, StoreError};
use crate::system::clock::Clock;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// The longest pause between two looks at what has expired: the wall clock may be set.
const EXPIRY_CHECK: Duration = Duration::from_secs(60);
/// Sessions of one account or key; the oldest ends for a newer one.
const SESSIONS_MAX: usize = 100;

/// Accounts, sessions and keys.
pub struct Accounts {
    pub gate: AuthGate,
    pub(super) store: Store,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) epoch: Instant,
    pub(super) index: Arc<Index>,
    pub(super) revocations: Revocations,
    pub(super) passwords: Passwords,
    pub(super) throttle: Mutex<Throttle>,
    pub(super) registration: Registration,
    session_ms: i64,
    /// The secret part of the set-up link: it makes the first account.
    pub(super) setup: String,
    /// Held by every change from its look at what there is until store and memory agree on it.
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
    /// Reads what the store holds, and what `revocations` hold that it has not taken.
    pub async fn open(
        config: &Auth,
        store: Store,
        tokens: Tokens,
        revocations: Revocations,
        clock: Arc<dyn Clock>,
    ) -> Result<Accounts, AuthFault> {
        if let Err(error) = revocations.flush(&store).await {
            tracing::warn!(%error, "Revocations of an earlier run are still not written to the store; they hold");
        }
        let index = Arc::new(Index::default());
        for row in users::all(&store).await?.into_iter().filter_map(|row| revocations.of_user(row)) {
            index.put_account(Account::of(&row));
        }
        let now = clock.unix_ms();
        for row in sessions::all(&store).await? {
            if row.expires_at > now && !revocations.end_session(&row) {
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
        for row in rows.into_iter().map(|row| revocations.of_key(row)) {
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
            revocations,
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

    /// Revocations that the store has not written.
    pub fn unwritten_revocations(&self) -> Unwritten {
        self.revocations.unwritten()
    }

    /// Ends the rights of sessions, keys and rotated secrets as they expire, until the process ends.
    pub async fn end_expired(&self) {
        loop {
            let now = self.clock.unix_ms();
            let next = self.index.end_expired(now).map(|at| u64::try_from(at - now).unwrap_or(0));
            let wait = next.map_or(EXPIRY_CHECK, Duration::from_millis).min(EXPIRY_CHECK);
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.index.expiring() => {}
            }
        }
    }

    /// Seconds that a session lasts.
    pub fn session_s(&self) -> i64 {
        self.session_ms / 1000
    }

    /// How many accounts wait for approval.
    pub fn pending(&self) -> usize {
        self.index.accounts().iter().filter(|account| account.status == Status::Pending).count()
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
