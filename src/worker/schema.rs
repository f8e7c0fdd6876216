//! JSON schemas as the gateway holds them: text and digest. Only the worker compiles them.

use std::sync::Arc;

use sha2::{Digest, Sha256};

/// A schema that has not been compiled here. Cheap to clone.
#[derive(Debug, Clone)]
pub struct JsonSchema {
    pub(super) text: Arc<str>,
    pub(super) digest: [u8; 32],
}

impl JsonSchema {
    /// Takes a schema's JSON text, whatever it says.
    pub fn new(text: &str) -> JsonSchema {
        JsonSchema { text: text.into(), digest: Sha256::digest(text.as_bytes()).into() }
    }
}

/// Why a schema cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CompileError {
    /// It is wrong, or exceeds a bound; the message has the bound's number.
    Refused(String),
    /// Too many questions wait.
    Busy,
    /// There is no worker to compile it.
    Unavailable(String),
}

/// Whether a value fits a schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Fits,
    /// What is wrong with it, each with its place.
    Faults(Vec<String>),
    NotJson(String),
    /// It could not be checked, and why.
    Unchecked(String),
}
