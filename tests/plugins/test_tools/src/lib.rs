//! Tools for tests: those that misbehave in one way each, and those that the MCP project's conformance
//! suite calls by name. Never shipped.

#[cfg(target_family = "wasm")]
mod component;
