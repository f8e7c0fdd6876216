//! From what a request shows and the road it came by to a [`Caller`]: the rules of `[auth] api`. Asks
//! memory only, never the store.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use subtle::ConstantTimeEq;
use tokio_util::sync::CancellationToken;

use super::accounts::{Role, Status};
use super::error::AuthError;
use super::identity::{Caller, Scopes, Via};
use super::index::{Account, Index, Key};
use super::secret::digest;
use super::token::{Claims, Tokens};
use crate::config::{ApiAuth, Auth};
use crate::system::clock::Clock;

/// The environment key's id, where ids of keys stand.
pub const ENVIRONMENT: &str = "env";

/// How a connection reached the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Road {
    /// The socket in the data directory: the same user on the same machine.
    LocalSocket,
    /// A TCP listener on a loopback address.
    Loopback,
    /// Any other TCP listener.
    Network,
}

/// What a request shows to be let in.
#[derive(Debug, Clone, Copy, Default)]
pub struct Shown<'a> {
    /// A key or a session's token.
    pub bearer: Option<&'a str>,
    /// A session's token in a cookie.
    pub cookie: Option<&'a str>,
    /// The cookie came with a request that may change something and that no page of ours sent.
    pub foreign: bool,
}

/// Decides who is let in.
pub struct AuthGate {
    mode: ApiAuth,
    /// SHA-256 of the environment key: values of equal length compare in constant time.
    environment_key: Option<[u8; 32]>,
    pub(super) index: Arc<Index>,
    pub(super) tokens: Tokens,
    clock: Arc<dyn Clock>,
    operator: Caller,
    anonymous: Caller,
    open: Caller,
    local: Caller,
}

impl AuthGate {
    /// A gate that asks by the mode of `auth` and knows its environment key.
    pub fn new(auth: &Auth, index: Arc<Index>, tokens: Tokens, clock: Arc<dyn Clock>) -> AuthGate {
        let mut operator = Caller::nobody(ENVIRONMENT, Scopes::ALL, Via::Environment);
        operator.key = Some(Arc::from(ENVIRONMENT));
        AuthGate {
            mode: auth.api,
            environment_key: auth.environment_key.as_ref().map(|key| digest(&key.0)),
            index,
            tokens,
            clock,
            operator,
            anonymous: Caller::nobody("anonymous", Scopes::USE, Via::Open),
            open: Caller::nobody("local", Scopes::ALL, Via::Open),
            local: Caller::nobody("local", Scopes::ALL, Via::LocalSocket),
        }
    }

    /// The caller who shows this on that road.
    pub fn admit(&self, shown: Shown<'_>, road: Road) -> Result<Caller, AuthError> {
        if road == Road::LocalSocket {
            return Ok(self.local.clone());
        }
        if let Some(bearer) = shown.bearer {
            match self.identify(bearer) {
                Err(AuthError::Wrong) => {}
                told => return told,
            }
        } else if let Some(token) = shown.cookie
            && let Ok(caller) = self.session(token)
        {
            return if shown.foreign { Err(AuthError::CrossSite) } else { Ok(caller) };
        }
        match self.open_to(road) {
            Some(caller) => Ok(caller.clone()),
            None if shown.bearer.is_some() => Err(AuthError::Wrong),
            None => Err(AuthError::Missing(self.reason())),
        }
    }

    /// Whether nobody has been let in by name yet: no key and no account exists.
    pub fn is_fresh(&self) -> bool {
        self.environment_key.is_none() && !self.index.has_accounts() && !self.index.has_keys()
    }

    /// Whether requests without a credential are served on that road.
    pub fn is_open(&self, road: Road) -> bool {
        road == Road::LocalSocket || self.open_to(road).is_some()
    }

    /// Whether the key of this digest is the operator's, from the environment.
    pub(super) fn is_environment_key(&self, digest: &[u8; 32]) -> bool {
        self.environment_key.is_some_and(|known| bool::from(digest.ct_eq(&known)))
    }

    fn open_to(&self, road: Road) -> Option<&Caller> {
        match (self.mode, road) {
            // `auto` and `open` make the one person on this machine the operator until somebody has a name.
            (ApiAuth::Auto | ApiAuth::Open, Road::Loopback) if self.is_fresh() => Some(&self.open),
            (ApiAuth::Open, _) => Some(&self.anonymous),
            _ => None,
        }
    }

