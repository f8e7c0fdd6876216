//! Who is at the other end of a connection, where a proxy may stand between. Pure.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;

use crate::auth::Road;

/// Whom a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// None: over the local socket.
    pub address: Option<IpAddr>,
    pub road: Road,
    /// Encrypted all the way that we know of.
    pub secure: bool,
}

impl Peer {
    /// What `X-Forwarded-*` makes of the connection; believed of `trusted` proxies only.
    pub fn seen(self, headers: &HeaderMap, trusted: &[IpAddr]) -> Peer {
        let Some(address) = self.address.map(plain) else { return self };
        if !trusted.contains(&address) {
            return self;
        }
        let all = headers.get_all("x-forwarded-for").into_iter().filter_map(|value| value.to_str().ok());
        let hops: Vec<&str> = all.flat_map(|value| value.split(',')).map(str::trim).collect();
        let secure = headers.get("x-forwarded-proto").is_some_and(|proto| proto == "https");
        // From the right: what stands further left was written by whoever was asked.
        let client =
            hops.iter().rev().map(|hop| parse(hop)).find(|hop| hop.is_none_or(|hop| !trusted.contains(&hop)));
        let address = match client {
            // Only proxies, or no word of a client.
            None => return Peer { secure: self.secure || secure, ..self },
            // A hop that cannot be read is a stranger.
            Some(None) => return Peer { address: self.address, road: Road::Network, secure },
            Some(Some(client)) => client,
        };
        let road = if address.is_loopback() { self.road } else { Road::Network };
        Peer { address: Some(address), road, secure }
    }
}

fn parse(hop: &str) -> Option<IpAddr> {
    let bare = hop.trim_start_matches('[').trim_end_matches(']');
    let address = bare.parse::<IpAddr>().or_else(|_| hop.parse::<SocketAddr>().map(|socket| socket.ip()));
    address.ok().map(plain)
}

/// An IPv4 address as such, also where it came over an IPv6 socket.
fn plain(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(address: &str, road: Road) -> Peer {
        Peer { address: Some(address.parse().unwrap()), road, secure: false }
    }

    fn seen(peer: Peer, forwarded: &str, proto: &str) -> (String, Road, bool) {
        let mut headers = HeaderMap::new();
        if !forwarded.is_empty() {
            headers.insert("x-forwarded-for", forwarded.parse().unwrap());
        }
        headers.insert("x-forwarded-proto", proto.parse().unwrap());
        let trusted = ["127.0.0.1".parse().unwrap(), "10.0.0.1".parse().unwrap()];
        let seen = peer.seen(&headers, &trusted);
        (seen.address.unwrap().to_string(), seen.road, seen.secure)
    }

    #[test]
    fn a_stranger_is_not_believed() {
        let stranger = peer("192.168.1.5", Road::Network);
        assert_eq!(seen(stranger, "127.0.0.1", "https"), ("192.168.1.5".into(), Road::Network, false));
    }

    #[test]
    fn of_a_trusted_proxy_the_client_is_the_last_stranger() {
        let proxy = peer("127.0.0.1", Road::Loopback);
        let of = |forwarded| seen(proxy, forwarded, "https");
        assert_eq!(of("203.0.113.9"), ("203.0.113.9".into(), Road::Network, true));
        assert_eq!(of("127.0.0.1, 203.0.113.9"), ("203.0.113.9".into(), Road::Network, true));
        assert_eq!(of("203.0.113.9, 10.0.0.1"), ("203.0.113.9".into(), Road::Network, true));
        assert_eq!(of("203.0.113.9:4711"), ("203.0.113.9".into(), Road::Network, true));
        assert_eq!(of("nonsense"), ("127.0.0.1".into(), Road::Network, true), "never the operator");
        assert_eq!(of(""), ("127.0.0.1".into(), Road::Loopback, true));
        assert_eq!(of("[::1]"), ("::1".into(), Road::Loopback, true));
    }
}
