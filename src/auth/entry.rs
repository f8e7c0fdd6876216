//! Registering and logging in. The first account is the administrator's, so it needs proof wherever the gateway
//! is not open.

use std::net::IpAddr;
use std::sync::{Arc, PoisonError};

use subtle::ConstantTimeEq;

use super::accounts::{self, Role, Status};
use super::error::AuthFault;
use super::gate::ENVIRONMENT;
use super::identity::{Caller, Scope, Via};
use super::index::{Account, Key};
use super::password::Lane;
use super::secret::{digest, new_id};
use super::service::{Accounts, Opened};
use super::throttle::{Attempt, Throttle};
use super::token::Claims;
use super::transport::Transport;
use crate::config::Registration;
use crate::store::keys::KeyRow;
use crate::store::users::{self, UserRow};

/// Accounts that may wait for approval.
const PENDING_MAX: usize = 1_000;
/// What the `sid` of a device's token begins with; no session's id does.
const DEVICE_PREFIX: &str = "device:";
/// Seconds for which a browser that has logged in counts as known.
pub const DEVICE_S: i64 = 180 * 24 * 60 * 60;

/// Where a request comes from.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    pub address: Option<IpAddr>,
    pub agent: Option<String>,
    /// The token of a browser that has logged in before, as the request sent it.
    pub device: Option<String>,
}

/// What a registration has to show for being the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// Nothing; the gateway needs a credential on the request's transport, for this reason.
    Missing(&'static str),
    /// A set-up link that is not, or no longer, the gateway's.
    StaleLink,
    /// The gateway is fresh and open on the request's transport.
    OpenGateway,
    /// The set-up link.
    Link,
    /// An administrator's credential.
    Administrator,
}

/// How a registration ended.
#[derive(Debug)]
pub enum Registered {
    /// The first administrator, with a session and a key.
    First { account: Arc<Account>, opened: Box<Opened>, key: Arc<Key>, secret: String },
    /// Waits for approval.
    Pending(Arc<Account>),
}

impl Accounts {
    /// Returns the secret part of the set-up link.
    pub fn setup_token(&self) -> &str {
        &self.setup
    }

    /// Returns what this request has to show for making the first account.
    pub fn proof(&self, setup_token: Option<&str>, caller: Option<&Caller>, transport: Transport) -> Proof {
        let is_setup_token = |sent: &str| bool::from(digest(sent).ct_eq(&digest(&self.setup)));
        if setup_token.is_some_and(is_setup_token) {
            return Proof::Link;
        }
        match caller.filter(|caller| caller.has(Scope::Admin)) {
            Some(caller) if caller.via == Via::Open => Proof::OpenGateway,
            Some(_) => Proof::Administrator,
            None if setup_token.is_some() => Proof::StaleLink,
            None => Proof::Missing(self.gate.reason(transport)),
        }
    }

    /// Whether that proof lets its sender register now.
    pub fn takes_registrations(&self, proof: Proof) -> bool {
        if self.index.has_accounts() {
            return self.registration == Registration::Approval;
        }
        self.may_be_first(proof).is_ok()
    }

    fn may_be_first(&self, proof: Proof) -> Result<(), AuthFault> {
        match (proof, self.registration) {
            (Proof::Link | Proof::Administrator, _) | (Proof::OpenGateway, Registration::Approval) => Ok(()),
            (Proof::StaleLink, _) => Err(AuthFault::StaleLink(
                "this set-up link was replaced when the gateway was started again; print the new one with \
                 `mlx-gateway doctor`",
            )),
            (Proof::OpenGateway, Registration::Closed) => {
                Err(AuthFault::FirstAccount("auth.registration = \"closed\" is set"))
            }
            (Proof::Missing(reason), _) => Err(AuthFault::FirstAccount(reason)),
        }
    }

    /// Adds an account: the first one is the administrator's and needs proof, later ones wait for approval.
    pub async fn register(
        &self,
        email: &str,
        password: String,
        proof: Proof,
        origin: &Origin,
    ) -> Result<Registered, AuthFault> {
        let email = accounts::email(email)?;
        self.attempt(None, None, origin)?;
        if !self.index.has_accounts() {
            self.may_be_first(proof)?;
        } else if matches!(proof, Proof::Link | Proof::StaleLink) {
            return Err(AuthFault::StaleLink(
                "this set-up link was replaced or already used: there is an administrator's account; log in, or \
                 register without the link",
            ));
        } else if self.registration == Registration::Closed {
            return Err(AuthFault::NotAllowed("registration is closed (auth.registration = \"closed\")"));
        } else if self.pending() >= PENDING_MAX {
            return Err(AuthFault::Conflict("too many accounts wait for approval already".into()));
        }
        let password = self.passwords.hash(password).await?;
        let changing = self.changing.lock().await;
        // An account or a key may have been made while the password was hashed.
        let may_be_first = match proof {
            Proof::OpenGateway => self.gate.is_fresh() && self.may_be_first(proof).is_ok(),
            _ => self.may_be_first(proof).is_ok(),
        };
        let created_at = self.clock.unix_ms();
        let closed = self.registration == Registration::Closed;
        let address = email.clone();
        let added = users::add(&self.store, move |count| {
            let first = count == 0 && may_be_first;
            let (role, status) =
                if first { (Role::Admin, Status::Active) } else { (Role::User, Status::Pending) };
            (first || (count > 0 && !closed)).then(|| UserRow {
                id: new_id(),
                email: address,
                password,
                role: role.name().into(),
                status: status.name().into(),
                version: 1,
                created_at,
                last_login_at: None,
                tools: None,
            })
        });
        let taken =
            || AuthFault::Conflict(format!("the account {email} exists already, or registration has closed"));
        let account = self.index.put_account(Account::of(&added.await?.ok_or_else(taken)?));
        drop(changing);
        if account.status == Status::Pending {
            return Ok(Registered::Pending(account));
        }
        let row =
            KeyRow { name: "first key".into(), user: Some(account.id.to_string()), ..KeyRow::default() };
        let (key, secret) = self.create_key(row).await?;
        let mut opened = self.begin(Some(&account), None, origin).await?;
        opened.device = Some(self.device_token(&account)?);
        Ok(Registered::First { account, opened: Box::new(opened), key, secret })
    }

