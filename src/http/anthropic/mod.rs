//! `/v1/messages`, as Anthropic's clients know it: each message is a chat, whose answer is told in their
//! words.

mod messages;

pub use messages::{Asked, answer};
