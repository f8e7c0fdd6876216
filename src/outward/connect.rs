//! Connections to what a name leads to, where it may be reached.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use hyper_rustls::ConfigBuilderExt;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::address::{Network, may_reach};
use super::destination::Destination;

/// Addresses of a name that are looked at.
const ADDRESSES_MAX: usize = 16;

type Resolved = Pin<Box<dyn Future<Output = std::io::Result<Vec<IpAddr>>> + Send>>;

/// Turns a name into addresses.
pub type Resolve = Arc<dyn Fn(String) -> Resolved + Send + Sync>;

/// A connection, encrypted or not.
pub trait Stream: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin {}
impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin> Stream for T {}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("the name is not known: {0}")]
    Name(String),
    /// One address that may not be reached is a reason to trust none of them.
    #[error("it leads to {0}, which is not a public address")]
    Forbidden(IpAddr),
    #[error("{0}")]
    Connect(std::io::Error),
    #[error("the connection cannot be encrypted: {0}")]
    Tls(std::io::Error),
    #[error("the host cannot be named in a certificate")]
    Host,
    #[error("no encryption is set up: {0}")]
    NoTls(String),
}

/// The system's name service.
pub fn system_resolver() -> Resolve {
    Arc::new(|host| {
        Box::pin(async move {
            let found = tokio::net::lookup_host((host.as_str(), 0)).await?;
            Ok(found.map(|address| address.ip()).take(ADDRESSES_MAX).collect())
        })
    })
}

/// Connects to a server, if all that its name leads to may be reached.
pub async fn connect(
    destination: &Destination,
    allow_private: &[Network],
    resolve: &Resolve,
) -> Result<Box<dyn Stream>, ConnectError> {
    let addresses = match destination.host.parse::<IpAddr>() {
        Ok(address) => vec![address],
        Err(_) => {
            resolve(destination.host.clone()).await.map_err(|error| ConnectError::Name(error.to_string()))?
        }
    };
    if let Some(address) = addresses.iter().find(|ip| !may_reach(**ip, allow_private)) {
        return Err(ConnectError::Forbidden(*address));
    }
    let mut last = ConnectError::Name("it has no address".to_owned());
    for address in addresses {
        match TcpStream::connect(SocketAddr::new(address, destination.port)).await {
            Ok(stream) if destination.https => return secured(stream, &destination.host).await,
            Ok(stream) => return Ok(Box::new(stream)),
            Err(error) => last = ConnectError::Connect(error),
        }
    }
    Err(last)
}

async fn secured(stream: TcpStream, host: &str) -> Result<Box<dyn Stream>, ConnectError> {
    let name = ServerName::try_from(host.to_owned()).map_err(|_| ConnectError::Host)?;
    let stream = TlsConnector::from(tls()?).connect(name, stream).await.map_err(ConnectError::Tls)?;
    Ok(Box::new(stream))
}

/// Read once: the system's certificates.
fn tls() -> Result<Arc<ClientConfig>, ConnectError> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    if let Some(config) = CONFIG.get() {
        return Ok(Arc::clone(config));
    }
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(ring)
        .with_safe_default_protocol_versions()
        .map_err(|error| ConnectError::NoTls(error.to_string()))?;
    let config = builder.with_native_roots().map_err(|error| ConnectError::NoTls(error.to_string()))?;
    Ok(Arc::clone(CONFIG.get_or_init(|| Arc::new(config.with_no_client_auth()))))
}
