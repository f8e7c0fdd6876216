//! Owns small HTTP requests of the engines: fetching a file of a known size and hash, asking a
//! server that is being tried out. Bounded in time and bytes. Must not know what is fetched.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

const MAX_REDIRECTS: usize = 5;

#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("{url} is not an http or https address")]
    Address { url: String },
    #[error("no certificates of this machine could be read: {0}")]
    Certificates(std::io::Error),
    #[error("{url} could not be reached: {reason}")]
    Unreachable { url: String, reason: String },
    #[error("{url} answered {status}")]
    Status { url: String, status: StatusCode },
    #[error("{url} did not answer within {} s", limit.as_secs())]
    TimedOut { url: String, limit: Duration },
    #[error("{url} sent more than {max_bytes} bytes, or broke off: {reason}")]
    Body { url: String, max_bytes: usize, reason: String },
    #[error("{url} led on to other addresses more than {MAX_REDIRECTS} times")]
    Redirects { url: String },
}

/// An HTTP client; cheap to clone.
#[derive(Clone)]
pub struct Fetch {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Fetch {
    pub fn new() -> Result<Fetch, FetchError> {
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(rustls::crypto::ring::default_provider())
            .map_err(FetchError::Certificates)?
            .https_or_http()
            .enable_http1()
            .build();
        Ok(Fetch { client: Client::builder(TokioExecutor::new()).build(connector) })
    }

    /// The body of a successful answer, redirects followed; also the address it came from.
    pub async fn get(
        &self,
        url: &str,
        max_bytes: usize,
        limit: Duration,
    ) -> Result<(String, Bytes), FetchError> {
        let mut at = url.to_owned();
        let following = async {
            for _ in 0..=MAX_REDIRECTS {
                let (status, location, body) =
                    self.request(Method::GET, &at, Bytes::new(), max_bytes).await?;
                match location {
                    Some(location) if status.is_redirection() => at = join(&at, &location),
                    _ if status.is_success() => return Ok((at, body)),
                    _ => return Err(FetchError::Status { url: at, status }),
                }
            }
            Err(FetchError::Redirects { url: url.to_owned() })
        };
        match tokio::time::timeout(limit, following).await {
            Ok(result) => result,
            Err(_elapsed) => Err(FetchError::TimedOut { url: url.to_owned(), limit }),
        }
    }

    /// Sends JSON; gives back any answer.
    pub async fn post_json(
        &self,
        url: &str,
        body: &serde_json::Value,
        max_bytes: usize,
        limit: Duration,
    ) -> Result<(StatusCode, Bytes), FetchError> {
        let sending = self.request(Method::POST, url, body.to_string().into(), max_bytes);
        match tokio::time::timeout(limit, sending).await {
            Ok(result) => result.map(|(status, _, body)| (status, body)),
            Err(_elapsed) => Err(FetchError::TimedOut { url: url.to_owned(), limit }),
        }
    }

    async fn request(
        &self,
        method: Method,
        url: &str,
        body: Bytes,
        max_bytes: usize,
    ) -> Result<(StatusCode, Option<String>, Bytes), FetchError> {
        let address = || FetchError::Address { url: url.to_owned() };
        let uri: Uri = url.parse().map_err(|_| address())?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(address());
        }
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header(header::USER_AGENT, concat!("mlx-gateway/", env!("CARGO_PKG_VERSION")))
            .header(header::ACCEPT, "text/html, */*;q=0.5")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|_| address())?;
        let unreachable = |reason: String| FetchError::Unreachable { url: url.to_owned(), reason };
        let answer = self.client.request(request).await.map_err(|error| unreachable(chain(&error)))?;
        let status = answer.status();
        let location =
            answer.headers().get(header::LOCATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let body = Limited::new(answer.into_body(), max_bytes).collect().await;
        let body = body.map_err(|error| FetchError::Body {
            url: url.to_owned(),
            max_bytes,
            reason: error.to_string(),
        })?;
        Ok((status, location, body.to_bytes()))
    }
}

/// Resolves a link on a page.
pub fn join(base: &str, link: &str) -> String {
    if link.contains("://") {
        return link.to_owned();
    }
    let (scheme, rest) = base.split_once("://").unwrap_or(("https", base));
    if let Some(other_host) = link.strip_prefix("//") {
        return format!("{scheme}://{other_host}");
    }
    let rest = rest.split(['?', '#']).next().unwrap_or(rest);
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    if let Some(absolute) = link.strip_prefix('/') {
        return format!("{scheme}://{host}/{absolute}");
    }
    let mut segments: Vec<&str> = path.split('/').collect();
    segments.pop();
    for part in link.split('/') {
        match part {
            "." => {}
            ".." => {
                segments.pop();
            }
            part => segments.push(part),
        }
    }
    format!("{scheme}://{host}/{}", segments.join("/"))
}

/// An error with what lies beneath it, since the outermost only says "client error".
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::join;

    #[test]
    fn links_are_resolved_as_a_browser_would() {
        let base = "http://host:81/simple/uv/";
        assert_eq!(join(base, "https://other/a"), "https://other/a");
        assert_eq!(join(base, "//other/a"), "http://other/a");
        assert_eq!(join(base, "/files/a.whl"), "http://host:81/files/a.whl");
        assert_eq!(join(base, "a.whl"), "http://host:81/simple/uv/a.whl");
        assert_eq!(join(base, "../../files/a.whl"), "http://host:81/files/a.whl");
        assert_eq!(join("http://host", "a"), "http://host/a");
    }
}
