//! Connections that are kept between requests, by where they lead. The newest is taken first, and
//! none that has been idle for so long that its server may be closing it.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::uri::Authority;
use hyper::client::conn::http1::SendRequest;
use tokio::time::Instant;

use super::Outgoing;

/// uvicorn closes idle connections after 5 s.
const IDLE_LIMIT: Duration = Duration::from_secs(4);
/// Idle connections that are kept to one server.
const KEPT_PER_SERVER: usize = 512;
/// Servers whose connections are kept.
const SERVERS: usize = 1_024;

/// The connections of this thread: each serving thread has its own, for a connection's readiness is
/// told to the thread that opened it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pool;

thread_local! {
    static SERVERS_OF_THREAD: RefCell<HashMap<Key, VecDeque<Idle>>> = RefCell::default();
    /// A task of this thread will close what nobody takes.
    static SWEPT: Cell<bool> = const { Cell::new(false) };
}

/// Where a connection leads.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    pub authority: Authority,
    pub https: bool,
}

/// A connection with the work that moves its bytes, which whoever waits for them does: an answer
/// needs no task of its own, and its chunks no way from one task to another.
pub struct Connection {
    pub sender: SendRequest<Outgoing>,
    pub driver: Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>,
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: Instant,
}

impl Connection {
    /// Moves bytes; true when the connection is over.
    pub fn drive(&mut self, cx: &mut Context<'_>) -> bool {
        match self.driver.as_mut().poll(cx) {
            Poll::Pending => false,
            Poll::Ready(outcome) => {
                if let Err(error) = outcome {
                    tracing::debug!(%error, "A connection to a backend ended");
                }
                self.driver = Box::pin(std::future::pending());
                true
            }
        }
    }

    /// Whether it can take a request now. Notices what its server did while it was idle.
    fn is_usable(&mut self) -> bool {
        !self.drive(&mut Context::from_waker(Waker::noop())) && self.sender.is_ready()
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("sender", &self.sender).finish_non_exhaustive()
    }
}

impl Pool {
    /// The most recently used connection that still can be used.
    pub fn take(self, key: &Key) -> Option<Connection> {
        loop {
            let newest = SERVERS_OF_THREAD.with_borrow_mut(|servers| servers.get_mut(key)?.pop_back())?;
            let mut connection = newest.connection;
            if newest.since.elapsed() < IDLE_LIMIT && connection.is_usable() {
                return Some(connection);
            }
        }
    }

    /// Keeps a connection for the next request.
    pub fn put(self, key: Key, connection: Connection) {
        let now = Instant::now();
        SERVERS_OF_THREAD.with_borrow_mut(|servers| {
            if servers.len() >= SERVERS && !servers.contains_key(&key) {
                servers.retain(|_, idle| idle.back().is_some_and(|newest| now - newest.since < IDLE_LIMIT));
            }
            let idle = servers.entry(key).or_default();
            while idle.len() >= KEPT_PER_SERVER
                || idle.front().is_some_and(|oldest| now - oldest.since >= IDLE_LIMIT)
            {
                idle.pop_front();
            }
            idle.push_back(Idle { connection, since: now });
        });
        if let Ok(runtime) = tokio::runtime::Handle::try_current()
            && !SWEPT.replace(true)
        {
            runtime.spawn(sweep(Sweeping));
        }
    }
}

/// Lives as long as its thread is swept, however that ends.
struct Sweeping;

impl Drop for Sweeping {
    fn drop(&mut self) {
        // Without the variable the thread is ending, and its connections with it.
        SWEPT.try_with(|swept| swept.set(false)).unwrap_or_default();
    }
}

/// Closes what has been idle for too long, until nothing is kept any more.
async fn sweep(_sweeping: Sweeping) {
    loop {
        tokio::time::sleep(IDLE_LIMIT).await;
        let now = Instant::now();
        let kept = SERVERS_OF_THREAD.with_borrow_mut(|servers| {
            servers.retain(|_, idle| {
                idle.retain(|idle| now - idle.since < IDLE_LIMIT);
                !idle.is_empty()
            });
            servers.len()
        });
        if kept == 0 {
            return;
        }
    }
}
