//! The caller of a request, as everything below the HTTP layer sees it.

use std::sync::Arc;

/// Who a request comes from and what it may do. Anonymous callers are callers too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The API key's id; `env` for the environment key.
    pub key: Option<Arc<str>>,
    pub user: Option<Arc<str>>,
    pub scopes: Vec<Scope>,
    /// Profiles it may name; `None`: all.
    pub profiles: Option<Arc<[String]>>,
    /// Requests of one id share one place in fair queues.
    pub fairness: Arc<str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    Inference,
    Mcp,
    Tools,
    AdminRead,
    Admin,
}

impl Caller {
    pub fn has(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }

    /// Whether this caller may use the profile of that name.
    pub fn may_use(&self, profile: &str) -> bool {
        self.profiles.as_ref().is_none_or(|names| names.iter().any(|n| n == profile))
    }
}
