//! `[server]`: listeners, folders, body limit, who may reach the gateway by which name.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::reader::Reader;
use super::tree::{Node, Value};
use super::values::{self, Fault};
use super::{Auth, Origin};

/// Where the gateway listens unless told otherwise.
pub const DEFAULT_PORT: u16 = 10242;
const DEFAULT_MAX_BODY: u64 = 64 << 20;
const LARGEST_MAX_BODY: u64 = 16 << 30;
const DEFAULT_BODY_TIMEOUT: Duration = Duration::from_secs(30);
const BODY_TIMEOUTS: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(3600);
const DEFAULT_SHUTDOWN_GRACE: Duration = Duration::from_secs(30);
const LONGEST_SHUTDOWN_GRACE: Duration = Duration::from_secs(24 * 3600);

/// `[server]`
#[derive(Debug, Clone)]
pub struct Server {
    pub listen: Vec<SocketAddr>,
    pub data_dir: PathBuf,
    /// Bytes.
    pub max_body: u64,
    /// Time without much of a request's body, after which the request ends.
    pub body_timeout: Duration,
    pub allowed_hosts: Vec<String>,
    pub cors_origins: Vec<String>,
    pub trusted_proxies: Vec<IpAddr>,
    pub tls: Option<Tls>,
    pub shutdown_grace: Duration,
    /// `--insecure`: a non-loopback listener without required auth is accepted.
    pub insecure: bool,
}

/// `tls`: the certificate and its key, in PEM files.
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

impl Server {
    pub(super) fn read(reader: &Reader<'_>, default_data_dir: Option<&Path>, insecure: bool) -> Self {
        if insecure {
            reader.note_origin("insecure", &Origin::Flag { flag: "--insecure".to_owned() });
        }
        let grace = Duration::ZERO..=LONGEST_SHUTDOWN_GRACE;
        Server {
            listen: read_listen(reader),
            data_dir: read_data_dir(reader, default_data_dir),
            max_body: reader.bytes("max_body", 1..=LARGEST_MAX_BODY).unwrap_or(DEFAULT_MAX_BODY),
            body_timeout: reader.duration("body_timeout", BODY_TIMEOUTS).unwrap_or(DEFAULT_BODY_TIMEOUT),
            allowed_hosts: reader.list("allowed_hosts", host).unwrap_or_default(),
            cors_origins: reader.list("cors_origins", web_origin).unwrap_or_default(),
            trusted_proxies: reader.list("trusted_proxies", proxy).unwrap_or_default(),
            tls: read_tls(reader),
            shutdown_grace: reader.duration("shutdown_grace", grace).unwrap_or(DEFAULT_SHUTDOWN_GRACE),
            insecure,
        }
    }

    /// Refuses to be reachable by others without asking them for a key.
    pub(super) fn check_exposure(&self, auth: &Auth, reader: &Reader<'_>) {
        let open = self.listen.iter().find(|address| !address.ip().is_loopback());
        let Some(address) = open.filter(|_| !auth.asks_everybody() && !self.insecure) else {
            return;
        };
        let message = format!("{address} can be reached by others, and nothing asks them for a key");
        let suggestion =
            "set [auth] api = \"required\" or MLX_GATEWAY_API_KEY, listen on 127.0.0.1, or say --insecure";
        reader.problem("listen", Fault::new(message).suggest(suggestion));
    }
}

fn read_data_dir(reader: &Reader<'_>, default: Option<&Path>) -> PathBuf {
    if let Some(path) = reader.path("data_dir") {
        return path;
    }
    if default.is_none() && !reader.has("data_dir") {
        let fault = Fault::new("is not given, and there is no home (HOME) to keep it in");
        reader.problem("data_dir", fault.suggest("say --data-dir FOLDER"));
    }
    default.map(Path::to_path_buf).unwrap_or_default()
}

/// One address or a list of them.
fn read_listen(reader: &Reader<'_>) -> Vec<SocketAddr> {
    let single = reader.value("listen", |node| match &node.value {
        Value::Text(_) => address(node).map(Some),
        _ => Ok(None),
    });
    let listen = match single {
        Some(Some(address)) => vec![address],
        Some(None) => reader.list("listen", address).unwrap_or_default(),
        None => vec![SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_PORT))],
    };
    if listen.is_empty() {
        reader.problem("listen", Fault::new("names no address").suggest("write \"127.0.0.1:10242\""));
    }
    for (index, address) in listen.iter().enumerate() {
        if address.port() != 0 && listen[..index].contains(address) {
            reader.problem("listen", Fault::new(format!("{address} is given twice")));
        }
    }
    listen
}

fn address(node: &Node) -> Result<SocketAddr, Fault> {
    let text = values::text(node)?;
    let numeric = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => text.clone(),
    };
    if let Ok(address) = numeric.parse() {
        return Ok(address);
    }
    let port = text.rsplit(':').next().and_then(|port| port.parse().ok()).unwrap_or(DEFAULT_PORT);
    let suggestion = format!("write \"127.0.0.1:{port}\", or \"0.0.0.0:{port}\" for every interface");
    Err(Fault::new(format!("{text:?} is not an address with a port")).suggest(suggestion))
}

/// A name as in the `Host` header, without scheme or path; with a port it is allowed there only.
fn host(node: &Node) -> Result<String, Fault> {
    let host = values::some_text(node)?.trim().to_ascii_lowercase();
    let fits = |c: char| c.is_ascii_alphanumeric() || ".-_:[]".contains(c);
    if host.chars().all(fits) {
        return Ok(host);
    }
    Err(Fault::new(format!("{host:?} is not a host name")).suggest("write it as \"gateway.example.com\""))
}

/// What browsers send as `Origin`: scheme, host and port.
fn web_origin(node: &Node) -> Result<String, Fault> {
    let example = "write it as \"https://chat.example.com\"";
    if values::text(node)?.trim() == "*" {
        return Err(Fault::new("must name origins: `*` would let any web page in").suggest(example));
    }
    let url = values::http_url(node, "https://chat.example.com")?;
    match url.split_once("://") {
        Some((_, authority)) if !authority.contains('/') => Ok(url.to_ascii_lowercase()),
        _ => Err(Fault::new("must not have a path").suggest(example)),
    }
}

fn proxy(node: &Node) -> Result<IpAddr, Fault> {
    let text = values::text(node)?;
    match text.trim().parse() {
        Ok(address) => Ok(address),
        Err(_) => {
            Err(Fault::new(format!("{text:?} is not an IP address")).suggest("write each proxy's address"))
        }
    }
}

fn read_tls(reader: &Reader<'_>) -> Option<Tls> {
    if !reader.has("tls") {
        return None;
    }
    reader.table("tls", |tls| {
        let file = |key| {
            let path = tls.path(key);
            match &path {
                Some(path) if !path.is_file() => {
                    tls.problem(key, Fault::new(format!("there is no file {}", path.display())));
                }
                None if !tls.has(key) => {
                    let fault = Fault::new(format!("`{key}` is missing"));
                    tls.problem(
                        "",
                        fault.suggest("tls needs both: { cert = \"cert.pem\", key = \"key.pem\" }"),
                    );
                }
                _ => {}
            }
            path
        };
        let (cert, key) = (file("cert"), file("key"));
        Some(Tls { cert: cert?, key: key? })
    })
}
