//! Free ports on 127.0.0.1, chosen by the system. Keeps two starts of this gateway from being given
//! the same one.

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};

/// Draws before it is said that there is no free port.
const MAX_DRAWS: u32 = 32;

#[derive(Debug, Clone, Default)]
pub struct Ports(Arc<Mutex<BTreeSet<u16>>>);

/// A port that no other start is given while this lives.
#[derive(Debug)]
pub struct ReservedPort {
    port: u16,
    ports: Ports,
}

impl Ports {
    pub fn reserve(&self) -> io::Result<ReservedPort> {
        for _ in 0..MAX_DRAWS {
            let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
            let new = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(port);
            if new {
                return Ok(ReservedPort { port, ports: self.clone() });
            }
        }
        Err(io::Error::new(io::ErrorKind::AddrInUse, "no free port on 127.0.0.1 was found"))
    }
}

impl ReservedPort {
    pub fn number(&self) -> u16 {
        self.port
    }

    /// Whether somebody else listens there by now.
    pub fn is_taken(&self) -> bool {
        let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, self.port));
        bound.is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
    }
}

impl Drop for ReservedPort {
    fn drop(&mut self) {
        self.ports.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.port);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_starts_are_given_the_same_port() {
        let ports = Ports::default();
        let reserved: Vec<_> = (0..20).map(|_| ports.reserve().unwrap()).collect();
        let numbers: BTreeSet<_> = reserved.iter().map(ReservedPort::number).collect();
        assert_eq!(numbers.len(), 20);
        drop(reserved);
        assert!(ports.0.lock().unwrap().is_empty());
    }

    #[test]
    fn a_port_that_somebody_took_is_noticed() {
        let port = Ports::default().reserve().unwrap();
        assert!(!port.is_taken());
        let _listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port.number())).unwrap();
        assert!(port.is_taken());
    }
}
