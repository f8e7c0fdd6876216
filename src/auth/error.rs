//! Why something about accounts, keys and sessions is refused, in words for whoever asked.

use std::time::Duration;

use crate::store::StoreError;

/// Why a caller is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    #[error(
        "an API key is needed: send \"Authorization: Bearer <key>\"; {0}, so requests without a key are refused"
    )]
    Missing(&'static str),
    #[error("the API key is not valid; this gateway knows it by another value, or not at all")]
    Wrong,
    #[error("the API key was revoked; make another with `mlx-gateway keys create`")]
    Revoked,
    #[error("the API key has expired; make another with `mlx-gateway keys create`")]
    Expired,
    #[error("the account that this key or session belongs to is not active; an administrator can enable it")]
    Inactive,
    #[error("the session has ended or is not valid; log in again")]
    NoSession,
    #[error(
        "a session's cookie counts only for requests that a page of this gateway sends: the Origin header is missing or foreign"
    )]
    CrossSite,
}

/// Why something cannot be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthFault {
    #[error("{0}")]
    Invalid(String, &'static str),
    #[error("e-mail address or password is wrong")]
    WrongPassword,
    #[error("the API key is not valid")]
    WrongKey,
    #[error("the account waits for an administrator's approval")]
    Pending,
    #[error("the account is disabled; an administrator can enable it")]
    Disabled,
    #[error(
        "the first account is the administrator's, so making it needs proof, since {0}: open the set-up link that the gateway printed when it started (`mlx-gateway doctor` prints it again), or send an administrator's credential"
    )]
    FirstAccount(&'static str),
    #[error("{0}")]
    StaleLink(&'static str),
    #[error("{0}")]
    NotAllowed(&'static str),
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    Conflict(String),
    #[error("too many attempts; try again in {} s", .0.as_secs().max(1))]
    Throttled(Duration),
    #[error("too many passwords are being checked; try again shortly")]
    Busy,
    #[error("the system gave no random numbers: {0}")]
    Random(String),
    #[error(
        "this holds until the next start of the gateway only: {0}; the gateway goes on trying; make room on the disk, \
         and look at `mlx-gateway status`, which names it until it is written"
    )]
    UntilRestart(String),
    #[error("{0}")]
    Internal(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}
