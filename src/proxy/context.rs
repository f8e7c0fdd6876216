//! Whether a prompt can fit its model at all, told before a backend is asked that would not refuse it. What is
//! short enough whatever its tokens are is not looked at.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use serde_json::Value;

use super::failure::Failure;
use super::kinds::Kinds;
use crate::config::{LaunchSettings, ModelRef};
use crate::dialect::operation::Operation;
use crate::dialect::prompt;
use crate::dialect::request::Scanned;
use crate::models::{self, Tokenizers};
use crate::profiles::Entry;

/// Bytes of a body that no model's context is too short for.
const ALWAYS_FITS: u64 = 2 << 10;
/// Tokens that a template puts around a message, and before the answer, about.
const AROUND_MESSAGE: u64 = 5;
const BEFORE_ANSWER: u64 = 3;

/// What contexts hold, and what prompts come to.
pub struct Contexts {
    kinds: Arc<Kinds>,
    pub tokenizers: Arc<Tokenizers>,
    native: Native,
}

/// What models were made for, as far as it is known; none: their files do not say.
type Native = Arc<RwLock<HashMap<ModelRef, Option<u64>>>>;

impl Contexts {
    pub fn new(kinds: Arc<Kinds>) -> Contexts {
        Contexts { kinds, tokenizers: Arc::default(), native: Arc::default() }
    }

    /// Whether a prompt is so long that it has to be looked at. A token has at least one byte, and around each
    /// message there are more bytes here than tokens there.
    pub fn may_exceed(&self, entry: &Entry, operation: Operation, asked: &Scanned) -> bool {
        let bytes = bytes(entry, asked);
        if bytes <= ALWAYS_FITS || !matches!(operation, Operation::Chat | Operation::Completion) {
            return false;
        }
        let Some(model) = local(&entry.profile.launch) else { return false };
        let said = entry.profile.launch.context_length.map(u64::from);
        match said.map(Some).or_else(|| known(&self.native, model)) {
            Some(limit) => limit.is_some_and(|limit| bytes > limit),
            None => true,
        }
    }

    /// Refuses a prompt that its model's context cannot hold.
    pub async fn check(&self, entry: &Entry, asked: &Scanned) -> Result<(), Failure> {
        let Some(model) = local(&entry.profile.launch).cloned() else { return Ok(()) };
        let (kinds, native) = (Arc::clone(&self.kinds), Arc::clone(&self.native));
        let tokenizers = Arc::clone(&self.tokenizers);
        let said = entry.profile.launch.context_length.map(u64::from);
        let (body, system) = (asked.body.clone(), entry.profile.system_prompt.clone());
        let counting = move || {
            let folder = kinds.folder(&model)?;
            let limit = said.or_else(|| made_for(&native, &model, &folder))?;
            let mut texts = prompt::texts(&body.to_vec());
            texts.extend(system);
            let bytes: usize = texts.iter().map(String::len).sum();
            if bytes as u64 <= limit {
                return None;
            }
            let count = tokenizers.count(&folder, &texts, limit)?;
            (count.tokens > limit).then_some((count, limit))
        };
        match tokio::task::spawn_blocking(counting).await {
            Ok(Some((count, limit))) => {
                let least = if count.whole { "" } else { "at least " };
                Err(Failure::context_length(format!(
                    "this model's context holds {limit} tokens, and the prompt has {least}{}; shorten it",
                    count.tokens
                )))
            }
            Ok(None) => Ok(()),
            Err(error) => {
                tracing::error!(%error, "The tokens of a prompt could not be counted");
                Ok(())
            }
        }
    }

    /// The tokens of a chat by its model's tokenizer; what the template adds is estimated. None: the model
    /// has no tokenizer here.
    pub async fn count(&self, entry: &Entry, chat: &Value) -> Option<u64> {
        let (model, kinds) = (local(&entry.profile.launch)?.clone(), Arc::clone(&self.kinds));
        let messages = chat.get("messages").and_then(Value::as_array).map_or(0, Vec::len) as u64;
        let (tokenizers, body) = (Arc::clone(&self.tokenizers), chat.to_string());
        let counting =
            move || tokenizers.count(&kinds.folder(&model)?, &prompt::texts(body.as_bytes()), u64::MAX);
        let count = tokio::task::spawn_blocking(counting).await.ok()??;
        Some(count.tokens + messages * AROUND_MESSAGE + BEFORE_ANSWER)
    }
}

/// The model whose files are here, behind an engine of ours.
fn local(launch: &LaunchSettings) -> Option<&ModelRef> {
    launch.model.as_ref().filter(|_| launch.engine.runs_mlx())
}

/// Of all that the model is to read, at most.
fn bytes(entry: &Entry, asked: &Scanned) -> u64 {
    (asked.body.len() + entry.profile.system_prompt.as_deref().map_or(0, str::len)) as u64
}

fn known(native: &Native, model: &ModelRef) -> Option<Option<u64>> {
    native.read().unwrap_or_else(PoisonError::into_inner).get(model).copied()
}

/// Reads it once.
fn made_for(native: &Native, model: &ModelRef, folder: &Path) -> Option<u64> {
    if let Some(limit) = known(native, model) {
        return limit;
    }
    let limit = models::read(folder).ok()?.context_length.map(|known| known.value);
    native.write().unwrap_or_else(PoisonError::into_inner).insert(model.clone(), limit);
    limit
}
