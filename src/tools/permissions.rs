//! What a plugin may reach, as asked for and as granted. Pure.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Scheme, host and port of a server.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Destination {
    pub https: bool,
    /// Lower case; an IPv6 address without brackets.
    pub host: String,
    pub port: u16,
}

/// Addresses with a prefix in common; one address is a network of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

/// Everything a plugin asks for, or was granted, as it is stored and shown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Permissions {
    /// `https://api.example.com`, with the port where it is not the scheme's.
    pub http: BTreeSet<String>,
    /// Addresses or networks that may be reached although they are private.
    pub allow_private: BTreeSet<String>,
    /// `EXAMPLE_TOKEN as authorization to https://api.example.com`: secrets that the host adds.
    pub secrets: BTreeSet<String>,
}

impl Permissions {
    pub fn is_empty(&self) -> bool {
        self.http.is_empty() && self.allow_private.is_empty() && self.secrets.is_empty()
    }

    /// What `self` has that `granted` has not.
    pub fn beyond(&self, granted: &Permissions) -> Permissions {
        let minus = |asked: &BTreeSet<String>, granted: &BTreeSet<String>| {
            asked.difference(granted).cloned().collect()
        };
        Permissions {
            http: minus(&self.http, &granted.http),
            allow_private: minus(&self.allow_private, &granted.allow_private),
            secrets: minus(&self.secrets, &granted.secrets),
        }
    }

    /// One line per permission, for people.
    pub fn in_words(&self) -> Vec<String> {
        let http = self.http.iter().map(|url| format!("send requests to {url}"));
        let private = self.allow_private.iter().map(|net| format!("reach the private address {net}"));
        let secrets = self.secrets.iter().map(|secret| format!("use the secret {secret}"));
        http.chain(private).chain(secrets).collect()
    }
}

impl Destination {
    /// Reads `https://api.example.com` or `http://127.0.0.1:8080`.
    pub fn parse(text: &str) -> Result<Destination, String> {
        let wrong =
            |why: &str| format!("`{text}` {why}; write a destination such as https://api.example.com");
        let uri: http::Uri = text.parse().map_err(|_| wrong("is not a URL"))?;
        let https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(wrong("has to begin with http:// or https://")),
        };
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(wrong("may have no path: a grant is for a whole server"));
        }
        let authority = uri.authority().ok_or_else(|| wrong("names no host"))?;
        if authority.as_str().contains(['@', '*']) {
            return Err(wrong("may have neither user name nor wildcard"));
        }
        Ok(Destination::new(https, authority.host(), authority.port_u16()))
    }

    pub fn new(https: bool, host: &str, port: Option<u16>) -> Destination {
        let host = host.trim_matches(['[', ']']).trim_end_matches('.').to_ascii_lowercase();
        Destination { https, host, port: port.unwrap_or(if https { 443 } else { 80 }) }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, usual) = if self.https { ("https", 443) } else { ("http", 80) };
        match self.host.contains(':') {
            true => write!(f, "{scheme}://[{}]", self.host)?,
            false => write!(f, "{scheme}://{}", self.host)?,
        }
        if self.port == usual { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

impl Network {
    /// Reads `127.0.0.1` or `10.0.0.0/8`.
    pub fn parse(text: &str) -> Result<Network, String> {
        let wrong = || format!("`{text}` is not an address or network such as 127.0.0.1 or 10.0.0.0/8");
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u8>().map_err(|_| wrong())?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(width);
        if bits > width { Err(wrong()) } else { Ok(Network { address, bits }) }
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(net), IpAddr::V4(address)) => {
                let shift = 32 - u32::from(self.bits);
                u32::from(net).checked_shr(shift) == u32::from(address).checked_shr(shift)
            }
            (IpAddr::V6(net), IpAddr::V6(address)) => {
                let shift = 128 - u32::from(self.bits);
                u128::from(net).checked_shr(shift) == u128::from(address).checked_shr(shift)
            }
            _ => false,
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = if self.address.is_ipv4() { 32 } else { 128 };
        if self.bits == width { self.address.fmt(f) } else { write!(f, "{}/{}", self.address, self.bits) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_are_told_apart_by_scheme_host_and_port() {
        let shown = |text| Destination::parse(text).unwrap().to_string();
        assert_eq!(shown("https://API.example.com:443/"), "https://api.example.com");
        assert_eq!(shown("http://127.0.0.1:8080"), "http://127.0.0.1:8080");
        assert_eq!(shown("http://[::1]:80"), "http://[::1]");
        let api = Destination::parse("https://api.example.com").unwrap();
        assert_ne!(api, Destination::parse("http://api.example.com:443").unwrap());
        assert_ne!(api, Destination::parse("https://api.example.com:8443").unwrap());
        assert_ne!(api, Destination::parse("https://example.com").unwrap());
        for wrong in ["api.example.com", "ftp://x", "https://x/path", "https://u@x", "https://*.x.com", ""] {
            assert!(Destination::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn networks_hold_their_addresses_and_no_others() {
        let holds =
            |net: &str, address: &str| Network::parse(net).unwrap().contains(address.parse().unwrap());
        assert!(holds("10.0.0.0/8", "10.255.0.1") && !holds("10.0.0.0/8", "11.0.0.1"));
        assert!(holds("127.0.0.1", "127.0.0.1") && !holds("127.0.0.1", "127.0.0.2"));
        assert!(holds("0.0.0.0/0", "8.8.8.8") && holds("fd00::/8", "fd12::1"));
        assert!(!holds("127.0.0.1", "::1"));
        for wrong in ["10.0.0.0/33", "::/129", "local", "1.2.3/8", "/8"] {
            assert!(Network::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_what_is_new_is_asked_for_again() {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let granted = Permissions { http: set(&["https://a"]), ..Permissions::default() };
        let asked = Permissions { http: set(&["https://a", "https://b"]), ..Permissions::default() };
        assert_eq!(asked.beyond(&granted).http, set(&["https://b"]));
        assert!(granted.beyond(&asked).is_empty());
        assert_eq!(asked.beyond(&granted).in_words(), ["send requests to https://b"]);
    }
}
