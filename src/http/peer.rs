//! The client of a connection that proxies may have forwarded. Pure.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName};

use crate::auth::Transport;

/// Headers that a proxy adds; beside them all that begin with one of [`FORWARDING_PREFIXES`].
const FORWARDING: [&str; 6] =
    ["forwarded", "via", "x-real-ip", "cf-connecting-ip", "true-client-ip", "x-client-ip"];
const FORWARDING_PREFIXES: [&str; 2] = ["x-forwarded-", "tailscale-"];

/// Whom a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// None: over the local socket.
    pub address: Option<IpAddr>,
    pub transport: Transport,
    /// Encrypted all the way that we know of.
    pub secure: bool,
}

impl Peer {
    /// Returns the client that forwarding headers name, for a `trusted` proxy. A request with such headers from
    /// any other peer keeps its address and is no longer a loopback one.
    pub fn resolve(self, headers: &HeaderMap, trusted: &[IpAddr]) -> Peer {
        let proxy = self.address.filter(|address| trusted.contains(address));
        let changes_nothing = proxy.is_none() && self.transport == Transport::Network;
        if changes_nothing || !headers.keys().any(is_forwarding) {
            return self;
        }
        let forwarded = self.transport.forwarded();
        let Some(proxy) = proxy else { return Peer { transport: forwarded, ..self } };
        let secure = headers.get("x-forwarded-proto").is_some_and(|proto| proto == "https");
        let all = headers.get_all("x-forwarded-for").into_iter().filter_map(|value| value.to_str().ok());
        let hops: Vec<Option<IpAddr>> =
            all.flat_map(|value| value.split(',')).map(|hop| parse(hop.trim())).collect();
        // From the right: hops further left are the claims of whoever sent the request.
        let is_client = |hop: &&Option<IpAddr>| hop.is_none_or(|hop| !trusted.contains(&hop));
        let client = hops.iter().rev().find(is_client).or(hops.first()).copied().flatten();
        let Some(client) = client else {
            return Peer { address: Some(proxy), transport: forwarded, secure };
        };
        let is_local = hops.iter().all(|hop| hop.is_some_and(|hop| hop.is_loopback()));
        let transport = if is_local { self.transport } else { Transport::Network };
        Peer { address: Some(client), transport, secure }
    }
}

fn is_forwarding(name: &HeaderName) -> bool {
    let name = name.as_str();
    FORWARDING.contains(&name) || FORWARDING_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

fn parse(hop: &str) -> Option<IpAddr> {
    let bare = hop.trim_start_matches('[').trim_end_matches(']');
    let address = bare.parse::<IpAddr>().or_else(|_| hop.parse::<SocketAddr>().map(|socket| socket.ip()));
    address.ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use Transport::{Loopback, Network, Proxied, UnixSocket};

    fn resolve(address: Option<&str>, transport: Transport, headers: &[(&str, &str)]) -> Peer {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        let peer = Peer { address: address.map(|text| text.parse().unwrap()), transport, secure: false };
        peer.resolve(&map, &["127.0.0.1".parse().unwrap(), "10.0.0.1".parse().unwrap()])
    }

    #[test]
    fn a_forwarding_header_of_a_peer_that_is_not_trusted_ends_loopback_and_changes_nothing_else() {
        for (name, value) in [
            ("forwarded", "for=127.0.0.1"),
            ("x-forwarded-for", "127.0.0.1"),
            ("x-forwarded-host", "localhost"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-anything", ""),
            ("x-real-ip", "127.0.0.1"),
            ("via", "1.1 proxy"),
            ("cf-connecting-ip", "127.0.0.1"),
            ("true-client-ip", "127.0.0.1"),
            ("x-client-ip", "127.0.0.1"),
            ("tailscale-user-login", "ada@example.com"),
        ] {
            for (transport, expected) in [(Loopback, Proxied), (Network, Network)] {
                let peer = resolve(Some("::1"), transport, &[(name, value)]);
                let unchanged =
                    Peer { address: Some("::1".parse().unwrap()), transport: expected, secure: false };
                assert_eq!(peer, unchanged, "{name}");
            }
            assert_eq!(resolve(None, UnixSocket, &[(name, value)]).transport, Proxied, "{name}");
        }
        for name in ["x-request-id", "x-forwarded", "viable", "user-agent", "origin"] {
            assert_eq!(resolve(Some("::1"), Loopback, &[(name, "x")]).transport, Loopback, "{name}");
        }
    }

    #[test]
    fn a_trusted_proxy_names_the_client() {
        let of = |forwarded: &str| {
            let headers = [("x-forwarded-for", forwarded), ("x-forwarded-proto", "https")];
            let peer = resolve(Some("127.0.0.1"), Loopback, &headers);
            assert!(peer.secure, "{forwarded}");
            (peer.address.unwrap().to_string(), peer.transport)
        };
        for (forwarded, address, transport) in [
            ("203.0.113.9", "203.0.113.9", Network),
            ("127.0.0.1, 203.0.113.9", "203.0.113.9", Network),
            ("nonsense, 203.0.113.9", "203.0.113.9", Network),
            ("203.0.113.9, 10.0.0.1", "203.0.113.9", Network),
            ("203.0.113.9:4711", "203.0.113.9", Network),
            ("203.0.113.9, ::1", "::1", Network),
            ("::ffff:203.0.113.9", "203.0.113.9", Network),
            ("127.0.0.1, 10.0.0.1", "127.0.0.1", Network),
            ("10.0.0.1", "10.0.0.1", Network),
            ("nonsense", "127.0.0.1", Proxied),
            ("", "127.0.0.1", Proxied),
            ("[::1]", "::1", Loopback),
            ("127.0.0.1", "127.0.0.1", Loopback),
        ] {
            assert_eq!(of(forwarded), (address.to_owned(), transport), "{forwarded:?}");
        }
    }

    #[test]
    fn a_trusted_proxy_that_names_no_client_serves_others() {
        for header in [("x-forwarded-proto", "https"), ("x-real-ip", "127.0.0.1"), ("via", "1.1 proxy")] {
            assert_eq!(resolve(Some("127.0.0.1"), Loopback, &[header]).transport, Proxied, "{header:?}");
        }
        assert_eq!(resolve(Some("127.0.0.1"), Loopback, &[]).transport, Loopback);
    }
}
