//! Whether a prompt can fit its model at all, told before a backend is asked that would not refuse it. What is
//! short enough whatever its tokens are is not looked at.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use super::estimate::{Measured, Size};
use super::failure::Failure;
use crate::bodies::{Bodies, Weight};
use crate::config::{LaunchSettings, ModelRef};
use crate::dialect::operation::Operation;
use crate::dialect::request::Scanned;
use crate::dialect::rope::Rope;
use crate::dialect::{embeddings, prompt};
use crate::profiles::{Entry, LocalModels};
use crate::worker::{Count, NotText, Unanswered, Worker};

/// Bytes of a body that no model's context is too short for.
const ALWAYS_FITS: u64 = 2 << 10;
/// Tokens that a template puts around a message, and before the answer, about.
const AROUND_MESSAGE: u64 = 5;
const BEFORE_ANSWER: u64 = 3;

/// What contexts hold, and what prompts come to.
pub struct Contexts {
    models: Arc<LocalModels>,
    worker: Worker,
    /// Parses prompts.
    bodies: Bodies,
}

impl Contexts {
    /// Counts prompts by the tokenizers of models on this machine.
    pub fn new(models: Arc<LocalModels>, worker: Worker, bodies: Bodies) -> Contexts {
        Contexts { models, worker, bodies }
    }

    /// Whether a prompt has to be looked at: it may exceed its context, or `has_limits` and its tokens can be counted.
    pub fn is_measured(
        &self,
        entry: &Entry,
        operation: Operation,
        asked: &Scanned,
        has_limits: bool,
    ) -> bool {
        match operation {
            Operation::Chat | Operation::Completion => {
                (has_limits && local(&entry.profile.launch).is_some()) || self.may_exceed(entry, asked)
            }
            Operation::Embedding => has_limits && local(&entry.profile.launch).is_some(),
            Operation::Image | Operation::ImageEdit | Operation::Transcription => false,
        }
    }

    /// Whether a prompt is so long that it may not fit. A token has at least one byte, and around each message there are
    /// more bytes here than tokens there.
    fn may_exceed(&self, entry: &Entry, asked: &Scanned) -> bool {
        let bytes = bytes(entry, asked);
        if bytes <= ALWAYS_FITS {
            return false;
        }
        let Some(model) = local(&entry.profile.launch) else { return false };
        let said = entry.profile.launch.context_length.map(u64::from);
        match said.map(Some).or_else(|| self.models.known_context(model)) {
            Some(limit) => limit.is_some_and(|limit| bytes > limit),
            None => true,
        }
    }

    /// Counts a prompt by its model's tokenizer, and refuses one that the model's context cannot hold. One that cannot be
    /// counted is let through. Unless `has_limits`, what fits in any case is not counted.
    pub async fn measure(
        &self,
        entry: &Entry,
        operation: Operation,
        asked: &Scanned,
        lane: &Arc<str>,
        has_limits: bool,
    ) -> Result<Measured, Failure> {
        let Some(model) = local(&entry.profile.launch).cloned() else { return Ok(Measured::default()) };
        let Some(folder) = self.models.folder(&model).await else { return Ok(Measured::default()) };
        let context = match (operation, entry.profile.launch.context_length) {
            (Operation::Chat | Operation::Completion, Some(said)) => Some(u64::from(said)),
            (Operation::Chat | Operation::Completion, None) => self.models.context(&model).await,
            _ => None,
        };
        let (body, system) = (asked.body.clone(), entry.profile.system_prompt.clone());
        let read = move || {
            let body = body.to_vec();
            Weight::of(&body).check().ok()?;
            let mut texts = prompt::texts(&body);
            texts.extend(system.clone());
            let bytes: usize = texts.iter().map(String::len).sum();
            if !has_limits && context.is_none_or(|limit| bytes as u64 <= limit) {
                return None;
            }
            Some((texts, prompt::chat(&body, system.as_deref())))
        };
        let Ok(Some((texts, chat))) = self.bodies.off_thread(read).await else {
            return Ok(Measured::default());
        };
        let limit = context.unwrap_or(u64::MAX);
        let Some((count, texts)) = self.counted(lane, &folder, texts, chat, limit).await else {
            return Ok(Measured { counted: None, context });
        };
        if count.tokens > limit {
            let least = if count.whole { "" } else { "at least " };
            return Err(Failure::context_length(format!(
                "this model's context holds {limit} tokens, and the prompt has {least}{}; shorten it",
                count.tokens
            )));
        }
        let bytes = texts.unwrap_or(Size::of(entry, asked, operation).bytes);
        let size = Size { bytes, media: 0 };
        Ok(Measured { counted: count.whole.then_some((count.estimate, size)), context })
    }

