//! The names by which the gateway may be called, and the pages that may call it: the defence against DNS rebinding
//! and foreign pages. Pure.

use std::net::{IpAddr, Ipv6Addr};

use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};

/// Names by which containers and virtual machines reach this machine. Resolvers of a hostile network may answer
/// to them as well.
const CONTAINER_NAMES: [&str; 7] = [
    "host.docker.internal",
    "gateway.docker.internal",
    "host.containers.internal",
    "gateway.containers.internal",
    "host.lima.internal",
    "host.orb.internal",
    "host.rancher-desktop.internal",
];
/// Characters of a name in DNS.
const NAME_MAX: usize = 253;

/// Names and origins that are accepted.
#[derive(Debug, Clone, Default)]
pub struct Hosts {
    /// From `server.allowed_hosts`; lower case, without ports.
    allowed: Vec<String>,
    /// The machine's own names, and those of [`CONTAINER_NAMES`]; lower case.
    rebindable: Vec<String>,
    /// Whole origins, lower case.
    origins: Vec<String>,
}

/// What a request's host is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostKind {
    /// An address, `localhost` or a listed name.
    Fixed,
    /// A name that a hostile network may resolve to this machine for a page of its own.
    Rebindable,
}

/// Why a request is refused before anything else is looked at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    #[error("the request has no Host header; send one")]
    Missing,
    #[error("the request has more than one {0} header; send one")]
    Repeated(&'static str),
    #[error("the Host header {0:?} is not a host with an optional port, such as \"localhost:10242\"")]
    Malformed(String),
    #[error("the request's target names {0:?} and its Host header {1:?}; they have to agree")]
    Disagrees(String, String),
    #[error("the host {0:?} is not one this gateway answers to; add it to server.allowed_hosts")]
    Foreign(String),
    #[error(
        "the host {0:?} may be resolved by a hostile network, so from this machine it needs an API key; use localhost, or add it to server.allowed_hosts"
    )]
    Rebindable(String),
    #[error("pages of {0} may not use this gateway; add the origin to server.cors_origins")]
    Origin(String),
}

/// A host with its port, without a user or a path.
#[derive(Debug, Clone, Copy)]
struct Authority<'a> {
    host: Host<'a>,
    port: Option<u16>,
}

#[derive(Debug, Clone, Copy)]
enum Host<'a> {
    Address(IpAddr),
    /// Without the dot that may end it.
    Name(&'a str),
}

impl Hosts {
    /// `machine`: this machine's own name.
    pub fn new(machine: Option<&str>, allowed: &[String], origins: &[String]) -> Hosts {
        let mut rebindable: Vec<String> = CONTAINER_NAMES.map(str::to_owned).into();
        if let Some(machine) = machine.map(str::to_lowercase).filter(|name| !name.is_empty()) {
            let short = machine.split('.').next().unwrap_or(&machine).to_owned();
            rebindable.extend([format!("{short}.local"), short, machine]);
        }
        let name = |host: &String| match Authority::parse(host) {
            Some(Authority { host: Host::Name(name), .. }) => Some(name.to_lowercase()),
            _ => None,
        };
        Hosts {
            allowed: allowed.iter().filter_map(name).collect(),
            rebindable,
            origins: origins.iter().map(|origin| origin.trim_end_matches('/').to_lowercase()).collect(),
        }
    }

    /// Checks the host and the origin that a request names.
    pub fn check(&self, target: &Uri, headers: &HeaderMap) -> Result<HostKind, HostError> {
        let host = single(headers, header::HOST, "Host")?.ok_or(HostError::Missing)?;
        let authority = Authority::parse(host).ok_or_else(|| HostError::Malformed(host.to_owned()))?;
        if let Some(named) = target.authority() {
            let default = default_port(target.scheme_str().unwrap_or("http"));
            let agrees = Authority::parse(named.as_str()).is_some_and(|named| named.is(&authority, default));
            if !agrees {
                return Err(HostError::Disagrees(named.to_string(), host.to_owned()));
            }
        }
        let kind = self.kind(authority.host).ok_or_else(|| HostError::Foreign(host.to_owned()))?;
        match single(headers, header::ORIGIN, "Origin")? {
            Some(origin) if !is_origin_of(origin, &authority) && !self.is_listed(origin) => {
                Err(HostError::Origin(origin.to_owned()))
            }
            _ => Ok(kind),
        }
    }

    /// Whether `origin` is one of `server.cors_origins`.
    pub fn is_listed(&self, origin: &str) -> bool {
        self.origins.iter().any(|listed| listed.eq_ignore_ascii_case(origin))
    }

