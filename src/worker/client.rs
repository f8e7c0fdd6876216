//! Questions to the worker as the rest of the gateway asks them. Cheap to clone; no worker runs before the first
//! question. Every wait here has an end.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::blocked::Blocked;
use super::pool::Pool;
use super::protocol::{FRAME_MAX, Folder, Question, Reply};
use super::{
    Answered, CompileError, Count, IDLE_TIME, JsonSchema, NotText, Program, QUEUE_TIME, Unanswered, Verdict,
};
use crate::system::offload;

/// Longest wait for an answer. Its turn and two tries, each with a start, take less.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// Bytes of a chat that a template is run over: its tree takes many times as much.
const CHAT_MAX: usize = 2 << 20;
/// Token numbers of one text, of all texts of a request, and of one question.
const NUMBERS_MAX: usize = 64 << 10;
const NUMBERS_IN_ALL_MAX: usize = 1 << 20;
const NUMBERS_AT_ONCE: usize = 32 << 10;
/// Bytes of the texts that are counted; more are estimated.
const TEXTS_MAX: usize = 4 << 20;
/// Files of a model's folder that the worker reads.
const FILES: [&str; 4] =
    ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "chat_template.json"];

/// The worker processes of one gateway, as one caller asks them.
#[derive(Clone)]
pub struct Worker {
    owner: Arc<Owner>,
    /// Questions of one lane take turns with those of others.
    lane: Arc<str>,
}

struct Owner {
    pool: Arc<Pool>,
    blocked: Mutex<Blocked>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.pool.close();
    }
}

impl Worker {
    /// Workers that are this program.
    pub fn new(program: Program) -> Worker {
        let pool = Arc::new(Pool::new(program, IDLE_TIME));
        Worker { owner: Arc::new(Owner { pool, blocked: Mutex::default() }), lane: Arc::from("") }
    }

    /// The same workers, asked for the caller of that lane (`Caller::fairness`).
    pub fn for_lane(&self, lane: &Arc<str>) -> Worker {
        Worker { owner: Arc::clone(&self.owner), lane: Arc::clone(lane) }
    }

    /// Ends the workers; blocks until they have ended.
    pub fn close(&self) {
        self.owner.pool.close();
    }

    /// Counts the tokens of `texts` until there are more than `limit`. None: the folder has no tokenizer that can be
    /// used now.
    pub async fn count(&self, folder: &Path, texts: &[String], limit: u64) -> Option<Count> {
        let bytes: usize = texts.iter().map(String::len).sum();
        let texts = first_bytes(texts, TEXTS_MAX);
        let sent: usize = texts.iter().map(String::len).sum();
        let folder = self.folder(folder).await?;
        let mut count = self.counted(folder.clone(), Question::CountTexts { folder, texts, limit }).await?;
        if sent < bytes {
            count.whole = false;
            count.estimate = scaled(count.estimate, bytes, sent);
        }
        Some(count)
    }

    /// Counts the tokens of a chat (a request's JSON) as the model's template writes it, until there are more than
    /// `limit`. None: the folder has no tokenizer or no template that can be used now.
    pub async fn count_chat(&self, folder: &Path, chat: String, limit: u64) -> Option<Count> {
        if chat.len() > CHAT_MAX {
            return None;
        }
        let folder = self.folder(folder).await?;
        self.counted(folder.clone(), Question::CountChat { folder, chat, limit }).await
    }

    /// Returns the texts of token numbers.
    pub async fn decode(&self, folder: &Path, lists: Vec<Vec<u32>>) -> Result<Vec<String>, NotText> {
        let in_all: usize = lists.iter().map(Vec::len).sum();
        if in_all > NUMBERS_IN_ALL_MAX || lists.iter().any(|list| list.len() > NUMBERS_MAX) {
            return Err(NotText::TooMany(NUMBERS_MAX, NUMBERS_IN_ALL_MAX));
        }
        let folder = self.folder(folder).await.ok_or(NotText::NoTokenizer)?;
        let mut texts = Vec::with_capacity(lists.len());
        // Each question has the whole time of one.
        for lists in batches(lists) {
            let question = Question::Decode { folder: folder.clone(), lists };
            match self.ask_about(folder.clone(), question).await {
                Ok(Reply::Texts(some)) => texts.extend(some),
                Ok(Reply::Foreign) => return Err(NotText::Foreign),
                Ok(Reply::TooLarge) => return Err(NotText::Unanswered(Unanswered::TooLarge(FRAME_MAX))),
                Ok(_) => return Err(NotText::NoTokenizer),
                Err(error) => return Err(NotText::Unanswered(error)),
            }
        }
        Ok(texts)
    }

