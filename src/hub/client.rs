//! What the hub knows of models: search, details, files, the text that describes one. Knows no cache
//! and no job.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hf_hub::repository::ModelInfo;
use hf_hub::{HFClient, HFError};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::answers;
use super::error::{HubError, chain};
use super::files::{MAX_FILES, RepoFile};
use super::search::{Details, Hit, Query};
use super::token::Token;
use super::wire::{Ask, Wire};
use crate::config::valid_hub_id;

/// How long a question may take.
const ANSWER_WAIT: Duration = Duration::from_secs(30);
/// Bytes of a page of a file list.
const MAX_PAGE: usize = 32 << 20;
/// Bytes of a small file that is read into memory, such as a README or a configuration.
pub const MAX_SMALL_FILE: usize = 32 << 20;

const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// A client of the hub.
pub struct HubClient {
    wire: Wire,
    token: Token,
    /// hf-hub's client belongs to one token.
    made: Mutex<Option<(Option<String>, HFClient)>>,
}

impl HubClient {
    /// Asks the hub at `endpoint`, an `http(s)` URL.
    pub fn new(endpoint: &str, token: Token) -> Result<HubClient, HubError> {
        Ok(HubClient { wire: Wire::new(endpoint)?, token, made: Mutex::default() })
    }

    /// The URL that it asks.
    pub fn endpoint(&self) -> &str {
        self.wire.endpoint()
    }

    /// The token that it sends.
    pub fn token(&self) -> &Token {
        &self.token
    }

    pub(super) fn wire(&self) -> &Wire {
        &self.wire
    }

    /// Models, the asked-for page of them. Asked over our own wire: of a refused list hf-hub keeps no
    /// header, and so not for how long it is refused.
    pub async fn search(&self, query: &Query) -> Result<Vec<Hit>, HubError> {
        let wanted = query.offset + query.limit;
        let mut next = Some(format!("{}/api/models?{}", self.endpoint(), query.on_the_wire()));
        let mut hits = Vec::new();
        while let Some(url) = next.take().filter(|_| hits.len() < wanted) {
            let (page, after) = self.read(&url, "this search", MAX_PAGE).await?;
            let models = answers::hits(&page)?;
            next = after.filter(|_| !models.is_empty());
            hits.extend(models);
        }
        Ok(hits.into_iter().skip(query.offset).take(query.limit).collect())
    }

    /// All that the hub says of a model.
    pub async fn details(&self, model: &str) -> Result<Details, HubError> {
        let info = self.info(model).await?;
        let files = match &info.sha {
            Some(sha) => self.files(model, sha).await?,
            None => Vec::new(),
        };
        Ok(Details::new(info, files))
    }

    /// The commit that the model's main branch is at.
    pub async fn commit(&self, model: &str) -> Result<String, HubError> {
        let info = self.info(model).await?;
        let sha = info.sha.ok_or_else(|| HubError::Malformed(format!("{model} has no commit")))?;
        match sha.chars().all(|c| c.is_ascii_alphanumeric()) && !sha.is_empty() {
            true => Ok(sha),
            false => Err(HubError::Malformed(format!("{model} is at the commit \"{sha}\""))),
        }
    }

    /// Every file of a model at a commit.
    pub async fn files(&self, model: &str, commit: &str) -> Result<Vec<RepoFile>, HubError> {
        let endpoint = self.endpoint();
        let mut next = Some(format!("{endpoint}/api/models/{model}/tree/{commit}?recursive=true"));
        let mut all = Vec::new();
        while let Some(url) = next {
            let (page, after) = self.read(&url, model, MAX_PAGE).await?;
            all.extend(answers::files(&page)?);
            if all.len() > MAX_FILES {
                return Err(HubError::Malformed(format!("{model} has more than {MAX_FILES} files")));
            }
            next = after;
        }
        Ok(all)
    }

    /// A small file of a model, if it has one of that name.
    pub async fn small_file(
        &self,
        model: &str,
        revision: &str,
        path: &str,
    ) -> Result<Option<Vec<u8>>, HubError> {
        let url = self.file_url(model, revision, path);
        match self.read(&url, model, MAX_SMALL_FILE).await {
            Ok((bytes, _)) => Ok(Some(bytes.to_vec())),
            Err(HubError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Where a file's bytes are.
    pub(super) fn file_url(&self, model: &str, revision: &str, path: &str) -> String {
        let path = utf8_percent_encode(path, PLAIN);
        format!("{}/{model}/resolve/{revision}/{path}", self.endpoint())
    }

    async fn read(
        &self,
        url: &str,
        model: &str,
        max_bytes: usize,
    ) -> Result<(bytes::Bytes, Option<String>), HubError> {
        let token = self.token.value().await;
        self.wire.read(Ask { url, token: token.as_deref(), from: 0, model }, max_bytes).await
    }

    async fn info(&self, model: &str) -> Result<ModelInfo, HubError> {
        if !valid_hub_id(model) {
            return Err(HubError::BadId(model.to_owned()));
        }
        let (owner, name) = model.split_once('/').unwrap_or(("", model));
        let repository = self.client().await?.model(owner, name);
        self.answered(repository.info().send(), model).await
    }

    async fn answered<T>(
        &self,
        asked: impl Future<Output = Result<T, HFError>>,
        about: &str,
    ) -> Result<T, HubError> {
        match tokio::time::timeout(ANSWER_WAIT, asked).await {
            Err(_elapsed) => Err(HubError::Silent { after: ANSWER_WAIT }),
            Ok(answer) => answer.map_err(|error| self.in_words(&error, about)),
        }
    }

    fn in_words(&self, error: &HFError, about: &str) -> HubError {
        let refused = |status: u16, code: Option<&str>| self.wire.refused(status, code, None, about);
        match error {
            HFError::RateLimited { retry_after, .. } => self.wire.refused(429, None, *retry_after, about),
            HFError::AuthRequired { context }
            | HFError::Forbidden { context }
            | HFError::Http { context } => refused(context.status.as_u16(), context.error_code.as_deref()),
            HFError::RepoNotFound { .. } | HFError::RevisionNotFound { .. } => refused(404, None),
            HFError::Request { source, .. } if source.is_decode() => HubError::Malformed(chain(source)),
            HFError::Request { source, .. } => self.wire.offline(chain(source)),
            other => HubError::Malformed(other.to_string()),
        }
    }

    /// Made anew only when the token has changed. It tries once: whoever asks decides what comes then,
    /// and a hub that asks for fewer requests is not asked more often.
    async fn client(&self) -> Result<HFClient, HubError> {
        let token = self.token.value().await;
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, client)) = made.as_ref().filter(|(of, _)| *of == token) {
            return Ok(client.clone());
        }
        let mut builder = HFClient::builder()
            .endpoint(self.endpoint())
            .user_agent(concat!("mlx-gateway/", env!("CARGO_PKG_VERSION")))
            .retry_max_attempts(0)
            .cache_enabled(false);
        if let Some(token) = &token {
            builder = builder.token(token);
        }
        let client = builder.build().map_err(|error| HubError::Malformed(error.to_string()))?;
        *made = Some((token, client.clone()));
        Ok(client)
    }
}
