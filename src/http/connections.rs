//! How many client connections are open, so that descriptors are left for backends, the store and files. When there is
//! no room for a new one, an idle one is closed; a client alone cannot take them all.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::connection::Connection;
use crate::auth::networks;

/// Descriptors for the store, logs, listeners, workers and the pipes of backends.
const RESERVED: u64 = 128;
/// Connections that there is always room for.
const LEAST: usize = 8;
/// Connections over the local socket, beside all others: the operator gets in whatever the network does.
const OVER_SOCKET: usize = 64;

/// Evicted connections whose descriptors may still be open while further ones are accepted, and how long is waited for
/// them.
const CLOSING_MAX: usize = 8;
const CLOSING_WAIT: Duration = Duration::from_millis(100);

/// The open connections of clients.
#[derive(Debug)]
pub struct Connections {
    /// Of all clients over TCP together.
    limit: usize,
    trusted_proxies: Vec<IpAddr>,
    next: AtomicU64,
    registry: Mutex<Registry>,
    /// Told when an evicted one has been closed.
    closed: Notify,
}

#[derive(Debug, Default)]
struct Registry {
    open: HashMap<u64, Open>,
    counts: HashMap<Peer, usize>,
    /// Evicted ones whose descriptors are still open.
    closing: HashSet<u64>,
}

#[derive(Debug)]
struct Open {
    peer: Peer,
    connection: Arc<Connection>,
}

/// Whose connections are counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Peer {
    LocalSocket,
    /// This machine, or a proxy that speaks for many clients.
    Many(Vec<u8>),
    /// One client: an IPv4 address, or an IPv6 network of 64 bits.
    One(Vec<u8>),
}

/// A place among the open connections, until it is dropped.
#[derive(Debug)]
pub struct Place {
    all: Arc<Connections>,
    number: u64,
    connection: Arc<Connection>,
}

impl Connections {
    /// Divides `descriptors`, of which each request may need a second one for its backend.
    pub fn new(descriptors: u64, trusted_proxies: Vec<IpAddr>) -> Arc<Connections> {
        let left = descriptors - RESERVED.min(descriptors / 2);
        let limit = usize::try_from(left / 2).unwrap_or(usize::MAX).max(LEAST);
        let (next, registry, closed) = (AtomicU64::new(0), Mutex::default(), Notify::new());
        Arc::new(Connections { limit, trusted_proxies, next, registry, closed })
    }

    /// Makes room for a connection from `address` (none: the local socket); none: everything that is open is in use.
    pub fn admit(self: &Arc<Self>, address: Option<IpAddr>) -> Option<Place> {
        let peer = self.peer(address);
        let mut registry = self.registry();
        if registry.count(&peer) >= self.share(&peer) && !registry.evict(|other| *other == peer) {
            return None;
        }
        let is_over_network = |other: &Peer| *other != Peer::LocalSocket;
        let is_full = registry.open.len() - registry.count(&Peer::LocalSocket) >= self.limit;
        if is_over_network(&peer) && is_full && !registry.evict(is_over_network) {
            return None;
        }
        let connection = Connection::new();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        *registry.counts.entry(peer.clone()).or_default() += 1;
        registry.open.insert(number, Open { peer, connection: Arc::clone(&connection) });
        Some(Place { all: Arc::clone(self), number, connection })
    }

    /// Waits until the descriptors of evicted connections are free, but for a few.
    pub async fn wait_for_closing(&self) {
        let closing = async {
            loop {
                let closed = self.closed.notified();
                if self.registry().closing.len() <= CLOSING_MAX {
                    return;
                }
                closed.await;
            }
        };
        if tokio::time::timeout(CLOSING_WAIT, closing).await.is_err() {
            tracing::debug!("Evicted connections are still being closed");
        }
    }

    /// Returns how many connections over TCP there may be.
    pub fn limit(&self) -> usize {
        self.limit
    }

    fn peer(&self, address: Option<IpAddr>) -> Peer {
        let Some(address) = address.map(|address| address.to_canonical()) else { return Peer::LocalSocket };
        let (network, _) = networks(address);
        if address.is_loopback() || self.trusted_proxies.contains(&address) {
            Peer::Many(network)
        } else {
            Peer::One(network)
        }
    }

