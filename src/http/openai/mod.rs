//! `/v1`, as OpenAI's clients know it.

mod choices;
mod driver;
pub mod inference;
pub mod models;
mod tools;
