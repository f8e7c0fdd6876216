//! `/v1`, as OpenAI's clients know it.

pub mod inference;
pub mod models;
mod tools;
