//! Connections that are kept between requests, by where they lead. The newest is taken first, and
//! none that has been idle for so long that its server may be closing it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::uri::Authority;
use hyper::client::conn::http1::SendRequest;

use crate::dialect::rope::Rope;

/// uvicorn closes idle connections after 5 s.
const IDLE_LIMIT: Duration = Duration::from_secs(4);
/// Idle connections that are kept to one server.
const KEPT_PER_SERVER: usize = 512;
/// Servers whose connections are kept.
const SERVERS: usize = 1_024;

#[derive(Debug, Clone, Default)]
pub struct Pool {
    servers: Arc<Mutex<HashMap<Key, Vec<Idle>>>>,
}

/// Where a connection leads.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    pub authority: Authority,
    pub https: bool,
}

#[derive(Debug)]
struct Idle {
    connection: SendRequest<Rope>,
    since: Instant,
}

impl Pool {
    /// The most recently used connection, if it is young enough.
    pub fn take(&self, key: &Key) -> Option<SendRequest<Rope>> {
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = servers.get_mut(key)?;
        let newest = idle.pop()?;
        if newest.since.elapsed() < IDLE_LIMIT {
            return Some(newest.connection);
        }
        // All others are older.
        servers.remove(key);
        None
    }

    /// Keeps a connection for the next request.
    pub fn put(&self, key: Key, connection: SendRequest<Rope>) {
        if connection.is_closed() {
            return;
        }
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        if servers.len() >= SERVERS && !servers.contains_key(&key) {
            servers.retain(|_, idle| idle.last().is_some_and(|newest| newest.since.elapsed() < IDLE_LIMIT));
        }
        let idle = servers.entry(key).or_default();
        if idle.len() < KEPT_PER_SERVER {
            idle.push(Idle { connection, since: Instant::now() });
        }
    }
}
