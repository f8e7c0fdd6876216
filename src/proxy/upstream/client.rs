//! Sends a request over a kept or a new connection.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::uri::{PathAndQuery, Uri};
use http::{HeaderValue, Method, Request, Response, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tower::Service;

use super::pool::{Connection, Key, Pool};
use super::{Outgoing, UpstreamError, UpstreamRequest};

/// Time a connection may take to come about.
const CONNECT_LIMIT: std::time::Duration = std::time::Duration::from_secs(10);
/// Bytes that a body gives without a pause. Then other tasks of the serving thread get a turn, however fast the upstream
/// is and however much work each byte makes.
const BURST: usize = 256 << 10;

#[derive(Clone, Default)]
pub struct Client {
    pool: Pool,
    tls: Arc<std::sync::OnceLock<HttpsConnector<HttpConnector>>>,
}

/// An answer's body; moves its own bytes, and gives its connection back when it has ended.
#[derive(Debug)]
pub struct UpstreamBody {
    incoming: Incoming,
    connection: Option<(Connection, Key, Pool)>,
    place: Option<OwnedSemaphorePermit>,
    /// Bytes given since the last pause.
    given: usize,
}

impl Client {
    /// Sends a request over a kept connection, or over a new one: if there is none, or if it must be `fresh`.
    pub async fn send(
        &self,
        request: &UpstreamRequest,
        fresh: bool,
    ) -> Result<Response<UpstreamBody>, UpstreamError> {
        let key = Key { authority: request.target.authority.clone(), https: request.target.https };
        let kept = if fresh { None } else { self.pool.take(&key) };
        let reused = kept.is_some();
        let mut connection = match kept {
            Some(connection) => connection,
            // Rare, and large: in a place of its own.
            None => Box::pin(self.connect(&key)).await?,
        };
        let sending = connection.sender.send_request(head(request)?);
        let sent = driven(&mut connection, sending).await;
        let answer = sent.map_err(|error| {
            // Cancelled: the connection ended before the request was sent. A reused connection that ends without an
            // answer was closed while it was idle.
            if error.is_canceled() || (reused && (error.is_incomplete_message() || error.is_closed())) {
                UpstreamError::Stale
            } else {
                UpstreamError::Broken(error.to_string())
            }
        })?;
        let keep = Some((connection, key, self.pool));
        Ok(answer.map(|incoming| {
            let mut body = UpstreamBody { incoming, connection: keep, place: None, given: 0 };
            if body.incoming.is_end_stream() {
                body.done();
            }
            body
        }))
    }

    async fn connect(&self, key: &Key) -> Result<Connection, UpstreamError> {
        let failed = |reason: String| UpstreamError::Connect { authority: key.authority.to_string(), reason };
        let connecting = async {
            if key.https {
                let mut connector = self.connector()?;
                let uri = Uri::builder()
                    .scheme("https")
                    .authority(key.authority.clone())
                    .path_and_query("/")
                    .build();
                let uri = uri.map_err(|error| UpstreamError::Address(error.to_string()))?;
                let stream = connector.call(uri).await.map_err(|error| failed(error.to_string()))?;
                self.handshake(stream).await
            } else {
                let address =
                    (key.authority.host().trim_matches(['[', ']']), key.authority.port_u16().unwrap_or(80));
                let stream = TcpStream::connect(address).await.map_err(|error| failed(error.to_string()))?;
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "TCP_NODELAY could not be set");
                }
                self.handshake(TokioIo::new(stream)).await
            }
        };
        let late = |_| failed(format!("no connection within {} s", CONNECT_LIMIT.as_secs()));
        tokio::time::timeout(CONNECT_LIMIT, connecting).await.map_err(late)?
    }

    async fn handshake<T>(&self, io: T) -> Result<Connection, UpstreamError>
    where
        T: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    {
        let broken = |error: hyper::Error| UpstreamError::Broken(error.to_string());
        let (sender, connection) = http1::handshake(io).await.map_err(broken)?;
        Ok(Connection { sender, driver: Box::pin(connection) })
    }

    fn connector(&self) -> Result<HttpsConnector<HttpConnector>, UpstreamError> {
        if let Some(connector) = self.tls.get() {
            return Ok(connector.clone());
        }
        let ring = rustls::crypto::ring::default_provider();
        let builder = HttpsConnectorBuilder::new().with_provider_and_native_roots(ring).map_err(|error| {
            UpstreamError::Address(format!("the system's certificates cannot be read: {error}"))
        })?;
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        let connector = builder.https_only().enable_http1().wrap_connector(http);
        Ok(self.tls.get_or_init(|| connector).clone())
    }
}

impl UpstreamBody {
    /// Keeps a place until the body is done with.
    pub fn hold(&mut self, place: OwnedSemaphorePermit) {
        if self.connection.is_some() {
            self.place = Some(place);
        }
    }

    fn done(&mut self) {
        self.place = None;
        if let Some((connection, key, pool)) = self.connection.take() {
            pool.put(key, connection);
        }
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = &mut *self;
        if this.given > BURST {
            this.given = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let mut frame = Pin::new(&mut this.incoming).poll_frame(cx);
        if frame.is_pending()
            && let Some((connection, ..)) = &mut this.connection
        {
            // What it brings is there at once; what it does not bring wakes this task.
            connection.drive(cx);
            frame = Pin::new(&mut this.incoming).poll_frame(cx);
        }
        if frame.is_pending() {
            this.given = 0;
            return Poll::Pending;
        }
        let frame = std::task::ready!(frame);
        if let Some(Ok(piece)) = &frame {
            this.given += piece.data_ref().map_or(0, Bytes::len);
        }
        let is_last = match &frame {
            Some(Ok(frame)) => frame.is_trailers() || this.incoming.is_end_stream(),
            Some(Err(_)) => false,
            None => true,
        };
        if is_last {
            this.done();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// Waits for `outcome` and moves the connection's bytes meanwhile.
async fn driven<T>(connection: &mut Connection, outcome: impl Future<Output = T>) -> T {
    let mut outcome = std::pin::pin!(outcome);
    std::future::poll_fn(|cx| {
        if let Poll::Ready(outcome) = outcome.as_mut().poll(cx) {
            return Poll::Ready(outcome);
        }
        connection.drive(cx);
        outcome.as_mut().poll(cx)
    })
    .await
}

/// The request as it goes over the wire: origin form, with `Host`.
fn head(request: &UpstreamRequest) -> Result<Request<Outgoing>, UpstreamError> {
    let address = |error: String| UpstreamError::Address(error);
    let path = [request.target.base_path.as_str(), request.message.path].concat();
    let path = PathAndQuery::try_from(path).map_err(|error| address(error.to_string()))?;
    let host = HeaderValue::try_from(request.target.authority.as_str())
        .map_err(|error| address(error.to_string()))?;
    let mut headers = request.message.headers.clone();
    headers.insert(header::HOST, host);
    if let Some(bearer) = &request.target.bearer {
        headers.insert(header::AUTHORIZATION, bearer.clone());
    }
    let mut out = Request::new(request.message.body());
    *out.method_mut() = Method::POST;
    *out.uri_mut() = Uri::from(path);
    *out.headers_mut() = headers;
    Ok(out)
}
