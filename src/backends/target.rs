//! Where a ready backend is reached. Knows nothing of requests.

use crate::config::{KeySource, Upstream};
use crate::system::files;
use http::HeaderValue;
use http::uri::{Authority, Scheme, Uri};
use std::path::Path;

/// The path that takes the place of the client's `/v1` when a backend is one of our own processes.
const LOCAL_BASE_PATH: &str = "/v1";

/// Bytes of a file that holds a key.
const KEY_FILE_MAX: u64 = 64 << 10;

/// Where requests of a backend go: a process on this machine, or another server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// `127.0.0.1:49152`, or host and optional port of another server.
    pub authority: Authority,
    /// Stands where the client wrote `/v1`; begins with `/` or is empty, never ends with `/`.
    pub base_path: String,
    pub https: bool,
    /// A whole `authorization` value, marked as sensitive.
    pub bearer: Option<HeaderValue>,
}

/// Why `url` or its key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    #[error("`url = \"{url}\"` is not a usable address: {why}")]
    Url { url: String, why: String },
    #[error(
        "the environment variable `{0}` that `api_key_env` names is not set; set it or remove `api_key_env`"
    )]
    NoVariable(String),
    #[error("the key file {path} cannot be read: {source}")]
    NoFile { path: String, source: std::io::Error },
    #[error("the upstream's key holds characters that no header may have")]
    BadKey,
}

impl Target {
    /// A process of ours on 127.0.0.1.
    pub fn local(port: u16) -> Result<Target, TargetError> {
        let text = format!("127.0.0.1:{port}");
        let authority = Authority::try_from(text.as_str())
            .map_err(|error| TargetError::Url { url: text, why: error.to_string() })?;
        Ok(Target { authority, base_path: LOCAL_BASE_PATH.to_owned(), https: false, bearer: None })
    }

    /// Another server; reads its key.
    pub fn upstream(upstream: &Upstream) -> Result<Target, TargetError> {
        let bad = |why: String| TargetError::Url { url: upstream.url.clone(), why };
        let uri: Uri = upstream.url.parse().map_err(|e: http::uri::InvalidUri| bad(e.to_string()))?;
        let https = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            _ => return Err(bad("it must begin with http:// or https://".into())),
        };
        let authority = uri.authority().cloned().ok_or_else(|| bad("it names no host".into()))?;
        if authority.as_str().contains('@') {
            return Err(bad("it must not hold a user or password; use `api_key_env`".into()));
        }
        Ok(Target {
            authority,
            base_path: uri.path().trim_end_matches('/').to_owned(),
            https,
            bearer: upstream.api_key.as_ref().map(bearer).transpose()?,
        })
    }
}

fn bearer(source: &KeySource) -> Result<HeaderValue, TargetError> {
    let key = match source {
        KeySource::Env(name) => {
            std::env::var(name).map_err(|_unset| TargetError::NoVariable(name.clone()))?
        }
        KeySource::File(path) => read_key(path)?,
    };
    let mut value =
        HeaderValue::try_from(format!("Bearer {}", key.trim())).map_err(|_invalid| TargetError::BadKey)?;
    value.set_sensitive(true);
    Ok(value)
}

fn read_key(path: &Path) -> Result<String, TargetError> {
    files::read_to_string(path, KEY_FILE_MAX)
        .map_err(|source| TargetError::NoFile { path: path.display().to_string(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upstream(url: &str) -> Result<Target, TargetError> {
        Target::upstream(&Upstream { url: url.into(), api_key: None })
    }

    #[test]
    fn a_url_is_taken_apart_into_what_a_request_needs() {
        let target = upstream("https://models.lan:8443/openai/v1").unwrap();
        assert_eq!(target.authority.as_str(), "models.lan:8443");
        assert_eq!(target.base_path, "/openai/v1");
        assert!(target.https);
        assert_eq!(upstream("http://10.0.0.2").unwrap().base_path, "");
    }

    #[test]
    fn an_address_that_cannot_be_used_says_why() {
        for url in ["ftp://host/v1", "10.0.0.2/v1", "http://me:secret@host/v1", "http://"] {
            assert!(matches!(upstream(url), Err(TargetError::Url { .. })), "{url}");
        }
    }

    #[test]
    fn a_key_file_becomes_a_sensitive_bearer_value() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        std::fs::write(&path, "sk-1\n").unwrap();
        let upstream = Upstream { url: "http://h/v1".into(), api_key: Some(KeySource::File(path)) };
        let bearer = Target::upstream(&upstream).unwrap().bearer.unwrap();
        assert_eq!(bearer.as_bytes(), b"Bearer sk-1");
        assert!(bearer.is_sensitive());
    }

    #[test]
    fn a_missing_key_is_named() {
        let missing = KeySource::Env("MLX_GATEWAY_TEST_NO_SUCH_VARIABLE".into());
        let upstream = Upstream { url: "http://h/v1".into(), api_key: Some(missing) };
        let message = Target::upstream(&upstream).unwrap_err().to_string();
        assert!(message.contains("MLX_GATEWAY_TEST_NO_SUCH_VARIABLE"), "{message}");
    }
}