    /// Compiles a schema, so that checks against it are fast. Returns the patterns that will not be checked, since
    /// the linear engine cannot express them.
    pub async fn compile(&self, schema: &JsonSchema) -> Result<Vec<String>, CompileError> {
        let question = Question::Compile { digest: schema.digest, schema: schema.text.to_string() };
        match self.ask(question).await {
            Ok(Reply::Compiled { unchecked }) => Ok(unchecked),
            Ok(Reply::Refused { problem }) => Err(CompileError::Refused(problem)),
            Ok(_) => Err(CompileError::Unavailable("it sent another reply".to_owned())),
            Err(Unanswered::Busy) => Err(CompileError::Busy),
            Err(error @ Unanswered::Unavailable(_)) => Err(CompileError::Unavailable(error.to_string())),
            Err(error) => Err(CompileError::Refused(format!("it cannot be compiled: {error}"))),
        }
    }

    /// Checks a JSON text against a schema; at most `faults` are reported.
    pub async fn check(&self, schema: &JsonSchema, value: &str, faults: u64) -> Verdict {
        let (digest, schema) = (schema.digest, schema.text.to_string());
        let question = Question::Check { digest, schema, value: value.to_owned(), faults };
        match self.ask(question).await {
            Ok(Reply::Fits) => Verdict::Fits,
            Ok(Reply::Faults(faults)) => Verdict::Faults(faults),
            Ok(Reply::NotJson(problem)) => Verdict::NotJson(problem),
            Ok(Reply::Refused { problem }) => Verdict::Unchecked(problem),
            Ok(_) => Verdict::Unchecked("the worker sent another reply".to_owned()),
            Err(error) => Verdict::Unchecked(error.to_string()),
        }
    }

    async fn counted(&self, folder: Folder, question: Question) -> Option<Count> {
        match self.ask_about(folder, question).await {
            Ok(Reply::Count(count)) => Some(count),
            Ok(_) => None,
            Err(error) => {
                tracing::debug!(%error, "Could not count tokens");
                None
            }
        }
    }

    /// Asks about a model's folder, which is blocked if that costs the worker its life.
    async fn ask_about(&self, folder: Folder, question: Question) -> Answered {
        let answered = self.ask(question).await;
        match &answered {
            Ok(Reply::Nothing { problem: Some(problem) }) => {
                tracing::warn!(path = %folder.path.display(), problem, "Could not use a model's tokenizer or template");
            }
            Err(error @ (Unanswered::Time | Unanswered::Crash)) => {
                tracing::warn!(
                    path = %folder.path.display(), %error,
                    "A model's tokenizer or template exceeded a bound; token counts are estimated for 10 minutes"
                );
                self.blocked().insert(folder, Instant::now());
            }
            _ => {}
        }
        answered
    }

    async fn ask(&self, question: Question) -> Answered {
        let frame = question.to_frame().ok_or(Unanswered::TooLarge(FRAME_MAX))?;
        let answer = self.owner.pool.ask(&self.lane, frame)?;
        match tokio::time::timeout(WAIT_MAX, answer).await {
            Ok(Ok(answered)) => answered,
            // The pool has been closed.
            Ok(Err(_)) | Err(_) => Err(Unanswered::Busy),
        }
    }

    /// The folder as it is now; none: it is blocked, or it cannot be looked at in time.
    async fn folder(&self, path: &Path) -> Option<Folder> {
        let looked_at = path.to_owned();
        let folder = offload::run(path, QUEUE_TIME, move || stamp(&looked_at)).await.ok()?;
        (!self.blocked().contains(&folder, Instant::now())).then_some(folder)
    }

    fn blocked(&self) -> std::sync::MutexGuard<'_, Blocked> {
        self.owner.blocked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads which of the worker's files there are, with their sizes and times. Not the newest time alone: file systems
/// give the same one to changes that follow at once. Blocks.
fn stamp(path: &Path) -> Folder {
    let mut version = DefaultHasher::new();
    for name in FILES {
        let found = std::fs::metadata(path.join(name)).ok();
        found.map(|found| (found.len(), found.mtime(), found.mtime_nsec())).hash(&mut version);
    }
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    Folder { path, version: version.finish() }
}

/// Lists in groups of at most [`NUMBERS_AT_ONCE`] numbers, or of one list.
fn batches(lists: Vec<Vec<u32>>) -> Vec<Vec<Vec<u32>>> {
    let (mut batches, mut room) = (Vec::<Vec<Vec<u32>>>::new(), 0);
    for list in lists {
        let length = list.len();
        match batches.last_mut().filter(|_| length <= room) {
            Some(batch) => batch.push(list),
            None => {
                room = NUMBERS_AT_ONCE;
                batches.push(vec![list]);
            }
        }
        room = room.saturating_sub(length);
    }
    batches
}

/// The texts up to so many bytes in all.
fn first_bytes(texts: &[String], mut room: usize) -> Vec<String> {
    let mut first = Vec::with_capacity(texts.len());
    for text in texts {
        let end = text.floor_char_boundary(room);
        first.push(text.get(..end).unwrap_or_default().to_owned());
        room -= end;
        if room == 0 || end < text.len() {
            break;
        }
    }
    first
}

/// A number of tokens in proportion to the bytes that they were counted in.
pub(super) fn scaled(tokens: u64, bytes: usize, counted: usize) -> u64 {
    let scaled = u128::from(tokens) * bytes as u128 / counted.max(1) as u128;
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