    fn reason(&self) -> &'static str {
        match (self.mode, self.environment_key) {
            (ApiAuth::Required, _) => "auth.api = \"required\" is set",
            (_, Some(_)) => "MLX_GATEWAY_API_KEY is set",
            _ if self.is_fresh() => "auth.api = \"auto\" is open on loopback only",
            _ => "auth.api = \"auto\" asks for one since a key or an account was made",
        }
    }

    /// Whoever a key or token stands for.
    fn identify(&self, bearer: &str) -> Result<Caller, AuthError> {
        let digest = digest(bearer);
        if self.is_environment_key(&digest) {
            return Ok(self.operator.clone());
        }
        if let Some(key) = self.index.key_of(&digest, self.clock.unix_ms()) {
            return self.of_key(&key, Via::Key, &key.ended);
        }
        // A token has two dots; keys of ours have none.
        match bearer.matches('.').count() {
            2 => self.session(bearer),
            _ => Err(AuthError::Wrong),
        }
    }

    /// What a key may do, on its own or through a session it was traded for.
    pub(super) fn of_key(
        &self,
        key: &Arc<Key>,
        via: Via,
        ended: &CancellationToken,
    ) -> Result<Caller, AuthError> {
        let now = self.clock.unix_ms();
        if key.row.revoked_at.is_some() {
            return Err(AuthError::Revoked);
        }
        if key.row.expires_at.is_some_and(|at| at <= now) {
            return Err(AuthError::Expired);
        }
        let (most, owners_tools) = match &key.user {
            None => (Scopes::ALL, None),
            Some(user) => {
                let owner = self.index.account(user).filter(|owner| owner.status == Status::Active);
                let owner = owner.ok_or(AuthError::Inactive)?;
                (owner.role.scopes(), owner.tools.clone())
            }
        };
        key.last_used.store(now, Ordering::Relaxed);
        Ok(Caller {
            key: Some(Arc::clone(&key.id)),
            user: key.user.clone(),
            scopes: key.scopes.and(most),
            profiles: key.profiles.clone(),
            tools: in_both(key.tools.clone(), owners_tools),
            fairness: Arc::clone(key.user.as_ref().unwrap_or(&key.id)),
            priority: key.row.priority,
            via,
            name: Arc::clone(&key.name),
            meter: Some(Arc::clone(&key.meter)),
            ended: Some(ended.clone()),
            session: None,
        })
    }

    fn session(&self, token: &str) -> Result<Caller, AuthError> {
        let claims = self.tokens.read(token, self.clock.unix_ms()).ok_or(AuthError::NoSession)?;
        let session = self.index.session(&claims.sid).ok_or(AuthError::NoSession)?;
        let mut caller = match &session.row.key {
            Some(key) if key == ENVIRONMENT && self.environment_key.is_some() => {
                Caller { via: Via::Session, ..self.operator.clone() }
            }
            Some(key) => {
                let key = self.index.key(key).ok_or(AuthError::NoSession)?;
                self.of_key(&key, Via::Session, &session.ended)?
            }
            None => person(&*self.account_of(&claims)?),
        };
        caller.ended = Some(session.ended);
        caller.session = Some(claims.sid.into());
        Ok(caller)
    }

    fn account_of(&self, claims: &Claims) -> Result<Arc<Account>, AuthError> {
        let account = self.index.account(&claims.sub).ok_or(AuthError::NoSession)?;
        if account.status != Status::Active {
            return Err(AuthError::Inactive);
        }
        if account.version != claims.ver {
            return Err(AuthError::NoSession);
        }
        Ok(account)
    }
}

/// What a key and its owner may both use; none: all.
fn in_both(key: Option<Arc<[String]>>, owner: Option<Arc<[String]>>) -> Option<Arc<[String]>> {
    match (key, owner) {
        (Some(key), Some(owner)) => Some(key.iter().filter(|name| owner.contains(name)).cloned().collect()),
        (one, other) => one.or(other),
    }
}

/// A person with a session.
fn person(account: &Account) -> Caller {
    let mut caller = Caller::nobody(&account.id, account.role.scopes(), Via::Session);
    caller.user = Some(Arc::clone(&account.id));
    caller.name = Arc::clone(&account.email);
    caller.tools.clone_from(&account.tools);
    debug_assert!(account.role == Role::Admin || !caller.sees_all());
    caller
}
