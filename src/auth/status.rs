//! Who needs a credential now, and what made it so. Computed on each call: keys and accounts change it.

use super::index::Index;
use crate::config::ApiAuth;

/// What decides whether requests need a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// `auth.api = "required"`.
    Setting,
    /// `MLX_GATEWAY_API_KEY`.
    EnvironmentKey,
    /// An account was made.
    Account,
    /// A key was made.
    Key,
    /// `auth.api = "auto"`, and there is neither a key nor an account.
    Fresh,
}

/// Who needs a credential now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthStatus {
    pub mode: ApiAuth,
    pub cause: Cause,
    /// Milliseconds since 1970, UTC: when the first key or account was made, if that is the cause.
    pub since_ms: Option<i64>,
}

impl Cause {
    pub(super) fn of(mode: ApiAuth, environment_key: bool, index: &Index) -> Cause {
        match mode {
            ApiAuth::Required => Cause::Setting,
            ApiAuth::Auto | ApiAuth::Open if environment_key => Cause::EnvironmentKey,
            ApiAuth::Auto | ApiAuth::Open if index.has_accounts() => Cause::Account,
            ApiAuth::Auto | ApiAuth::Open if index.has_keys() => Cause::Key,
            ApiAuth::Auto | ApiAuth::Open => Cause::Fresh,
        }
    }

    /// Returns the name that the API uses.
    pub fn name(self) -> &'static str {
        match self {
            Cause::Setting => "setting",
            Cause::EnvironmentKey => "environment_key",
            Cause::Account => "account",
            Cause::Key => "key",
            Cause::Fresh => "fresh",
        }
    }

    /// Returns the cause as a clause.
    pub fn words(self) -> &'static str {
        match self {
            Cause::Setting => "auth.api = \"required\" is set",
            Cause::EnvironmentKey => "MLX_GATEWAY_API_KEY is set",
            Cause::Account => "an account was made",
            Cause::Key => "a key was made",
            Cause::Fresh => "there is neither a key nor an account",
        }
    }
}

impl AuthStatus {
    pub(super) fn new(mode: ApiAuth, environment_key: bool, index: &Index) -> AuthStatus {
        let mut cause = Cause::of(mode, environment_key, index);
        let (account, key) = (index.first_account_ms(), index.first_key_ms());
        // Whichever came first is what closed the gateway.
        if cause == Cause::Account && key.is_some_and(|key| account.is_some_and(|account| key < account)) {
            cause = Cause::Key;
        }
        let since_ms = match cause {
            Cause::Account => account,
            Cause::Key => key,
            Cause::Setting | Cause::EnvironmentKey | Cause::Fresh => None,
        };
        AuthStatus { mode, cause, since_ms }
    }

    /// Whether every request for a model needs a key or a session.
    pub fn is_key_required(&self) -> bool {
        self.mode != ApiAuth::Open && self.cause != Cause::Fresh
    }

    /// Returns the status as a sentence without a full stop.
    pub fn message(&self) -> String {
        let cause = self.cause.words();
        match (self.mode, self.cause) {
            (ApiAuth::Open, Cause::Fresh) => {
                "no API key is required (auth.api = \"open\"); callers on this machine may change everything until a key or an account exists".to_owned()
            }
            (ApiAuth::Open, _) => {
                format!("no API key is required to use models (auth.api = \"open\"); changes need one, since {cause}")
            }
            (_, Cause::Fresh) => format!("no API key is required on this machine, since {cause}; elsewhere one is"),
            _ => format!("an API key is required, since {cause}"),
        }
    }
}
