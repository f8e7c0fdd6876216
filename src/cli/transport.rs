//! One way to send a request, over three roads: the socket in the data directory, a URL, or a
//! service in this very process. Knows HTTP, not the admin API.

use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderValue, Request, Response, Uri, header};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::client::conn::http1;
use hyper::rt::{Read, Write};
use hyper_rustls::{HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use tower::util::BoxCloneSyncService;
use tower::{Service, ServiceExt};

/// A connection that is not there by then is not coming.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// A body in either direction.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;
/// The gateway's own routes, answering without a connection.
pub type InProcess = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

type Tcp = TokioIo<TcpStream>;

/// A road to a gateway.
#[derive(Debug, Clone)]
pub enum Transport {
    Socket(PathBuf),
    Http { base: Base, key: Option<HeaderValue> },
    InProcess(InProcess),
}

/// Where a gateway is, and the path under which it is mounted there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    uri: Uri,
    /// Without a slash at its end; usually empty.
    prefix: String,
}

#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// There is no gateway at the other end.
    #[error("{place} cannot be reached: {}", chain(.source.as_ref()))]
    Absent { place: String, source: BoxError },
    #[error("{place} belongs to somebody else: {source}")]
    Denied { place: String, source: BoxError },
    #[error("the connection broke: {}", chain(.0.as_ref()))]
    Broken(BoxError),
}

/// Makes the road of routes that live in this process, such as a router.
pub fn in_process<S, B>(routes: S) -> Transport
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let boxed = routes.map_response(|answer: Response<B>| answer.map(into_body));
    Transport::InProcess(BoxCloneSyncService::new(boxed))
}

/// Whether a gateway listens on the socket.
pub async fn knock(socket: &Path) -> Result<(), TransportError> {
    connect_socket(socket).await.map(drop)
}

/// Any body as the one type that roads carry.
pub fn into_body<B>(body: B) -> Body
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    UnsyncBoxBody::new(body.map_err(Into::into))
}

impl Transport {
    /// Sends a request whose URI is a path, and gives the answer once its head is there.
    pub async fn send(&self, mut request: Request<Body>) -> Result<Response<Body>, TransportError> {
        match self {
            Transport::Socket(path) => {
                let stream = connect_socket(path).await?;
                request.headers_mut().insert(header::HOST, HeaderValue::from_static("localhost"));
                exchange(TokioIo::new(stream), request).await
            }
            Transport::Http { base, key } => {
                base.address(&mut request, key.as_ref())?;
                if base.uri.scheme() == Some(&Scheme::HTTPS) {
                    exchange(connect_tls(base).await?, request).await
                } else {
                    exchange(connect_tcp(base).await?, request).await
                }
            }
            Transport::InProcess(routes) => match routes.clone().oneshot(request).await {
                Ok(answer) => Ok(answer),
                Err(never) => match never {},
            },
        }
    }
}

impl Base {
    /// Reads `http://host:port`, with or without scheme, trailing slash or `/v1`.
    pub fn parse(text: &str) -> Result<Base, String> {
        let wrong = |why: &str| format!("--server {text}: {why}; write it like http://mac.local:10242");
        let full = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let uri: Uri = full.parse().map_err(|error| wrong(&format!("not a URL ({error})")))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(wrong("only http and https are understood"));
        }
        if uri.host().is_none_or(str::is_empty) {
            return Err(wrong("it names no host"));
        }
        let path = uri.path().trim_end_matches('/');
        // People have the address of the OpenAI endpoint at hand.
        let prefix = path.strip_suffix("/v1").unwrap_or(path).to_owned();
        Ok(Base { uri, prefix })
    }

    pub fn place(&self) -> String {
        let scheme = self.uri.scheme_str().unwrap_or("http");
        format!("{scheme}://{}{}", self.authority(), self.prefix)
    }

    fn authority(&self) -> &str {
        // What stands before an @ is a credential, which belongs into no header and no message.
        let authority = self.uri.authority().map_or("", |authority| authority.as_str());
        authority.rsplit_once('@').map_or(authority, |(_, host)| host)
    }

    fn address(&self, request: &mut Request<Body>, key: Option<&HeaderValue>) -> Result<(), TransportError> {
        let path = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
        let uri = format!("{}{path}", self.prefix).parse().map_err(broken)?;
        *request.uri_mut() = uri;
        let host = HeaderValue::from_str(self.authority()).map_err(broken)?;
        request.headers_mut().insert(header::HOST, host);
        if let Some(key) = key {
            request.headers_mut().insert(header::AUTHORIZATION, key.clone());
        }
        Ok(())
    }

    fn absent(&self, source: impl Into<BoxError>) -> TransportError {
        TransportError::Absent { place: self.place(), source: source.into() }
    }
}

