//! Identifies the caller of a request by its credentials and its transport: the rules of `[auth] api`. Reads
//! memory only, never the store.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use subtle::ConstantTimeEq;

use super::accounts::{Role, Status};
use super::error::AuthError;
use super::identity::{Caller, Scopes, Via};
use super::index::{Account, Index, Key};
use super::right::Right;
use super::secret::digest;
use super::status::{AuthStatus, Cause};
use super::token::{Claims, Tokens};
use super::transport::{Transport, Trust};
use crate::config::{ApiAuth, Auth};
use crate::system::clock::Clock;

/// The environment key's id, where ids of keys stand.
pub const ENVIRONMENT: &str = "env";

/// What a request sends to prove who it is from.
#[derive(Debug, Clone, Copy, Default)]
pub struct Credentials<'a> {
    /// A key or a session's token, in `Authorization`.
    pub bearer: Option<&'a str>,
    /// The same in `x-api-key`.
    pub api_key: Option<&'a str>,
    /// A session's token in a cookie. Not looked at beside a key.
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
        let mut operator = Caller::nobody(ENVIRONMENT, Scopes::ALL, Via::Environment, Right::default());
        operator.key = Some(Arc::from(ENVIRONMENT));
        // What needs no credential while the gateway is fresh needs one afterwards.
        let open = Caller::nobody("local", Scopes::ALL, Via::Open, index.fresh_right());
        AuthGate {
            mode: auth.api,
            environment_key: auth.environment_key.as_ref().map(|key| digest(&key.0)),
            index,
            tokens,
            clock,
            operator,
            anonymous: Caller::nobody("anonymous", Scopes::USE, Via::Open, Right::default()),
            open,
            local: Caller::nobody("local", Scopes::ALL, Via::LocalSocket, Right::default()),
        }
    }

    /// Returns the caller of a request, or why it has none.
    pub fn admit(&self, credentials: Credentials<'_>, transport: Transport) -> Result<Caller, AuthError> {
        let trust = self.trust(transport);
        if trust == Trust::Owner {
            return Ok(self.local.clone());
        }
        let refused = match self.identify(&credentials) {
            Some(Err(AuthError::Wrong)) => Some(AuthError::Wrong),
            Some(identified) => return identified,
            None => None,
        };
        if trust >= Trust::Operator {
            return Ok(self.open.clone());
        }
        if self.mode == ApiAuth::Open {
            return Ok(self.anonymous.clone());
        }
        Err(refused.unwrap_or_else(|| AuthError::Missing(self.reason(transport))))
    }

    /// Returns what a caller without a credential may do because of where it connects from.
    pub fn trust(&self, transport: Transport) -> Trust {
        transport.trust(self.mode, self.is_fresh())
    }

    /// Whether there is no key, no operator's key and no account.
    pub fn is_fresh(&self) -> bool {
        self.environment_key.is_none() && !self.index.has_accounts() && !self.index.has_keys()
    }

    /// Whether requests without a credential are served on that transport.
    pub fn is_open(&self, transport: Transport) -> bool {
        self.mode == ApiAuth::Open || self.trust(transport) >= Trust::Operator
    }

    /// Returns who needs a credential now, and why.
    pub fn status(&self) -> AuthStatus {
        AuthStatus::new(self.mode, self.environment_key.is_some(), &self.index)
    }

    /// Whether the key of this digest is the operator's, from the environment.
    pub(super) fn is_environment_key(&self, digest: &[u8; 32]) -> bool {
        self.environment_key.is_some_and(|known| bool::from(digest.ct_eq(&known)))
    }

    /// Returns why a request over that transport needs a credential, as the end of a sentence.
    pub(super) fn reason(&self, transport: Transport) -> &'static str {
        match Cause::of(self.mode, self.environment_key.is_some(), &self.index) {
            Cause::Fresh if transport == Transport::Proxied => {
                "without keys and accounts the gateway is open on loopback only, and the request came through a proxy that names no client on this machine (its X-Forwarded-For counts if server.trusted_proxies lists it)"
            }
            Cause::Fresh => "without keys and accounts the gateway is open on loopback only",
            cause => cause.words(),
        }
    }

    /// Returns whom the credentials belong to; none: there are none that count. Of two keys one that is valid wins.
    fn identify(&self, credentials: &Credentials<'_>) -> Option<Result<Caller, AuthError>> {
        let mut refused = None;
        for key in [credentials.bearer, credentials.api_key].into_iter().flatten() {
            match self.holder(key) {
                Ok(caller) => return Some(Ok(caller)),
                // "Revoked" says more than "wrong".
                Err(error) if refused.is_none_or(|earlier| earlier == AuthError::Wrong) => {
                    refused = Some(error);
                }
                Err(_) => {}
            }
        }
        if let Some(error) = refused {
            return Some(Err(error));
        }
        let caller = self.session(credentials.cookie?).ok()?;
        Some(if credentials.foreign { Err(AuthError::CrossSite) } else { Ok(caller) })
    }

    /// Returns the holder of a key or a session's token.
    fn holder(&self, bearer: &str) -> Result<Caller, AuthError> {
        let digest = digest(bearer);
        if self.is_environment_key(&digest) {
            return Ok(self.operator.clone());
        }
        if let Some(key) = self.index.key_of(&digest, self.clock.unix_ms()) {
            return self.of_key(&key, Via::Key, key.right_of(&digest));
        }
        // A token has two dots; keys of ours have none.
        match bearer.matches('.').count() {
            2 => self.session(bearer),
            _ => Err(AuthError::Wrong),
        }
    }

    /// What a key may do, on its own or through a session it was traded for.
    pub(super) fn of_key(&self, key: &Arc<Key>, via: Via, right: &Right) -> Result<Caller, AuthError> {
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
            right: right.clone(),
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
                self.of_key(&key, Via::Session, &session.right)?
            }
            None => person(&*self.account_of(&claims)?, &session.right),
        };
        caller.right = session.right;
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
fn person(account: &Account, right: &Right) -> Caller {
    let mut caller = Caller::nobody(&account.id, account.role.scopes(), Via::Session, right.clone());
    caller.user = Some(Arc::clone(&account.id));
    caller.name = Arc::clone(&account.email);
    caller.tools.clone_from(&account.tools);
    debug_assert!(account.role == Role::Admin || !caller.sees_all());
    caller
}
