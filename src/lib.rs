//! One OpenAI-compatible endpoint for local MLX models.
//!
//! The modules below stand in layer order: each may use those further down, never those above.
//! `tests/architecture.rs` holds the edges; ARCHITECTURE.md tells the story.

pub mod app;
pub mod shutdown;

pub mod cli;
pub mod http;

pub mod chats;
pub mod proxy;
pub mod responses;
pub mod tools;

pub mod auth;
pub mod backends;
pub mod backup;
pub mod captures;
pub mod dialect;
pub mod hub;
pub mod profiles;
pub mod usage;

pub mod bodies;
pub mod config;
pub mod events;
pub mod fair;
pub mod logging;
pub mod metrics;
pub mod models;
pub mod outward;
pub mod store;
pub mod system;
pub mod worker;
