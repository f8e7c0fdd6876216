//! The facts of models that are still on the hub: their small files are read, of their weights only the
//! tables at the beginning. What follows from them, `models` knows.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use http_body_util::BodyExt;
use serde_json::Value;

use super::client::HubClient;
use super::error::HubError;
use super::files::RepoFile;
use super::search::Hit;
use super::wire::{Ask, SILENCE};
use crate::models::safetensors::{self, Header};
use crate::models::{Facts, ModelFile, Sources, inspect};

/// Models whose facts are kept.
const KEPT: usize = 1_000;
/// Hits of one search that are looked into at one time.
const AT_ONCE: usize = 6;
/// After this a search is answered with the facts that are there.
const SEARCH_WAIT: Duration = Duration::from_secs(8);
/// Files of weights whose tables are read; of a model in more, the index says enough.
const HEADERS_MAX: usize = 4;

/// Facts by model and commit.
#[derive(Debug, Default)]
pub struct HubFacts(Mutex<HashMap<(String, String), Arc<Facts>>>);

impl HubFacts {
    /// The facts of the hits, as far as they can be had in good time, in their order.
    pub async fn of_hits(&self, hub: &HubClient, hits: &[Hit]) -> Vec<Option<Arc<Facts>>> {
        let until = tokio::time::Instant::now() + SEARCH_WAIT;
        let one = |hit: Hit| async move {
            match tokio::time::timeout_at(until, self.of_hit(hub, &hit)).await {
                Ok(Ok(facts)) => Some(facts),
                Ok(Err(error)) => {
                    tracing::debug!(model = hit.id, %error, "A hit of a search could not be looked into");
                    None
                }
                Err(_elapsed) => None,
            }
        };
        let looking: Vec<_> = hits.iter().cloned().map(one).collect();
        stream::iter(looking).buffered(AT_ONCE).collect().await
    }

    /// The facts of one model, as the hub describes it.
    pub async fn of_hit(&self, hub: &HubClient, hit: &Hit) -> Result<Arc<Facts>, HubError> {
        let commit = hit.commit.clone().unwrap_or_else(|| "main".to_owned());
        let key = (hit.id.clone(), commit.clone());
        if let Some(facts) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(Arc::clone(facts));
        }
        let files = hub.files(&hit.id, &commit).await?;
        let facts = Arc::new(inspect(&sources(hub, hit, &commit, &files).await?));
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT {
            kept.clear();
        }
        kept.insert(key, Arc::clone(&facts));
        Ok(facts)
    }
}

async fn sources(hub: &HubClient, hit: &Hit, commit: &str, files: &[RepoFile]) -> Result<Sources, HubError> {
    let read = |name: &'static str| async move {
        if !files.iter().any(|file| file.path == name) {
            return Ok(None);
        }
        hub.small_file(&hit.id, commit, name).await
    };
    let json = |name: &'static str| async move {
        let bytes = read(name).await?;
        Ok::<_, HubError>(bytes.and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok()))
    };
    let (config, generation_config, tokenizer_config, template, index, headers) = tokio::try_join!(
        json("config.json"),
        json("generation_config.json"),
        json("tokenizer_config.json"),
        read("chat_template.jinja"),
        json("model.safetensors.index.json"),
        headers(hub, &hit.id, commit, files),
    )?;
    Ok(Sources {
        config,
        generation_config,
        tokenizer_config,
        chat_template: template.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
        index,
        headers,
        files: files
            .iter()
            .map(|file| ModelFile { path: file.path.clone(), bytes: Some(file.size) })
            .collect(),
        tags: hit.tags.clone(),
        pipeline_tag: hit.pipeline_tag.clone(),
        card: hit.license.as_ref().map(|license| serde_json::json!({"license": license})),
        ..Sources::default()
    })
}

async fn headers(
    hub: &HubClient,
    model: &str,
    commit: &str,
    files: &[RepoFile],
) -> Result<Vec<Header>, HubError> {
    let weights: Vec<_> =
        files.iter().filter(|file| file.path.ends_with(".safetensors") && !file.path.contains('/')).collect();
    let mut headers = Vec::new();
    if weights.len() > HEADERS_MAX {
        return Ok(headers);
    }
    for file in weights {
        // Half of the weights counted would be a wrong figure.
        let Some(header) = header(hub, model, commit, &file.path).await? else { return Ok(Vec::new()) };
        headers.push(header);
    }
    Ok(headers)
}

/// Reads a file's beginning as far as its table goes; then the connection is dropped.
async fn header(hub: &HubClient, model: &str, commit: &str, path: &str) -> Result<Option<Header>, HubError> {
    let (url, token) = (hub.file_url(model, commit, path), hub.token().value().await);
    let ask = Ask { url: &url, token: token.as_deref(), from: 0, model };
    let mut body = hub.wire().open(ask).await?.body;
    let mut read = Vec::new();
    loop {
        if let Some(first) = read.first_chunk::<8>() {
            let Ok(length) = safetensors::length(*first) else { return Ok(None) };
            let end = length.saturating_add(safetensors::LENGTH_BYTES);
            if read.len() as u64 >= end {
                let table = usize::try_from(end).ok().and_then(|end| read.get(8..end));
                return Ok(table.and_then(|table| safetensors::parse(table).ok()));
            }
        }
        let frame = tokio::time::timeout(SILENCE, body.frame()).await;
        match frame.map_err(|_elapsed| HubError::Silent { after: SILENCE })? {
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    read.extend_from_slice(&data);
                }
            }
            _ => return Ok(None),
        }
    }
}
