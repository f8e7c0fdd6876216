//! Requests to the hub whose bytes we take ourselves: files, from any byte on, and lists that hf-hub
//! does not read whole. Bounded in time and bytes; knows no cache and no job.
//!
//! hf-hub streams files too (`download_file_stream`), but leaves open whether a range was honoured,
//! changes to another protocol (Xet) where the hub offers it, and waits for a silent server without
//! limit; of a file list it drops the SHA-256, and of a refused list the time until which it is refused.
//! So these go over hyper, and Xet-stored files come
//! over the hub's plain address for them, which serves ranges of every file.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use super::answers;
use super::error::{HubError, chain};

const MAX_REDIRECTS: usize = 5;
/// Until the head of an answer is there.
const HEAD_WAIT: Duration = Duration::from_secs(30);
/// Silence in the middle of a body.
pub const SILENCE: Duration = Duration::from_secs(30);
/// Where a rate limit names no time.
const RETRY_AFTER: Duration = Duration::from_secs(30);
/// A hub that names a longer one is asked again sooner.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(600);

/// A client of one hub; cheap to clone.
#[derive(Clone)]
pub struct Wire {
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    endpoint: String,
}

/// An answer that is no refusal, its body unread.
pub struct Opened {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Incoming,
}

/// What is asked for, and what the answer is about, for people.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    pub url: &'a str,
    pub token: Option<&'a str>,
    /// From this byte on.
    pub from: u64,
    pub model: &'a str,
}

impl Wire {
    pub fn new(endpoint: &str) -> Result<Wire, HubError> {
        let offline =
            |reason: String| HubError::Offline { endpoint: endpoint.to_owned(), reason: reason.clone() };
        let mut plain = HttpConnector::new();
        plain.enforce_http(false);
        plain.set_connect_timeout(Some(HEAD_WAIT));
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(rustls::crypto::ring::default_provider())
            .map_err(|error| offline(format!("no certificates of this machine could be read: {error}")))?
            .https_or_http()
            .enable_http1()
            .wrap_connector(plain);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Wire { client, endpoint: endpoint.trim_end_matches('/').to_owned() })
    }

    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Follows redirects; the token goes to the hub itself only, never to where it leads on to.
    pub async fn open(&self, ask: Ask<'_>) -> Result<Opened, HubError> {
        let mut at = ask.url.to_owned();
        for _ in 0..=MAX_REDIRECTS {
            let opened = self.request(&at, &ask).await?;
            let location = opened.headers.get(header::LOCATION).and_then(|value| value.to_str().ok());
            match location {
                Some(location) if opened.status.is_redirection() => at = answers::redirected(&at, location),
                _ if opened.status.is_success() => return Ok(opened),
                _ => return Err(self.refusal(opened.status, &opened.headers, ask.model)),
            }
        }
        Err(HubError::Malformed(format!("{} leads on to other addresses without end", ask.url)))
    }

    /// A whole body of at most `max_bytes`, and the address of the page after it.
    pub async fn read(&self, ask: Ask<'_>, max_bytes: usize) -> Result<(Bytes, Option<String>), HubError> {
        let opened = self.open(ask).await?;
        let links = opened.headers.get(header::LINK).and_then(|links| links.to_str().ok());
        let next = links.and_then(answers::next_page);
        let collecting = Limited::new(opened.body, max_bytes).collect();
        let body = tokio::time::timeout(SILENCE, collecting).await;
        let body = body.map_err(|_elapsed| HubError::Silent { after: SILENCE })?;
        let body = body.map_err(|error| HubError::Cut { reason: error.to_string() })?;
        Ok((body.to_bytes(), next))
    }

    async fn request(&self, url: &str, ask: &Ask<'_>) -> Result<Opened, HubError> {
        let malformed = |what: String| HubError::Malformed(format!("the address {url}: {what}"));
        let uri: Uri = url.parse().map_err(|error: http::uri::InvalidUri| malformed(error.to_string()))?;
        let mut request = Request::get(uri)
            .header(header::USER_AGENT, concat!("mlx-gateway/", env!("CARGO_PKG_VERSION")))
            // Compressed, the bytes would be others than those that are hashed and counted.
            .header(header::ACCEPT_ENCODING, "identity");
        if ask.from > 0 {
            request = request.header(header::RANGE, format!("bytes={}-", ask.from));
        }
        if let Some(token) = ask.token.filter(|_| self.is_own(url)) {
            let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_invalid| {
                malformed("the token cannot be sent; does it hold a line break?".into())
            })?;
            value.set_sensitive(true);
            request = request.header(header::AUTHORIZATION, value);
        }
        let request = request.body(Empty::new()).map_err(|error| malformed(error.to_string()))?;
        let answer = match tokio::time::timeout(HEAD_WAIT, self.client.request(request)).await {
            Err(_elapsed) => return Err(HubError::Silent { after: HEAD_WAIT }),
            Ok(answer) => answer.map_err(|error| self.offline(chain(&error)))?,
        };
        let (head, body) = answer.into_parts();
        Ok(Opened { status: head.status, headers: head.headers, body })
    }

    pub fn offline(&self, reason: String) -> HubError {
        HubError::Offline { endpoint: self.endpoint.clone(), reason }
    }

    /// A refusal in words; also for what hf-hub was told.
    pub fn refusal(&self, status: StatusCode, headers: &HeaderMap, model: &str) -> HubError {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let wait = text("retry-after").and_then(|value| value.trim().parse().ok()).map(Duration::from_secs);
        self.refused(status.as_u16(), text("x-error-code"), wait, model)
    }

    /// The same from its parts.
    pub fn refused(
        &self,
        status: u16,
        code: Option<&str>,
        retry_after: Option<Duration>,
        model: &str,
    ) -> HubError {
        let model = model.to_owned();
        match (status, code) {
            (401 | 403, Some("GatedRepo")) => {
                HubError::Gated { url: format!("{}/{model}", self.endpoint), model }
            }
            (401 | 403, _) => HubError::NoAccess { model },
            (404, _) => HubError::NotFound(model),
            (429, _) => {
                let retry_after = retry_after.unwrap_or(RETRY_AFTER).min(RETRY_AFTER_MAX);
                HubError::RateLimited { retry_after }
            }
            (status, _) => HubError::Status { status },
        }
    }

    fn is_own(&self, url: &str) -> bool {
        let rest = url.strip_prefix(&self.endpoint);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_goes_to_the_hub_itself_only() {
        let wire = Wire::new("http://hub.test").unwrap();
        assert!(wire.is_own("http://hub.test/a/b/resolve/main/x"));
        assert!(!wire.is_own("http://hub.test.evil.org/a"));
        assert!(!wire.is_own("http://cdn.test/a"));
    }

    #[test]
    fn refusals_are_told_apart() {
        let wire = Wire::new("http://hub.test").unwrap();
        let refused = |status, code| wire.refused(status, code, None, "a/b").code();
        assert_eq!(refused(401, Some("GatedRepo")), "model_gated");
        assert_eq!(refused(401, None), "model_not_accessible");
        assert_eq!(refused(404, None), "not_found");
        assert_eq!(refused(429, None), "hub_rate_limited");
        assert_eq!(refused(500, None), "hub_error");
        let long = wire.refused(429, None, Some(Duration::from_secs(99_999)), "a/b");
        assert_eq!(long.retry_after(), Some(RETRY_AFTER_MAX));
    }
}
