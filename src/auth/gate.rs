//! From a presented key and the road it came by to a [`Caller`]: the rules of `[auth] api`.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::identity::{Caller, Scopes};
use crate::config::{ApiAuth, Auth};

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

/// Why a caller is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    #[error(
        "an API key is needed: send \"Authorization: Bearer <key>\"; {0} is set, so requests without a key are refused"
    )]
    Missing(&'static str),
    #[error("the API key is not valid; this gateway knows it by another value, or not at all")]
    Wrong,
}

/// Decides who is let in.
#[derive(Debug)]
pub struct AuthGate {
    mode: ApiAuth,
    /// SHA-256 of the environment key: values of equal length compare in constant time.
    environment_key: Option<[u8; 32]>,
    operator: Caller,
    anonymous: Caller,
    local: Caller,
}

impl AuthGate {
    pub fn new(auth: &Auth) -> AuthGate {
        let caller = |id: Option<&str>, name: &str, scopes| Caller {
            key: id.map(Arc::from),
            user: None,
            scopes,
            profiles: None,
            fairness: Arc::from(name),
            priority: 0,
        };
        AuthGate {
            mode: auth.api,
            environment_key: auth.environment_key.as_ref().map(|key| digest(&key.0)),
            operator: caller(Some("env"), "env", Scopes::ALL),
            anonymous: caller(None, "anonymous", Scopes::USE),
            local: caller(None, "local", Scopes::ALL),
        }
    }

    /// The caller who shows `key` (or none) on `road`.
    pub fn admit(&self, key: Option<&str>, road: Road) -> Result<Caller, AuthError> {
        if road == Road::LocalSocket {
            return Ok(self.local.clone());
        }
        let matched = key.zip(self.environment_key.as_ref()).map(|(shown, known)| digest(shown).ct_eq(known));
        if matched.is_some_and(bool::from) {
            return Ok(self.operator.clone());
        }
        match (self.mode, self.environment_key, road) {
            (ApiAuth::Open, _, Road::Loopback) if self.environment_key.is_none() => Ok(self.local.clone()),
            (ApiAuth::Open, ..) => Ok(self.anonymous.clone()),
            (ApiAuth::Auto, None, Road::Loopback) => Ok(self.local.clone()),
            _ if key.is_some() => Err(AuthError::Wrong),
            (ApiAuth::Auto, Some(_), _) => Err(AuthError::Missing("MLX_GATEWAY_API_KEY")),
            _ => Err(AuthError::Missing("auth.api = \"required\"")),
        }
    }
}

fn digest(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Scope;
    use crate::config::{Registration, Secret};

    fn gate(api: ApiAuth, key: Option<&str>) -> AuthGate {
        let environment_key = key.map(|key| Secret(key.into()));
        AuthGate::new(&Auth { api, registration: Registration::Approval, session_days: 7, environment_key })
    }

    /// `None`: refused; otherwise whether the caller may administer.
    fn admits(gate: &AuthGate, key: Option<&str>, road: Road) -> Option<bool> {
        gate.admit(key, road).ok().map(|caller| caller.has(Scope::Admin))
    }

    #[test]
    fn the_local_socket_is_the_operator_whatever_the_rules() {
        for api in [ApiAuth::Auto, ApiAuth::Open, ApiAuth::Required] {
            assert_eq!(admits(&gate(api, Some("k")), None, Road::LocalSocket), Some(true));
        }
    }

    #[test]
    fn auto_is_open_on_loopback_only_and_only_until_a_key_exists() {
        let open = gate(ApiAuth::Auto, None);
        assert_eq!(admits(&open, None, Road::Loopback), Some(true));
        assert_eq!(admits(&open, Some("sk-anything"), Road::Loopback), Some(true));
        assert_eq!(admits(&open, None, Road::Network), None);
        let keyed = gate(ApiAuth::Auto, Some("secret"));
        assert_eq!(admits(&keyed, None, Road::Loopback), None);
        assert_eq!(admits(&keyed, Some("wrong"), Road::Loopback), None);
        assert_eq!(admits(&keyed, Some("secret"), Road::Network), Some(true));
    }

    #[test]
    fn open_never_makes_a_stranger_the_operator() {
        assert_eq!(admits(&gate(ApiAuth::Open, None), None, Road::Network), Some(false));
        assert_eq!(admits(&gate(ApiAuth::Open, Some("k")), None, Road::Loopback), Some(false));
        assert_eq!(admits(&gate(ApiAuth::Open, Some("k")), Some("k"), Road::Network), Some(true));
    }

    #[test]
    fn required_needs_a_key_and_says_why() {
        let gate = gate(ApiAuth::Required, Some("k"));
        assert_eq!(gate.admit(Some("x"), Road::Loopback), Err(AuthError::Wrong));
        let missing = gate.admit(None, Road::Loopback).unwrap_err().to_string();
        assert!(missing.contains("required"), "{missing}");
    }
}
