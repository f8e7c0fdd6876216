//! The caller of a request, as everything below the HTTP layer sees it.

use std::sync::Arc;

/// Who a request comes from and what it may do. Anonymous callers are callers too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The API key's id; `env` for the environment key.
    pub key: Option<Arc<str>>,
    pub user: Option<Arc<str>>,
    pub scopes: Scopes,
    /// Profiles it may name; `None`: all.
    pub profiles: Option<Arc<[String]>>,
    /// Requests of one id share one place in fair queues.
    pub fairness: Arc<str>,
    /// In queues higher ones go first; 0 is ordinary.
    pub priority: i32,
}

/// What a key may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    Inference = 1,
    Mcp = 2,
    Tools = 4,
    AdminRead = 8,
    Admin = 16,
}

/// A set of scopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Scopes(u8);

impl Scopes {
    /// Everything that is not administration.
    pub const USE: Scopes = Scopes(Scope::Inference as u8 | Scope::Mcp as u8 | Scope::Tools as u8);
    /// What an operator may.
    pub const ALL: Scopes = Scopes(Self::USE.0 | Scope::AdminRead as u8 | Scope::Admin as u8);

    pub fn of(scopes: &[Scope]) -> Scopes {
        Scopes(scopes.iter().fold(0, |all, scope| all | *scope as u8))
    }

    pub fn has(self, scope: Scope) -> bool {
        self.0 & scope as u8 != 0
    }
}

impl Caller {
    pub fn has(&self, scope: Scope) -> bool {
        self.scopes.has(scope)
    }

    /// Whether this caller may call the tool of that name.
    pub fn may_use_tool(&self, _tool: &str) -> bool {
        self.has(Scope::Tools) || self.has(Scope::Admin)
    }

    /// Who it is, as a plugin is told.
    pub fn principal(&self) -> Option<&str> {
        self.user.as_deref().or(self.key.as_deref())
    }

    /// Whether this caller may use the profile of that name.
    pub fn may_use(&self, profile: &str) -> bool {
        self.profiles.as_ref().is_none_or(|names| names.iter().any(|n| n == profile))
    }
}
