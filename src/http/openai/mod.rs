//! `/v1`, as OpenAI's clients know it.

mod driven;
pub mod inference;
pub mod models;
mod several;
mod tools;
