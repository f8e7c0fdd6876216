//! Servers elsewhere, as settings and grants name them. Pure.

use std::fmt;

/// Scheme, host and port of a server.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Destination {
    pub https: bool,
    /// Lower case; an IPv6 address without brackets.
    pub host: String,
    pub port: u16,
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
        let destination = Destination::new(https, authority.host(), authority.port_u16());
        if destination.host.is_empty() { Err(wrong("names no host")) } else { Ok(destination) }
    }

    /// Scheme, host and port; without a port the scheme's.
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
        for wrong in [
            "api.example.com",
            "ftp://x",
            "https://x/path",
            "https://u@x",
            "https://*.x.com",
            "https://:",
            "https://.",
            "",
        ] {
            assert!(Destination::parse(wrong).is_err(), "{wrong}");
        }
    }
}
