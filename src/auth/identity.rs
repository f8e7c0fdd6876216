//! The caller of a request, as everything below the HTTP layer sees it.

use std::sync::Arc;

use super::meter::{KeyMeter, LimitError, Permit};
use super::right::Right;

/// Who a request comes from and what it may do. Anonymous callers are callers too.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The API key's id; `env` for the environment key.
    pub key: Option<Arc<str>>,
    /// The account's id.
    pub user: Option<Arc<str>>,
    pub scopes: Scopes,
    /// Profiles it may name; `None`: all.
    pub profiles: Option<Arc<[String]>>,
    /// Tools it may use; `None`: all.
    pub tools: Option<Arc<[String]>>,
    /// Requests of one id share one place in fair queues.
    pub fairness: Arc<str>,
    /// In queues higher ones go first; 0 is ordinary.
    pub priority: i32,
    /// How it was identified.
    pub via: Via,
    /// What people call it: an address, a key's name.
    pub name: Arc<str>,
    /// Counts what a key uses.
    pub(super) meter: Option<Arc<KeyMeter>>,
    /// Ends when the caller may not go on with what it began.
    pub(super) right: Right,
    /// The session's id.
    pub session: Option<Arc<str>>,
}

/// How a caller was identified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// The socket in the data directory.
    LocalSocket,
    /// Nobody was asked for anything.
    Open,
    /// The environment key.
    Environment,
    Key,
    /// A page's or client's session.
    Session,
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

impl Via {
    /// As records and the audit log write it.
    pub fn name(self) -> &'static str {
        match self {
            Via::LocalSocket => "local_socket",
            Via::Open => "open",
            Via::Environment => "environment",
            Via::Key => "key",
            Via::Session => "session",
        }
    }
}

impl Scope {
    /// Every scope, in the order in which they are shown.
    pub const ALL: [Scope; 5] = [Scope::Inference, Scope::Mcp, Scope::Tools, Scope::AdminRead, Scope::Admin];

    /// As keys are asked for: `inference`, `mcp`, `tools`, `admin-read`, `admin`.
    pub fn name(self) -> &'static str {
        match self {
            Scope::Inference => "inference",
            Scope::Mcp => "mcp",
            Scope::Tools => "tools",
            Scope::AdminRead => "admin-read",
            Scope::Admin => "admin",
        }
    }

    /// The scope of that name; `None` for any other.
    pub fn from_name(name: &str) -> Option<Scope> {
        Scope::ALL.into_iter().find(|scope| scope.name() == name)
    }
}

impl Scopes {
    /// Everything that is not administration.
    pub const USE: Scopes = Scopes(Scope::Inference as u8 | Scope::Mcp as u8 | Scope::Tools as u8);
    /// What an operator may.
    pub const ALL: Scopes = Scopes(Self::USE.0 | Scope::AdminRead as u8 | Scope::Admin as u8);

    /// The set of these scopes.
    pub fn of(scopes: &[Scope]) -> Scopes {
        Scopes(scopes.iter().fold(0, |all, scope| all | *scope as u8))
    }

    /// Whether the set holds that scope.
    pub fn has(self, scope: Scope) -> bool {
        self.0 & scope as u8 != 0
    }

    /// What is in both.
    pub fn and(self, other: Scopes) -> Scopes {
        Scopes(self.0 & other.0)
    }

    /// The names of those it holds, in the order of [`Scope::ALL`].
    pub fn names(self) -> Vec<&'static str> {
        Scope::ALL.into_iter().filter(|scope| self.has(*scope)).map(Scope::name).collect()
    }
}

impl Caller {
    /// A caller without key or account.
    pub(super) fn nobody(name: &str, scopes: Scopes, via: Via, right: Right) -> Caller {
        Caller {
            key: None,
            user: None,
            scopes,
            profiles: None,
            tools: None,
            fairness: Arc::from(name),
            priority: 0,
            via,
            name: Arc::from(name),
            meter: None,
            right,
            session: None,
        }
    }

    /// Whether this caller holds that scope.
    pub fn has(&self, scope: Scope) -> bool {
        self.scopes.has(scope)
    }

    /// Whether this caller may see what belongs to everybody.
    pub fn sees_all(&self) -> bool {
        self.has(Scope::AdminRead) || self.has(Scope::Admin)
    }

    /// Who it is, as a plugin is told.
    pub fn principal(&self) -> Option<&str> {
        self.user.as_deref().or(self.key.as_deref())
    }

    /// Whether this caller may use the profile of that name.
    pub fn may_use(&self, profile: &str) -> bool {
        self.profiles.as_ref().is_none_or(|names| names.iter().any(|n| n == profile))
    }

    /// Whether this caller may use the tool of that name.
    pub fn may_use_tool(&self, tool: &str) -> bool {
        self.has(Scope::Tools) && self.tool_is_allowed(tool)
    }

    /// Whether the list of tools that the caller's key or account is restricted to, if any, has that name.
    pub fn tool_is_allowed(&self, tool: &str) -> bool {
        self.tools.as_ref().is_none_or(|names| names.iter().any(|name| name == tool))
    }

    /// A caller of the tests, with a right of its own.
    #[cfg(test)]
    pub fn for_test() -> Caller {
        Caller::nobody("test", Scopes::ALL, Via::Key, Right::default())
    }

    #[cfg(test)]
    pub fn lose_right(&self) {
        self.right.end();
    }

    /// What its requests and streams go on by.
    pub fn right(&self) -> &Right {
        &self.right
    }

    /// Whether the caller has lost its right since it was identified.
    pub fn has_ended(&self) -> bool {
        self.right.has_ended()
    }

    /// Resolves when the caller loses its right.
    pub fn ended(&self) -> impl Future<Output = ()> + Send + use<> {
        self.right.ended()
    }

    /// Tokens that the key's budgets leave to a request that begins now; `None`: there is no budget.
    pub fn budget_left(&self) -> Option<u64> {
        self.meter.as_ref().and_then(|meter| meter.left())
    }

    /// Admits a request that will use tokens, before anything is known or done of it.
    pub fn admit(&self) -> Result<Permit, LimitError> {
        self.begin(true)
    }

    /// Admits a request that uses none, such as a tool call: only rate and number of requests are limited.
    pub fn admit_work(&self) -> Result<Permit, LimitError> {
        self.begin(false)
    }

    fn begin(&self, has_tokens: bool) -> Result<Permit, LimitError> {
        match &self.meter {
            Some(meter) => meter.begin(has_tokens),
            None => Ok(Permit::unlimited()),
        }
    }
}
