//! What a request waits for, told by the backend's actor and read by whoever writes comments to the
//! waiting client. Holds the newest word, and what its answer's headers are to say of the waits.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
pub struct Progress(Arc<Mutex<Told>>);

/// A place in a queue: 1 is next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueuePlace {
    pub position: usize,
    /// How long it takes to get there, where that can be told.
    pub wait: Option<Duration>,
}

/// How long a request waited for what it was given, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Waits {
    pub queue_ms: f64,
    pub start_ms: f64,
}

#[derive(Debug, Default)]
struct Told {
    newest: Option<Waiting>,
    first_place: Option<QueuePlace>,
    first_waits: Option<Waits>,
    has_begun: bool,
}

impl Progress {
    /// Nothing is told yet.
    pub fn new() -> Progress {
        Progress::default()
    }

    /// Tells what the request waits for now; the first place in a queue is kept.
    pub fn set(&self, waiting: Waiting) {
        let mut told = self.lock();
        if let Waiting::Queued { position, wait } = waiting {
            told.first_place.get_or_insert(QueuePlace { position, wait });
        }
        told.newest = Some(waiting);
    }

    /// The wait is over; of several rounds, the first one's counts.
    pub fn served(&self, waits: Waits) {
        let mut told = self.lock();
        told.newest = None;
        told.first_waits.get_or_insert(waits);
    }

    /// The head of the answer goes out while the request still waits.
    pub fn begin(&self) {
        self.lock().has_begun = true;
    }

    /// Whether it has; then the request can no longer be refused by a status.
    pub fn has_begun(&self) -> bool {
        self.lock().has_begun
    }

    /// How long the first wait was; `None` as long as it lasts.
    pub fn first_waits(&self) -> Option<Waits> {
        self.lock().first_waits
    }

    /// `None` until something was waited for.
    pub fn get(&self) -> Option<Waiting> {
        self.lock().newest.clone()
    }

    /// The place that it was given when it began to wait for a turn; `None`: it never did.
    pub fn first_place(&self) -> Option<QueuePlace> {
        self.lock().first_place
    }

    /// The place that it has now; `None`: it waits for something else, or not at all.
    pub fn place(&self) -> Option<QueuePlace> {
        match self.lock().newest {
            Some(Waiting::Queued { position, wait }) => Some(QueuePlace { position, wait }),
            _ => None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_place_stays_and_the_present_one_moves() {
        let progress = Progress::new();
        assert_eq!((progress.first_place(), progress.place()), (None, None));
        let wait = Some(Duration::from_secs(9));
        progress.set(Waiting::Queued { position: 3, wait });
        progress.set(Waiting::Queued { position: 1, wait: None });
        let first = QueuePlace { position: 3, wait };
        assert_eq!(progress.first_place(), Some(first));
        assert_eq!(progress.place(), Some(QueuePlace { position: 1, wait: None }));
        progress.set(Waiting::Loading { since: Instant::now() });
        assert_eq!((progress.first_place(), progress.place()), (Some(first), None));
        assert_eq!(progress.first_waits(), None);
        let waits = Waits { queue_ms: 5.0, start_ms: 7.0 };
        progress.served(waits);
        progress.served(Waits { queue_ms: 0.0, start_ms: 0.0 });
        assert_eq!((progress.get(), progress.first_waits()), (None, Some(waits)));
        assert_eq!(progress.first_place(), Some(first));
    }
}
