//! What the parts of one client connection share: whether a request runs on it, and what ends the answer under way
//! while the connection cannot be written to. Knows neither sockets nor routes.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::AbortHandle;

use crate::auth::Right;
use crate::proxy::BodyTimeout;
use crate::usage::Live;

/// Values of `Connection::activity` beside the time since when it has been idle.
const BUSY: u64 = 0;
const EVICTED: u64 = u64::MAX;
/// Microseconds after the end of an answer's body, by when it is known whether its bytes wait for the client.
const SETTLED_AFTER: u64 = 100_000;

/// One connection of a client.
#[derive(Debug)]
pub struct Connection {
    /// [`BUSY`], [`EVICTED`], or since when no request runs (see [`now`]).
    activity: AtomicU64,
    /// Bytes of an answer wait for the client.
    writing: AtomicBool,
    /// Known once a thread serves it.
    task: OnceLock<AbortHandle>,
    /// Counts changes of `watched`.
    version: AtomicU64,
    watched: Mutex<Watched>,
}

/// What the answer under way depends on, and what became of its request's body.
#[derive(Default)]
struct Watched {
    right: Option<Right>,
    live: Option<Arc<Live>>,
    body_timeout: Option<BodyTimeout>,
}

/// What ends the answer under way.
pub struct Ends {
    /// Of [`Connection::version`].
    pub version: u64,
    pub right: Option<Right>,
    pub live: Option<Arc<Live>>,
}

/// A request that runs on a connection, until it is dropped with its answer's body.
#[derive(Debug)]
pub struct Busy(Arc<Connection>);

impl Connection {
    /// Returns a connection that has sent no request yet.
    pub fn new() -> Arc<Connection> {
        Arc::new(Connection {
            activity: AtomicU64::new(now()),
            writing: AtomicBool::new(false),
            task: OnceLock::new(),
            version: AtomicU64::new(0),
            watched: Mutex::default(),
        })
    }

    /// Begins a request; none: the connection was evicted.
    pub fn begin(self: &Arc<Self>) -> Option<Busy> {
        let begin = |activity| (activity != EVICTED).then_some(BUSY);
        self.activity.fetch_update(Ordering::AcqRel, Ordering::Acquire, begin).ok()?;
        self.change(|watched| *watched = Watched::default());
        Some(Busy(Arc::clone(self)))
    }

    /// Ends the answer under way when the caller loses this right.
    pub fn watch_right(&self, right: &Right) {
        self.change(|watched| watched.right = Some(right.clone()));
    }

    /// Returns what ends the answer under way.
    pub fn ends(&self) -> Ends {
        let watched = self.watched();
        Ends { version: self.version(), right: watched.right.clone(), live: watched.live.clone() }
    }

    /// Returns a number that changes with what [`Connection::ends`] returns.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Notes that the request's body came too slowly.
    pub fn set_body_timeout(&self, timeout: BodyTimeout) {
        self.watched().body_timeout = Some(timeout);
    }

    /// Notes whether bytes of an answer wait for the client.
    pub fn set_writing(&self, writing: bool) {
        self.writing.store(writing, Ordering::Release);
    }

    /// Returns whether bytes of an answer wait for the client.
    pub fn is_writing(&self) -> bool {
        self.writing.load(Ordering::Acquire)
    }

    /// Returns whether a request has come in.
    pub fn has_served(&self) -> bool {
        self.version() > 0
    }

    /// Returns since when no request runs; none: one does, or the client may have an answer to read.
    pub fn idle_since(&self) -> Option<u64> {
        let activity = self.activity.load(Ordering::Acquire);
        let is_settled = || !self.has_served() || activity + SETTLED_AFTER <= now();
        (activity != BUSY && activity != EVICTED && !self.is_writing() && is_settled()).then_some(activity)
    }

    /// Ends the connection if it has been idle since then.
    pub fn evict(&self, since: u64) -> bool {
        let evicted =
            self.activity.compare_exchange(since, EVICTED, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if let Some(task) = self.task.get().filter(|_| evicted) {
            task.abort();
        }
        evicted
    }

    /// Notes the task that serves it.
    pub fn set_task(&self, task: AbortHandle) {
        let task = self.task.get_or_init(|| task);
        if self.activity.load(Ordering::Acquire) == EVICTED {
            task.abort();
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut Watched) -> T) -> T {
        let mut watched = self.watched();
        let changed = change(&mut watched);
        self.version.fetch_add(1, Ordering::Release);
        changed
    }

    fn watched(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Busy {
    /// Ends the answer when its request is cancelled, or its time is over. Returns whether the request's body came too
    /// slowly.
    pub fn answer(&self, live: Option<Arc<Live>>) -> Option<BodyTimeout> {
        self.0.change(|watched| {
            watched.live = live;
            watched.body_timeout
        })
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.activity.store(now(), Ordering::Release);
    }
}

impl std::fmt::Debug for Watched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watched").field("right", &self.right).finish_non_exhaustive()
    }
}

/// Microseconds since a second before the first call.
fn now() -> u64 {
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    let since = BEGAN.get_or_init(Instant::now).elapsed() + Duration::from_secs(1);
    u64::try_from(since.as_micros()).unwrap_or(EVICTED - SETTLED_AFTER - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_is_evicted_only_while_no_request_runs_on_it() {
        let connection = Connection::new();
        let fresh = connection.idle_since().unwrap();
        let busy = connection.begin().unwrap();
        assert_eq!(connection.idle_since(), None);
        assert!(!connection.evict(fresh), "a request came in between");
        drop(busy);
        connection.set_writing(true);
        assert_eq!(connection.idle_since(), None, "its answer is still being read");
        connection.set_writing(false);
        assert_eq!(connection.idle_since(), None, "its answer has only just ended");
        let since = connection.activity.load(Ordering::Acquire) - SETTLED_AFTER;
        connection.activity.store(since, Ordering::Release);
        assert!(connection.evict(connection.idle_since().unwrap()));
        assert!(connection.begin().is_none() && connection.idle_since().is_none());
    }
}
