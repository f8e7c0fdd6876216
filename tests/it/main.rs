//! Integration tests: the built gateway as a process, against the scripted backend. Files mirror URLs
//! and behaviours.

#[path = "../fake/spawn.rs"]
mod fake;
mod support;

mod auth;
mod bad_input;
mod chat;
mod cli;
mod lifecycle;
mod mcp;
mod plugins;
mod shutdown;
mod tools;
mod usage;