    /// Begins a session for a password.
    pub async fn log_in(&self, email: &str, password: String, origin: &Origin) -> Result<Opened, AuthFault> {
        if email.len() > accounts::EMAIL_MAX {
            let most = accounts::EMAIL_MAX;
            return Err(AuthFault::Invalid(format!("an e-mail address has at most {most} bytes"), "email"));
        }
        let email = email.trim().to_lowercase();
        let device = origin.device.as_deref().and_then(|token| self.known_device(token, &email));
        self.attempt(Some(&email), device.as_deref(), origin)?;
        let row = users::by_email(&self.store, email.clone()).await?;
        let row = row.and_then(|row| self.revocations.of_user(row));
        let known = row.as_ref().map(|row| row.password.clone());
        let lane = if device.is_some() { Lane::KnownDevice } else { Lane::Stranger };
        if !self.passwords.verify(password, known, lane).await? {
            return Err(AuthFault::WrongPassword);
        }
        let Some(row) = row else { return Err(AuthFault::WrongPassword) };
        self.succeeded(Some(&email), device.as_deref(), origin);
        let account = self.index.account(&row.id).ok_or(AuthFault::WrongPassword)?;
        match account.status {
            Status::Pending => return Err(AuthFault::Pending),
            Status::Disabled => return Err(AuthFault::Disabled),
            Status::Active => {}
        }
        let now = self.clock.unix_ms();
        users::note_log_in(&self.store, row.id.clone(), now).await?;
        self.index.change_account(&row.id, |account| account.last_login_at = Some(now));
        let mut opened = self.begin(Some(&account), None, origin).await?;
        opened.device = Some(self.device_token(&account)?);
        Ok(opened)
    }

    /// Begins a session for a key, so that a page can use it. A key that is valid is never made to wait.
    pub async fn log_in_with_key(&self, key: &str, origin: &Origin) -> Result<Opened, AuthFault> {
        match self.usable_key(key) {
            Ok(id) => self.begin(None, Some(id), origin).await,
            Err(fault) => {
                self.attempt(None, None, origin)?;
                Err(fault)
            }
        }
    }

    fn usable_key(&self, key: &str) -> Result<String, AuthFault> {
        if self.gate.is_environment_key(&digest(key)) {
            return Ok(ENVIRONMENT.to_owned());
        }
        let found = self.index.key_of(&digest(key), self.clock.unix_ms()).ok_or(AuthFault::WrongKey)?;
        let usable = self.gate.of_key(&found, Via::Session, &found.right);
        usable.map_err(|error| match error {
            super::AuthError::Inactive => AuthFault::Disabled,
            _ => AuthFault::WrongKey,
        })?;
        Ok(found.id.to_string())
    }

    /// Returns a token by which a browser is known to have logged in to the account. It ends with the account's
    /// version, that is with its password, role and status.
    fn device_token(&self, account: &Account) -> Result<String, AuthFault> {
        let now_s = self.clock.unix_ms() / 1000;
        self.gate.tokens.sign(&Claims {
            sid: format!("{DEVICE_PREFIX}{}", new_id()),
            sub: account.id.to_string(),
            ver: account.version,
            iat: now_s,
            exp: now_s + DEVICE_S,
        })
    }

    /// Returns the id of the device whose token this is, if it has logged in to that account.
    fn known_device(&self, token: &str, email: &str) -> Option<String> {
        let claims = self.gate.tokens.read(token, self.clock.unix_ms())?;
        let account = self.index.account(&claims.sub)?;
        let is_known = claims.sid.starts_with(DEVICE_PREFIX)
            && claims.ver == account.version
            && *account.email == *email;
        is_known.then_some(claims.sid)
    }

    pub(super) fn attempt(
        &self,
        account: Option<&str>,
        device: Option<&str>,
        origin: &Origin,
    ) -> Result<(), AuthFault> {
        let Some(address) = origin.address else { return Ok(()) };
        let at = self.clock.now().saturating_duration_since(self.epoch);
        self.throttle().begin(&Attempt { account, address, device }, at).map_err(AuthFault::Throttled)
    }

    pub(super) fn succeeded(&self, account: Option<&str>, device: Option<&str>, origin: &Origin) {
        let Some(address) = origin.address else { return };
        self.throttle().succeeded(&Attempt { account, address, device });
    }

    fn throttle(&self) -> std::sync::MutexGuard<'_, Throttle> {
        self.throttle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
