//! Who is asking and what they may do: accounts, sessions, API keys with limits and budgets, and the
//! rules of `[auth] api`. Knows no HTTP framework.

mod accounts;
mod buckets;
mod changes;
mod entry;
mod error;
mod gate;
mod identity;
mod index;
mod keys;
mod limits;
mod meter;
mod password;
mod revocations;
mod right;
mod secret;
mod service;
mod status;
mod throttle;
mod token;
mod transport;

pub use accounts::{Change, Role, Status};
pub use buckets::{Buckets, Limit, Name};
pub use entry::{DEVICE_S, Origin, Proof, Registered};
pub use error::{AuthError, AuthFault};
pub use gate::{AuthGate, Credentials, ENVIRONMENT};
pub use identity::{Caller, Scope, Scopes, Via};
pub use index::{Account, Index, Key, Session};
pub use limits::{Estimate, Limits, Rate, Standing};
pub use meter::{LimitError, Permit};
pub use password::Passwords;
pub use revocations::{Revocations, Unwritten};
pub use right::Right;
pub use secret::new_id;
pub use service::{Accounts, Opened};
pub use status::{AuthStatus, Cause};
pub use throttle::networks;
pub use token::Tokens;
pub use transport::{Transport, Trust};

#[cfg(test)]
pub use limits::Counts;
#[cfg(test)]
pub use meter::KeyMeter;
#[cfg(test)]
mod tests;
