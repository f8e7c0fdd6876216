//! What a request waits for, told by the backend's actor and read by whoever writes comments to the
//! waiting client. Holds the newest word only.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What stands between a request and its lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waiting {
    /// The backend is ready and busy; 1 is next.
    Queued {
        position: usize,
        /// How long that will take, where it can be told.
        wait: Option<Duration>,
    },
    /// Something is installed, made or fetched before the backend can start.
    Preparing { what: String },
    /// The backend's process runs and does not answer yet.
    Loading { since: Instant },
}

/// A cheap handle on the newest [`Waiting`] of one request.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<Mutex<Option<Waiting>>>);

impl Progress {
    pub fn new() -> Progress {
        Progress::default()
    }

    pub fn set(&self, waiting: Waiting) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(waiting);
    }

    /// `None` until something was waited for.
    pub fn get(&self) -> Option<Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
