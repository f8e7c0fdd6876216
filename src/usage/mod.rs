//! What was used: one record per request, kept exactly once. Knows no HTTP.

mod record;

pub use record::{AttemptRecord, RequestRecord, Status, Tokens};
