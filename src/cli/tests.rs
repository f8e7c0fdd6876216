//! The commands against a gateway that answers from a table: what they ask, what they print, and
//! with which code they end.

mod admin;
mod chat;
mod hostile;
mod life;
mod roads;

pub mod gateway;
pub mod screen;
