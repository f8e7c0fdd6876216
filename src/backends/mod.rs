//! Supervision of model servers.

pub mod engine;
