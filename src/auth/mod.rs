//! Who is asking: keys, the environment key and the rules of `[auth] api`. Knows no HTTP framework.

mod gate;
mod identity;

pub use gate::{AuthError, AuthGate, Road};
pub use identity::{Caller, Scope, Scopes};
