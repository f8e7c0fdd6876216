//! Who is asking: keys, the environment key and the rules of `[auth] api`. Knows no HTTP framework.

mod identity;

pub use identity::{Caller, Scope};
