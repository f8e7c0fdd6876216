//! Runs components, one fresh instance per call, within limits and with nothing but what was granted.
//! Knows what a component is, not which there are.

mod bindings;
mod body;
mod cache;
mod call;
mod connector;
mod engine;
mod guest;
mod limiter;
mod meter;
mod output;
mod stdio;
mod ticker;

pub use call::{Call, Component, digest};
pub use connector::{Access, SecretHeader};
pub use engine::Sandbox;
pub use guest::{Level, Listener, Origin};
pub use output::ListedTool;
