//! One thing fetched by its URL: from public addresses unless more is allowed, without redirects, within
//! bounds of size and time.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use super::address::Network;
use super::connect::{ConnectError, Resolve, connect, system_resolver};
use super::destination::Destination;

/// Characters of a URL.
const URL_MAX: usize = 4096;

/// Fetches, as far as it may.
#[derive(Clone)]
pub struct Fetcher {
    /// Addresses that may be reached although they are private.
    pub allow_private: Vec<Network>,
    /// Bytes of one thing.
    pub size_max: usize,
    /// How long one may take, from the name to the last byte.
    pub time_max: Duration,
    pub resolve: Resolve,
}

/// What came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Without parameters; empty: the server did not say.
    pub media_type: String,
    pub bytes: Bytes,
}

/// Why nothing came.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("it is not an http or https URL")]
    Url,
    #[error("{0}")]
    Connect(#[from] ConnectError),
    #[error("the connection broke: {0}")]
    Broken(#[from] hyper::Error),
    #[error("the server answered {0}")]
    Status(StatusCode),
    #[error("it is larger than {0} bytes")]
    TooLarge(usize),
    #[error("it took longer than {} s", .0.as_secs_f64())]
    TooSlow(Duration),
}

impl Fetcher {
    /// Fetches at most `size_max` bytes within `time_max`, from public addresses and `allow_private`.
    pub fn new(allow_private: Vec<Network>, size_max: usize, time_max: Duration) -> Fetcher {
        Fetcher { allow_private, size_max, time_max, resolve: system_resolver() }
    }

    /// The body at an `http(s)` URL; redirects are refused.
    pub async fn fetch(&self, url: &str) -> Result<Fetched, FetchError> {
        let fetching = tokio::time::timeout(self.time_max, self.get(url));
        fetching.await.map_err(|_| FetchError::TooSlow(self.time_max))?
    }

    async fn get(&self, url: &str) -> Result<Fetched, FetchError> {
        let (destination, request) = request(url).ok_or(FetchError::Url)?;
        let stream = connect(&destination, &self.allow_private, &self.resolve).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::pin!(connection);
        let getting = async {
            let response = sender.send_request(request).await?;
            if response.status() != StatusCode::OK {
                return Err(FetchError::Status(response.status()));
            }
            let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
            let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default();
            let media_type = kind.trim().to_ascii_lowercase();
            let (mut body, mut bytes) = (response.into_body(), BytesMut::new());
            while let Some(frame) = body.frame().await {
                let Ok(piece) = frame?.into_data() else { continue };
                if bytes.len() + piece.len() > self.size_max {
                    return Err(FetchError::TooLarge(self.size_max));
                }
                bytes.extend_from_slice(&piece);
            }
            Ok(Fetched { media_type, bytes: bytes.freeze() })
        };
        tokio::pin!(getting);
        // The connection moves only while somebody looks at it; its end may come before the answer's.
        tokio::select! {
            biased;
            got = &mut getting => got,
            ended = &mut connection => {
                ended?;
                getting.await
            }
        }
    }
}

/// Where to, and what is said there; none: it is no URL that is fetched.
fn request(url: &str) -> Option<(Destination, Request<Empty<Bytes>>)> {
    if url.len() > URL_MAX {
        return None;
    }
    // What stands behind a # is never sent.
    let uri: Uri = url.split('#').next()?.parse().ok()?;
    let https = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => false,
        _ => return None,
    };
    let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'))?;
    let destination = Destination::new(https, authority.host(), authority.port_u16());
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let shown = destination.to_string();
    let host = HeaderValue::from_str(shown.split_once("://")?.1).ok()?;
    let agent = concat!("mlx-gateway/", env!("CARGO_PKG_VERSION"));
    let request = Request::get(path)
        .header(header::HOST, host)
        .header(header::USER_AGENT, agent)
        .header(header::ACCEPT, "image/*")
        .header(header::CONNECTION, "close")
        .body(Empty::new());
    Some((destination, request.ok()?))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    /// Answers each connection with these bytes, and then stays silent.
    async fn server(answer: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let mut open = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut buffer = vec![0; 4096];
                drop(stream.read(&mut buffer).await);
                drop(stream.write_all(answer.as_bytes()).await);
                open.push(stream);
            }
        });
        url
    }

    fn fetcher(allowed: &[&str]) -> Fetcher {
        let allowed = allowed.iter().map(|net| Network::parse(net).unwrap()).collect();
        Fetcher::new(allowed, 8, PATIENCE)
    }

    #[tokio::test]
    async fn what_is_allowed_comes_with_its_type() {
        let url =
            server("HTTP/1.1 200 OK\r\ncontent-type: Image/PNG; x=y\r\ncontent-length: 3\r\n\r\nPNG").await;
        let fetched = fetcher(&["127.0.0.1"]).fetch(&format!("{url}/a.png?b#c")).await.unwrap();
        assert_eq!((fetched.media_type.as_str(), &fetched.bytes[..]), ("image/png", &b"PNG"[..]));
    }

    #[tokio::test]
    async fn what_is_private_elsewhere_too_large_or_not_there_does_not_come() {
        let allowed = fetcher(&["127.0.0.1"]);
        let large = server("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n123456789").await;
        assert!(matches!(allowed.fetch(&large).await, Err(FetchError::TooLarge(8))));
        assert!(matches!(
            fetcher(&[]).fetch(&large).await,
            Err(FetchError::Connect(ConnectError::Forbidden(_)))
        ));
        let moved =
            server("HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1/\r\ncontent-length: 0\r\n\r\n").await;
        assert!(matches!(allowed.fetch(&moved).await, Err(FetchError::Status(StatusCode::FOUND))));
        for wrong in ["file:///etc/passwd", "http://u@127.0.0.1/", "127.0.0.1", "ftp://x/", "http://"] {
            assert!(matches!(allowed.fetch(wrong).await, Err(FetchError::Url)), "{wrong}");
        }
        let mut rebinding = fetcher(&[]);
        rebinding.resolve = std::sync::Arc::new(|_| {
            Box::pin(async { Ok(vec!["8.8.8.8".parse().unwrap(), "10.0.0.1".parse().unwrap()]) })
        });
        let named = rebinding.fetch("http://pictures.example/").await;
        assert!(matches!(named, Err(FetchError::Connect(ConnectError::Forbidden(_)))), "{named:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_never_ends_is_left() {
        let url = server("HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n1234").await;
        let slow = fetcher(&["127.0.0.1"]).fetch(&url).await;
        assert!(matches!(slow, Err(FetchError::TooSlow(PATIENCE))), "{slow:?}");
    }
}
