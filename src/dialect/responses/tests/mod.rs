//! What clients send, and what they read.

mod request;
mod stream;