    fn share(&self, peer: &Peer) -> usize {
        match peer {
            Peer::LocalSocket => OVER_SOCKET,
            Peer::Many(_) => (self.limit / 4 * 3).max(LEAST / 2),
            Peer::One(_) => (self.limit / 4).max(LEAST / 4),
        }
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registry {
    fn count(&self, peer: &Peer) -> usize {
        self.counts.get(peer).copied().unwrap_or(0)
    }

    /// Closes the connection that has been idle for longest, one that never sent a request before all others.
    /// False: none is idle.
    fn evict(&mut self, is_of: impl Fn(&Peer) -> bool) -> bool {
        loop {
            let rank = |(number, Open { connection, .. }): (&u64, &Open)| {
                Some((connection.has_served(), connection.idle_since()?, *number))
            };
            let idle = self.open.iter().filter(|(_, other)| is_of(&other.peer)).filter_map(rank);
            let Some((_, since, number)) = idle.min() else { return false };
            // One that has begun a request in between stays, and is not idle any more.
            if self.open.get(&number).is_some_and(|other| other.connection.evict(since)) {
                self.remove(number);
                self.closing.insert(number);
                return true;
            }
        }
    }

    fn remove(&mut self, number: u64) {
        let Some(Open { peer, .. }) = self.open.remove(&number) else { return };
        if let Some(count) = self.counts.get_mut(&peer) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&peer);
            }
        }
    }
}

impl Place {
    /// Returns the connection that has this place.
    pub fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut registry = self.all.registry();
        registry.remove(self.number);
        if registry.closing.remove(&self.number) {
            self.all.closed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::connection::Busy;
    use super::*;

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    /// Room for 40.
    fn connections() -> Arc<Connections> {
        Connections::new(160, vec!["10.0.0.1".parse().unwrap()])
    }

    #[test]
    fn connections_leave_half_of_the_descriptors() {
        for (descriptors, limit) in [(16, 8), (160, 40), (256, 64), (1024, 448), (65_536, 32_704)] {
            assert_eq!(Connections::new(descriptors, Vec::new()).limit(), limit, "{descriptors}");
        }
    }

    #[test]
    fn oldest_idle_connection_of_the_same_client_is_closed_first() {
        let all = connections();
        let other = all.admit(address("192.0.2.2")).unwrap();
        let mut places: Vec<Place> = (0..10).map(|_| all.admit(address("192.0.2.1")).unwrap()).collect();
        let busy = places[0].connection().begin().unwrap();
        drop(places[1].connection().begin());
        let new = all.admit(address("::ffff:192.0.2.1")).unwrap();
        let evicted = |place: &Place| place.connection().begin().is_none();
        assert!(evicted(&places[2]), "it never sent a request");
        assert!(!evicted(&places[1]) && !evicted(&places[3]) && !evicted(&other));
        drop((busy, new));
        places.clear();
        assert_eq!(all.registry().open.len(), 1, "each place is given back once");
    }

    /// A connection with a request under way.
    fn busy(place: Place) -> (Place, Option<Busy>) {
        let busy = place.connection().begin();
        (place, busy)
    }

    #[test]
    fn client_with_nothing_idle_gets_no_more_than_its_share() {
        let all = connections();
        for (client, share) in [("192.0.2.1", 10), ("2001:db8::1", 10), ("127.0.0.1", 30), ("10.0.0.1", 30)] {
            let places: Vec<_> = std::iter::from_fn(|| Some(busy(all.admit(address(client))?))).collect();
            assert_eq!(places.len(), share, "{client}");
        }
        let _first = busy(all.admit(address("2001:db8::1")).unwrap());
        let more = (2..99).filter_map(|n| all.admit(address(&format!("2001:db8::{n:x}"))).map(busy));
        assert_eq!(more.collect::<Vec<_>>().len(), 9, "one network is one client");
    }

    #[test]
    fn local_socket_gets_in_when_the_network_has_taken_everything() {
        let all = connections();
        let busy = |n: u32| all.admit(address(&format!("192.0.2.{n}"))).map(busy);
        let places: Vec<_> = (0..99).filter_map(busy).collect();
        assert_eq!(places.len(), 40);
        assert!(all.admit(address("127.0.0.1")).is_none());
        assert!(all.admit(None).is_some());
    }
}
