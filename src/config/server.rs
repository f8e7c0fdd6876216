//! `[server]`: listeners, folders, body limit, who may reach the gateway by which name.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Clone)]
pub struct Server {
    pub listen: Vec<SocketAddr>,
    pub data_dir: PathBuf,
    /// Bytes.
    pub max_body: u64,
    pub allowed_hosts: Vec<String>,
    pub cors_origins: Vec<String>,
    pub trusted_proxies: Vec<IpAddr>,
    pub tls: Option<Tls>,
    pub shutdown_grace: Duration,
    /// `--insecure`: a non-loopback listener without required auth is accepted.
    pub insecure: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl Server {
    /// True when nobody outside this machine can connect.
    pub fn loopback_only(&self) -> bool {
        self.listen.iter().all(|a| a.ip().is_loopback())
    }
}
