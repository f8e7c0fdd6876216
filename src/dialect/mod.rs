//! Pure transforms between what clients speak and what engines speak. No I/O, no clock, no state
//! beyond one request.

pub mod aggregate;
pub mod anthropic;
pub mod assembled;
pub mod chat_stream;
pub mod chunk;
pub mod edit;
pub mod embeddings;
pub mod facts;
pub mod failure;
pub mod form;
pub mod notes;
pub mod operation;
pub mod parts;
pub mod prompt;
pub mod quirks;
pub mod repair;
pub mod request;
pub mod responses;
pub mod rope;
pub mod scan;
pub mod sse;
pub mod structured;
pub mod text;
pub mod tool_calls;
pub mod transcript;

#[cfg(test)]
mod golden;
