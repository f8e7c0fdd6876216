//! `[auth]`: who needs a key or an account.

use std::collections::BTreeMap;

use super::environment;
use super::reader::Reader;

const DEFAULT_SESSION_DAYS: u32 = 7;
const LONGEST_SESSION_DAYS: u32 = 365;
const DEFAULT_AUDIT_DAYS: u32 = 365;
const LONGEST_AUDIT_DAYS: u32 = 36_500;

/// `[auth]`
#[derive(Debug, Clone)]
pub struct Auth {
    pub api: ApiAuth,
    pub registration: Registration,
    pub session_days: u32,
    /// How long the audit log goes back.
    pub audit_days: u32,
    /// `MLX_GATEWAY_API_KEY` (or `MLX_MANAGER_API_KEY`): the operator's key. Never printed.
    pub environment_key: Option<Secret>,
}

/// `api`: whether `/v1` and `/mcp` ask for a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiAuth {
    /// Open only on loopback, and only until a key or account exists.
    Auto,
    Open,
    Required,
}

impl ApiAuth {
    /// Returns the value as it is written in the file.
    pub fn name(self) -> &'static str {
        match self {
            ApiAuth::Auto => "auto",
            ApiAuth::Open => "open",
            ApiAuth::Required => "required",
        }
    }
}

/// `registration`: whether others may ask for an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registration {
    Approval,
    Closed,
}

/// A value that never shows itself in logs or debug output.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

impl Auth {
    pub(super) fn read(reader: &Reader<'_>, variables: &BTreeMap<String, String>) -> Self {
        let api = [("auto", ApiAuth::Auto), ("open", ApiAuth::Open), ("required", ApiAuth::Required)];
        let registration = [("approval", Registration::Approval), ("closed", Registration::Closed)];
        let environment_key = environment::api_key(variables).map(|(key, origin)| {
            reader.note_origin("environment_key", &origin);
            key
        });
        Auth {
            api: reader.choice("api", &api).unwrap_or(ApiAuth::Auto),
            registration: reader.choice("registration", &registration).unwrap_or(Registration::Approval),
            session_days: reader
                .integer("session_days", 1..=LONGEST_SESSION_DAYS)
                .unwrap_or(DEFAULT_SESSION_DAYS),
            audit_days: reader.integer("audit_days", 1..=LONGEST_AUDIT_DAYS).unwrap_or(DEFAULT_AUDIT_DAYS),
            environment_key,
        }
    }

    /// Whether a stranger needs a key however the store looks.
    pub(super) fn asks_everybody(&self) -> bool {
        match self.api {
            ApiAuth::Required => true,
            ApiAuth::Auto => self.environment_key.is_some(),
            ApiAuth::Open => false,
        }
    }
}