async fn connect_socket(path: &Path) -> Result<UnixStream, TransportError> {
    within(UnixStream::connect(path)).await.map_err(|source: io::Error| {
        let place = path.display().to_string();
        match source.kind() {
            io::ErrorKind::PermissionDenied => TransportError::Denied { place, source: source.into() },
            _ => TransportError::Absent { place, source: source.into() },
        }
    })
}

async fn connect_tcp(base: &Base) -> Result<Tcp, TransportError> {
    let dial = tcp().map_err(BoxError::from).oneshot(base.uri.clone());
    within(dial).await.map_err(|error| base.absent(error))
}

async fn connect_tls(base: &Base) -> Result<MaybeHttpsStream<Tcp>, TransportError> {
    let mut tcp = tcp();
    tcp.enforce_http(false);
    let dial = HttpsConnectorBuilder::new()
        .with_provider_and_native_roots(rustls::crypto::ring::default_provider())
        .map_err(|error| base.absent(error))?
        .https_only()
        .enable_http1()
        .wrap_connector(tcp)
        .oneshot(base.uri.clone());
    within(dial).await.map_err(|error| base.absent(error))
}

fn tcp() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector
}

/// Sends over a connection of its own, which lives as long as the answer's body is held.
async fn exchange<C>(io: C, request: Request<Body>) -> Result<Response<Body>, TransportError>
where
    C: Read + Write + Send + Unpin + 'static,
{
    let (mut sender, connection) = http1::handshake(io).await.map_err(broken)?;
    let mut driver = JoinSet::new();
    driver.spawn(async move {
        // An error here reaches the caller through the request or the body.
        connection.await.ok();
    });
    let answer = sender.send_request(request).await.map_err(broken)?;
    Ok(answer.map(|body| into_body(Connected { body, _driver: driver })))
}

/// A body with the task that drives its connection: dropping it hangs up, which is how the gateway
/// learns that nobody listens any more.
struct Connected {
    body: Incoming,
    _driver: JoinSet<()>,
}

impl http_body::Body for Connected {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

async fn within<T, E>(connect: impl Future<Output = Result<T, E>>) -> Result<T, E>
where
    E: From<io::Error>,
{
    match tokio::time::timeout(CONNECT_TIMEOUT, connect).await {
        Ok(result) => result,
        Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
    }
}

/// An error with its reasons, each said once.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut words = error.to_string();
    let mut reason = error.source();
    while let Some(next) = reason {
        let said = next.to_string();
        if !words.contains(&said) {
            words.push_str(": ");
            words.push_str(&said);
        }
        reason = next.source();
    }
    words
}

fn broken(error: impl Into<BoxError>) -> TransportError {
    TransportError::Broken(error.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_be_written_as_people_have_it_at_hand() {
        let place = |text| Base::parse(text).map(|base| base.place());
        for text in [
            "http://mac.local:10242",
            "mac.local:10242",
            "http://mac.local:10242/",
            "http://mac.local:10242/v1/",
        ] {
            assert_eq!(place(text).as_deref(), Ok("http://mac.local:10242"), "{text}");
        }
        assert_eq!(place("https://h/llm/").as_deref(), Ok("https://h/llm"));
        assert_eq!(place("http://me:secret@h:1").as_deref(), Ok("http://h:1"));
    }

    #[test]
    fn an_address_that_cannot_be_used_is_refused_with_an_example() {
        for text in ["ftp://h", "http://", "", "http://a b"] {
            let message = Base::parse(text).err().unwrap_or_default();
            assert!(message.contains("write it like http://"), "{text}: {message}");
        }
    }
}
