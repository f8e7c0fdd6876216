//! Integration tests: the built gateway as a process, against the scripted backend. Files mirror URLs
//! and behaviours.

#[path = "../fake/spawn.rs"]
mod fake;
#[path = "../hub/spawn.rs"]
mod hub;
mod support;

mod auth;
mod bad_input;
mod chat;
mod cli;
mod downloads;
mod events;
mod lifecycle;
mod mcp;
mod memory;
mod models;
mod plugins;
mod profiles;
mod reload;
mod shutdown;
mod tools;
mod usage;
mod watchdog;