    fn kind(&self, host: Host<'_>) -> Option<HostKind> {
        let Host::Name(name) = host else { return Some(HostKind::Fixed) };
        let is_in = |names: &[String]| names.iter().any(|known| known.eq_ignore_ascii_case(name));
        let top = name.rsplit('.').next().unwrap_or(name);
        if top.eq_ignore_ascii_case("localhost") || is_in(&self.allowed) {
            Some(HostKind::Fixed)
        } else {
            is_in(&self.rebindable).then_some(HostKind::Rebindable)
        }
    }
}

impl<'a> Authority<'a> {
    /// Reads `host`, `host:port`, `[address]` or `[address]:port`, and nothing else.
    fn parse(text: &'a str) -> Option<Authority<'a>> {
        let (host, rest) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, rest) = rest.split_once(']')?;
                (Host::Address(IpAddr::V6(address.parse::<Ipv6Addr>().ok()?)), rest)
            }
            None => {
                let (name, rest) = text.split_at(text.find(':').unwrap_or(text.len()));
                (Host::parse(name)?, rest)
            }
        };
        let port = match rest.strip_prefix(':') {
            Some(digits) => Some(port(digits)?),
            None if rest.is_empty() => None,
            None => return None,
        };
        Some(Authority { host, port })
    }

    /// Whether both are the same, `default` being the port where one names none.
    fn is(&self, other: &Authority<'_>, default: u16) -> bool {
        let same_host = match (self.host, other.host) {
            (Host::Address(one), Host::Address(other)) => one == other,
            (Host::Name(one), Host::Name(other)) => one.eq_ignore_ascii_case(other),
            _ => false,
        };
        same_host && self.port.unwrap_or(default) == other.port.unwrap_or(default)
    }
}

