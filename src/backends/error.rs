//! Why no lease was given. Knows no HTTP; the edge chooses status and code.

use super::admission::Shortage;
use std::time::Duration;

/// Why a request got no backend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AcquireError {
    /// The backend could not be prepared or started, or ended before it answered.
    #[error("the backend of `{profile}` failed: {reason}")]
    Failed { profile: String, reason: String, log_tail: Vec<String> },
    #[error("the backend of `{profile}` was not ready after {} s; `timeouts.start` allows more", .after.as_secs_f64())]
    StartTimeout { profile: String, after: Duration, log_tail: Vec<String> },
    #[error(
        "{size} requests already wait for `{profile}`{}; try again later or raise `queue.size`",
        if *.displaced { ", and a caller with fewer took this one's place" } else { "" }
    )]
    QueueFull {
        profile: String,
        size: u32,
        /// It waited, and made way for another caller.
        displaced: bool,
        /// How long a request would have waited, where that can be told.
        wait: Option<Duration>,
    },
    #[error(
        "no turn came for `{profile}` within {} s; try again later or raise `queue.timeout`",
        .after.as_secs_f64()
    )]
    QueueTimeout { profile: String, after: Duration },
    /// It can never be given the memory that it needs.
    #[error("`{profile}` does not fit into memory: {shortage}")]
    Memory { profile: String, shortage: Shortage },
    /// Somebody stopped it while the request waited.
    #[error("the backend of `{profile}` is not available: {reason}")]
    Unavailable { profile: String, reason: String },
    #[error("the gateway is shutting down")]
    ShuttingDown,
}
