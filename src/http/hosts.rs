//! By which names the gateway may be called, and from which pages: the defence against DNS rebinding
//! and foreign pages. Pure.

use std::net::IpAddr;

/// Names and origins that are accepted.
#[derive(Debug, Clone, Default)]
pub struct Hosts {
    /// Lower case, without ports.
    names: Vec<String>,
    /// Whole origins, lower case.
    origins: Vec<String>,
}

/// Why a request is turned away before anything else is looked at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    #[error("the request names no host")]
    Missing,
    #[error("the host \"{0}\" is not one this gateway answers to; add it to server.allowed_hosts")]
    Foreign(String),
    #[error("pages of {0} may not use this gateway; add the origin to server.cors_origins")]
    Origin(String),
}

impl Hosts {
    /// `machine`: this machine's own name.
    pub fn new(machine: Option<&str>, allowed: &[String], origins: &[String]) -> Hosts {
        let mut names: Vec<String> = vec!["localhost".into(), "host.docker.internal".into()];
        if let Some(machine) = machine.map(str::to_lowercase).filter(|name| !name.is_empty()) {
            let short = machine.split('.').next().unwrap_or(&machine).to_owned();
            names.extend([format!("{short}.local"), short, machine]);
        }
        names.extend(allowed.iter().map(|name| without_port(name).to_lowercase()));
        Hosts {
            names,
            origins: origins.iter().map(|origin| origin.trim_end_matches('/').to_lowercase()).collect(),
        }
    }

    /// Whether a request for `host` that a page of `origin` made is to be answered.
    pub fn check(&self, host: Option<&str>, origin: Option<&str>) -> Result<(), HostError> {
        let host = host.ok_or(HostError::Missing)?;
        if !self.knows(without_port(host)) {
            return Err(HostError::Foreign(host.to_owned()));
        }
        match origin {
            Some(origin) if !same_origin(origin, host) && !self.is_listed(origin) => {
                Err(HostError::Origin(origin.to_owned()))
            }
            _ => Ok(()),
        }
    }

    /// Whether `origin` is one of `server.cors_origins`.
    pub fn is_listed(&self, origin: &str) -> bool {
        self.origins.iter().any(|listed| listed.eq_ignore_ascii_case(origin))
    }

    fn knows(&self, name: &str) -> bool {
        let bare = name.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
        bare.parse::<IpAddr>().is_ok()
            || self.names.iter().any(|known| known.eq_ignore_ascii_case(bare))
            || bare.len() > 10
                && bare.is_char_boundary(bare.len() - 10)
                && bare.get(bare.len() - 10..).is_some_and(|end| end.eq_ignore_ascii_case(".localhost"))
    }
}

/// A page of the gateway itself.
pub fn same_origin(origin: &str, host: &str) -> bool {
    let rest = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    rest.is_some_and(|rest| rest.eq_ignore_ascii_case(host))
}

fn without_port(host: &str) -> &str {
    if let Some(end) = host.strip_prefix('[').and_then(|rest| rest.find(']')) {
        return host.get(..end + 2).unwrap_or(host);
    }
    host.rsplit_once(':').map_or(host, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts() -> Hosts {
        Hosts::new(
            Some("Studio.lan"),
            &["models.example.com:8443".into()],
            &["https://chat.example.com/".into()],
        )
    }

    #[test]
    fn own_names_addresses_and_listed_ones_are_answered() {
        for host in [
            "localhost",
            "LOCALHOST:10242",
            "app.localhost:1",
            "127.0.0.1:10242",
            "[::1]:10242",
            "192.168.1.7",
            "studio",
            "studio.local:10242",
            "studio.lan",
            "host.docker.internal:10242",
            "models.example.com",
            "localhost.",
        ] {
            assert_eq!(hosts().check(Some(host), None), Ok(()), "{host}");
        }
    }

    #[test]
    fn a_rebound_name_is_not() {
        for host in [
            "evil.example.com",
            "evil.example.com:10242",
            "localhost.evil.com",
            "127.0.0.1.evil.com",
            "notlocalhost",
            "",
        ] {
            assert!(matches!(hosts().check(Some(host), None), Err(HostError::Foreign(_))), "{host}");
        }
        assert_eq!(hosts().check(None, None), Err(HostError::Missing));
    }

    #[test]
    fn pages_of_elsewhere_need_to_be_listed() {
        let check = |origin: &str| hosts().check(Some("localhost:10242"), Some(origin));
        assert_eq!(check("http://localhost:10242"), Ok(()));
        assert_eq!(check("https://chat.example.com"), Ok(()));
        for origin in [
            "http://localhost:3000",
            "https://evil.com",
            "null",
            "file://",
            "http://localhost:10242.evil.com",
        ] {
            assert!(matches!(check(origin), Err(HostError::Origin(_))), "{origin}");
        }
    }
}
