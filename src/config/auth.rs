//! `[auth]`: who needs a key or an account.

#[derive(Debug, Clone)]
pub struct Auth {
    pub api: ApiAuth,
    pub registration: Registration,
    pub session_days: u32,
    /// `MLX_GATEWAY_API_KEY` (or `MLX_MANAGER_API_KEY`): the operator's key. Never printed.
    pub environment_key: Option<Secret>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiAuth {
    /// Open only on loopback, and only until a key or account exists.
    Auto,
    Open,
    Required,
}

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