impl<'a> Host<'a> {
    fn parse(text: &'a str) -> Option<Host<'a>> {
        let name = text.strip_suffix('.').unwrap_or(text);
        if let Ok(address) = name.parse() {
            return Some(Host::Address(IpAddr::V4(address)));
        }
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let label = |label: &str| !label.is_empty() && label.chars().all(fits);
        (name.len() <= NAME_MAX && name.split('.').all(label)).then_some(Host::Name(name))
    }
}

/// Whether a page of `origin` is one of the gateway itself, which is called by the name `host`.
pub fn same_origin(origin: &str, host: &str) -> bool {
    Authority::parse(host).is_some_and(|host| is_origin_of(origin, &host))
}

fn is_origin_of(origin: &str, host: &Authority<'_>) -> bool {
    let Some((scheme @ ("http" | "https"), rest)) = origin.split_once("://") else { return false };
    Authority::parse(rest).is_some_and(|origin| origin.is(host, default_port(scheme)))
}

fn default_port(scheme: &str) -> u16 {
    if scheme == "https" { 443 } else { 80 }
}

fn port(digits: &str) -> Option<u16> {
    let fits = (1..=5).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    if fits { digits.parse().ok() } else { None }
}

/// Returns the value of a header that may come once. Bytes beyond ASCII make a value that nothing matches.
fn single<'a>(
    headers: &'a HeaderMap,
    name: HeaderName,
    title: &'static str,
) -> Result<Option<&'a str>, HostError> {
    let mut values = headers.get_all(name).into_iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(HostError::Repeated(title));
    }
    Ok(first.map(|value: &HeaderValue| value.to_str().unwrap_or("?")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts() -> Hosts {
        Hosts::new(
            Some("Studio.lan"),
            &["models.example.com:8443".into(), "host.lima.internal".into()],
            &["https://chat.example.com/".into()],
        )
    }

    fn check(target: &str, sent: &[(&'static str, &str)]) -> Result<HostKind, HostError> {
        let mut headers = HeaderMap::new();
        for (name, value) in sent {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        hosts().check(&target.parse().unwrap(), &headers)
    }

    #[test]
    fn addresses_localhost_and_listed_names_are_accepted() {
        for host in [
            "localhost",
            "LOCALHOST:10242",
            "localhost.",
            "app.localhost:1",
            "127.0.0.1:10242",
            "127.0.0.1.",
            "[::1]:10242",
            "[::ffff:127.0.0.1]",
            "192.168.1.7",
            "models.example.com",
            "Models.Example.com:8443",
            "host.lima.internal",
        ] {
            assert_eq!(check("/", &[("host", host)]), Ok(HostKind::Fixed), "{host}");
        }
    }

    #[test]
    fn names_that_a_network_resolves_are_told_apart() {
        for host in [
            "studio",
            "Studio.local:10242",
            "studio.lan",
            "host.docker.internal:10242",
            "HOST.DOCKER.INTERNAL.",
            "gateway.docker.internal",
            "host.containers.internal",
            "host.orb.internal",
        ] {
            assert_eq!(check("/", &[("host", host)]), Ok(HostKind::Rebindable), "{host}");
        }
    }

    #[test]
    fn other_names_are_foreign() {
        for host in [
            "evil.example.com",
            "evil.example.com:10242",
            "localhost.evil.com",
            "127.0.0.1.evil.com",
            "notlocalhost",
            "localhost-evil.com",
            "2130706433",
            "0x7f000001",
            "127.1",
            "studio.evil.com",
        ] {
            assert_eq!(check("/", &[("host", host)]), Err(HostError::Foreign(host.into())), "{host}");
        }
    }

    #[test]
    fn a_host_is_a_name_or_an_address_with_an_optional_port_and_nothing_else() {
        for host in [
            "",
            ":80",
            ".",
            "..",
            ".localhost",
            "localhost..",
            "a..localhost",
            "localhost:80@evil.com",
            "evil.com@localhost",
            "user:password@localhost:80",
            "[::1]evil.com",
            "[::1].evil.com",
            "[::1]:80@evil.com",
            "[::1",
            "::1",
            "[127.0.0.1]",
            "[localhost]",
            "[fe80::1%25en0]",
            "[[::1]]",
            "[]",
            "localhost:",
            "localhost:x",
            "localhost:80x",
            "localhost:+80",
            "localhost:-1",
            "localhost:65536",
            "localhost:000080",
            "localhost:80:80",
            "localhost/",
            "localhost/evil.com",
            "localhost?x",
            "localhost#x",
            "localhost evil.com",
            "localhost,evil.com",
            "localhost\\evil.com",
            "http://localhost",
            "lo\u{e9}alhost",
            "localhost%00",
        ] {
            let refused = check("/", &[("host", host)]);
            assert!(matches!(refused, Err(HostError::Malformed(_))), "{host:?}: {refused:?}");
        }
        let long = format!("{}.localhost", "a".repeat(NAME_MAX));
        assert!(matches!(check("/", &[("host", &long)]), Err(HostError::Malformed(_))));
    }

    #[test]
    fn there_is_exactly_one_host_and_one_origin() {
        assert_eq!(check("/", &[]), Err(HostError::Missing));
        for second in ["localhost", "evil.com"] {
            let twice = [("host", "localhost"), ("host", second)];
            assert_eq!(check("/", &twice), Err(HostError::Repeated("Host")));
        }
        let origin = ("origin", "http://localhost");
        let twice = [("host", "localhost"), origin, origin];
        assert_eq!(check("/", &twice), Err(HostError::Repeated("Origin")));
    }

    #[test]
    fn an_absolute_target_agrees_with_the_host() {
        for (target, host) in [
            ("http://localhost:10242/v1/models", "localhost:10242"),
            ("http://LOCALHOST/v1/models", "localhost:80"),
            ("https://localhost:443/", "localhost"),
            ("http://[::1]:1/", "[::1]:1"),
            ("*", "localhost"),
        ] {
            assert_eq!(check(target, &[("host", host)]), Ok(HostKind::Fixed), "{target} {host}");
        }
        for (target, host) in [
            ("http://evil.com/v1/models", "localhost"),
            ("http://localhost/", "127.0.0.1"),
            ("http://localhost:1/", "localhost:2"),
            ("https://localhost/", "localhost:80"),
            ("http://evil.com@localhost/", "localhost"),
            ("evil.com:443", "localhost"),
        ] {
            let refused = check(target, &[("host", host)]);
            assert!(matches!(refused, Err(HostError::Disagrees(..))), "{target} {host}: {refused:?}");
        }
    }

    #[test]
    fn pages_of_elsewhere_need_to_be_listed() {
        let at = |host: &str, origin: &str| check("/", &[("host", host), ("origin", origin)]);
        for (host, origin) in [
            ("localhost:10242", "http://localhost:10242"),
            ("localhost:10242", "http://LOCALHOST:10242"),
            ("localhost", "http://localhost:80"),
            ("models.example.com", "https://models.example.com"),
            ("models.example.com:443", "https://models.example.com"),
            ("[::1]:1", "http://[::1]:1"),
            ("localhost:10242", "https://chat.example.com"),
            ("localhost:10242", "HTTPS://chat.example.com"),
        ] {
            assert_eq!(at(host, origin), Ok(HostKind::Fixed), "{host} {origin}");
        }
        for origin in [
            "http://localhost:3000",
            "http://localhost",
            "http://localhost:10242/",
            "http://localhost:10242@evil.com",
            "http://evil.com@localhost:10242",
            "http://localhost:10242.evil.com",
            "http://localhost:10242 http://evil.com",
            "ws://localhost:10242",
            "localhost:10242",
            "https://evil.com",
            "https://chat.example.com:8443",
            "https://chat.example.com.evil.com",
            "null",
            "file://",
            "http://",
            "",
        ] {
            let refused = at("localhost:10242", origin);
            assert!(matches!(refused, Err(HostError::Origin(_))), "{origin:?}: {refused:?}");
            assert!(!same_origin(origin, "localhost:10242"), "{origin:?}");
        }
    }
}