    /// Counts a chat as its model's template writes it, or else the texts, whose bytes are returned then: there may be
    /// more that the model reads.
    async fn counted(
        &self,
        lane: &Arc<str>,
        folder: &Path,
        texts: Vec<String>,
        chat: Option<Value>,
        limit: u64,
    ) -> Option<(Count, Option<u64>)> {
        let messages = chat.as_ref().and_then(|chat| chat["messages"].as_array()).map_or(0, Vec::len) as u64;
        let is_chat = chat.is_some();
        let worker = self.worker.for_lane(lane);
        if let Some(chat) = chat
            && let Some(count) = worker.count_chat(folder, chat.to_string(), limit).await
        {
            return Some((count, None));
        }
        if texts.is_empty() {
            return None;
        }
        let mut count = worker.count(folder, &texts, limit).await?;
        count.estimate += if is_chat { messages * AROUND_MESSAGE + BEFORE_ANSWER } else { 0 };
        Some((count, Some(texts.iter().map(|text| text.len() as u64).sum())))
    }

    /// Counts the tokens of a chat by its model's tokenizer and template; if the template cannot be run, what it adds
    /// is estimated. None: the model has no tokenizer here, or one that cannot be used now.
    pub async fn count(&self, entry: &Entry, chat: Bytes, lane: &Arc<str>) -> Option<u64> {
        let folder = self.models.folder(local(&entry.profile.launch)?).await?;
        let system = entry.profile.system_prompt.clone();
        let read = move || {
            Weight::of(&chat).check().ok()?;
            let chat = prompt::chat(&chat, system.as_deref())?;
            Some((prompt::texts(chat.to_string().as_bytes()), chat))
        };
        let (texts, chat) = self.bodies.off_thread(read).await.ok()??;
        self.counted(lane, &folder, texts, Some(chat), u64::MAX).await.map(|(count, _)| count.estimate)
    }

    /// Whether a request's input is token numbers that have to be read first.
    pub fn holds_tokens(&self, entry: &Entry, operation: Operation, asked: &Scanned) -> bool {
        operation == Operation::Embedding
            && entry.profile.launch.engine.runs_mlx()
            && embeddings::holds_tokens(asked)
    }

    /// The request with the texts that its token numbers stand for.
    pub async fn as_text(&self, entry: &Entry, asked: &Scanned, lane: &Arc<str>) -> Result<Rope, Failure> {
        let lists = embeddings::tokens(asked)?;
        let folder = match local(&entry.profile.launch) {
            Some(model) => self.models.folder(model).await,
            None => None,
        };
        let texts = match folder {
            Some(folder) => self.worker.for_lane(lane).decode(&folder, lists).await,
            None => Err(NotText::NoTokenizer),
        };
        let texts = texts.map_err(|error| match error {
            NotText::Unanswered(Unanswered::Busy) => {
                Failure::overloaded("too many token numbers are being read; try again in a few seconds")
            }
            error => Failure::invalid(
                format!(
                    "the token numbers in \"input\" cannot be embedded: {error}; \
                     send the text itself (LangChain: check_embedding_ctx_length=False)"
                ),
                Some("input".to_owned()),
            ),
        })?;
        Ok(embeddings::with_texts(asked, &texts))
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
