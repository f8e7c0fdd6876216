//! The way out to servers that others name: a name is resolved once, every address that it leads to is
//! checked, and the checked one is connected to. Knows nothing of who asks, or for what.

mod address;
mod connect;
mod destination;
mod fetch;

pub use address::{Network, may_reach};
pub use connect::{ConnectError, Resolve, Stream, connect, system_resolver};
pub use destination::Destination;
pub use fetch::{FetchError, Fetched, Fetcher};
