//! Outgoing HTTP of plugins: only to what was granted, by a name that is resolved once, over an
//! address that was checked and is then the one connected to. No redirects, no pool, every size and
//! time bounded. Knows nothing of what is asked.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderName, HeaderValue, Request, Response, Uri, header};
use http_body_util::BodyExt;
use hyper::client::conn::http1;
use wasmtime_wasi_http::io::TokioIo;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use super::body::Bounded;
use crate::outward::{ConnectError, Destination, Network, Resolve, Stream, connect, system_resolver};

/// Of one call: requests, and bytes of their bodies in both directions together.
pub const REQUESTS_MAX: u32 = 32;
pub const BYTES_MAX: u64 = 8 << 20;
/// How long a connection may take, TLS included, and how long the first byte and each further one,
/// unless the guest asks for less. The call's own deadline stands above all.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
const SILENCE_LIMIT: Duration = Duration::from_secs(30);

type Io = Box<dyn Future<Output = Result<(), Error>> + Send>;

/// What a plugin may reach.
#[derive(Clone)]
pub struct Access {
    pub destinations: Vec<Destination>,
    pub allow_private: Vec<Network>,
    pub secrets: Vec<SecretHeader>,
    pub resolve: Resolve,
}

/// A header that the host adds, whatever the guest has set.
#[derive(Clone)]
pub struct SecretHeader {
    pub destination: Destination,
    pub header: HeaderName,
    /// Marked sensitive.
    pub value: HeaderValue,
}

/// Of one call.
#[derive(Clone)]
pub struct Connector {
    access: Arc<Access>,
    spent: Arc<Spent>,
}

/// What one call has used, and what it was refused.
#[derive(Debug, Default)]
pub struct Spent {
    requests: AtomicU32,
    pub bytes: AtomicU64,
    pub over: AtomicBool,
    denied: Mutex<Option<String>>,
}

impl Access {
    /// Nothing at all.
    pub fn none() -> Access {
        Access {
            destinations: Vec::new(),
            allow_private: Vec::new(),
            secrets: Vec::new(),
            resolve: system_resolver(),
        }
    }
}

impl Connector {
    pub fn new(access: Arc<Access>) -> Connector {
        Connector { access, spent: Arc::default() }
    }

    /// Why a request was refused, where one was.
    pub fn denied(&self) -> Option<String> {
        self.spent.denied.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// More was asked than one call may.
    pub fn is_over(&self) -> bool {
        self.spent.over.load(Ordering::Relaxed)
    }

    fn deny(&self, reason: String) -> Error {
        *self.spent.denied.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
        Error::HttpRequestDenied
    }

    async fn send(
        self,
        mut request: Request<WasiBody>,
        options: Option<RequestOptions>,
    ) -> Result<(Response<WasiBody>, Io), Error> {
        if self.spent.requests.fetch_add(1, Ordering::Relaxed) >= REQUESTS_MAX {
            self.spent.over.store(true, Ordering::Relaxed);
            return Err(Error::ConnectionLimitReached);
        }
        let destination = self.granted(request.uri())?;
        self.dress(&mut request, &destination)?;
        let options = options.unwrap_or_default();
        let within = |asked: Option<Duration>, limit: Duration| asked.map_or(limit, |asked| asked.min(limit));
        let connecting = self.connect(&destination);
        let stream = tokio::time::timeout(within(options.connect_timeout, CONNECT_LIMIT), connecting)
            .await
            .map_err(|_| Error::ConnectionTimeout)??;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let spent = Arc::clone(&self.spent);
        let silence = within(options.between_bytes_timeout, SILENCE_LIMIT);
        let request = request.map(|body| Bounded::new(body, Arc::clone(&spent), SILENCE_LIMIT));
        let sending = sender.send_request(request);
        let answered = async {
            tokio::pin!(sending);
            let mut driven: Pin<Io> = Box::pin(async move { connection.await.map_err(Error::from) });
            let answer = tokio::select! {
                biased;
                answer = &mut sending => answer,
                ended = &mut driven => {
                    ended?;
                    // A server that closes after a short answer has ended it. A future that has ended must not be
                    // handed on, because it is polled again.
                    driven = Box::pin(async { Ok(()) });
                    sending.await
                }
            };
            Ok::<_, Error>((answer?, driven))
        };
        let first_byte = within(options.first_byte_timeout, SILENCE_LIMIT);
        let (response, driven) =
            tokio::time::timeout(first_byte, answered).await.map_err(|_| Error::ConnectionReadTimeout)??;
        let body = |body: hyper::body::Incoming| {
            Bounded::new(body.map_err(Error::from).boxed_unsync(), spent, silence).boxed_unsync()
        };
        Ok((response.map(body), Box::new(driven)))
    }

    /// The destination of a request, where the plugin may reach it.
    fn granted(&self, uri: &Uri) -> Result<Destination, Error> {
        let authority = uri.authority().ok_or(Error::HttpRequestUriInvalid)?;
        if authority.as_str().contains('@') {
            return Err(Error::HttpRequestUriInvalid);
        }
        let https = uri.scheme() != Some(&http::uri::Scheme::HTTP);
        let destination = Destination::new(https, authority.host(), authority.port_u16());
        if self.access.destinations.contains(&destination) {
            return Ok(destination);
        }
        Err(self.deny(format!("the plugin may not send requests to {destination}: that was not granted")))
    }

    /// Origin form, the right host, and the secrets that belong there.
    fn dress<B>(&self, request: &mut Request<B>, destination: &Destination) -> Result<(), Error> {
        let path = request.uri().path_and_query().cloned();
        *request.uri_mut() = path.map_or_else(|| Uri::from_static("/"), Uri::from);
        let url = destination.to_string();
        let host = url.split_once("://").map_or(url.as_str(), |(_, host)| host);
        let host = HeaderValue::from_str(host).map_err(|_| Error::HttpRequestUriInvalid)?;
        request.headers_mut().insert(header::HOST, host);
        for secret in self.access.secrets.iter().filter(|secret| secret.destination == *destination) {
            request.headers_mut().insert(secret.header.clone(), secret.value.clone());
        }
        Ok(())
    }

    async fn connect(&self, destination: &Destination) -> Result<Box<dyn Stream>, Error> {
        let connected = connect(destination, &self.access.allow_private, &self.access.resolve).await;
        connected.map_err(|error| match error {
            ConnectError::Name(why) => Error::DnsError { rcode: Some(why), info_code: None },
            ConnectError::Forbidden(address) => {
                self.deny(format!(
                    "{} leads to {address}, which is not a public address; permissions.allow_private could allow it",
                    destination.host
                ));
                Error::DestinationIpProhibited
            }
            ConnectError::Connect(error) => Error::Connect(error),
            ConnectError::Tls(error) => Error::Tls(error),
            ConnectError::Host => Error::HttpRequestUriInvalid,
            ConnectError::NoTls(_) => Error::ConfigurationError,
        })
    }
}

impl WasiHttpHooks for Connector {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _processed: Io,
    ) -> Box<dyn Future<Output = Result<(Response<WasiBody>, Io), Error>> + Send> {
        Box::new(self.clone().send(request, options))
    }
}

#[cfg(test)]
#[path = "connector_tests.rs"]
mod tests;
