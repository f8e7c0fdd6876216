//! Responses that are kept for clients to go on from: whose they are, how much, and for how long. Knows
//! neither SQL nor how a response comes about.

mod background;

pub use background::{Job, Jobs, Lost};

use std::time::Duration;

use serde_json::Value;

pub use crate::store::responses::ItemRow;
use crate::store::responses::{self, Bounds, Chain, ResponseRow};
use crate::store::{Store, StoreError};
use crate::system::clock::Clock;

/// What one owner may keep; the oldest goes first.
const BOUNDS: Bounds = Bounds { responses: 5_000, bytes: 512 << 20 };
/// Responses, and bytes of items, of one conversation.
const CONVERSATION_MAX: usize = 1_000;
const CONVERSATION_BYTES_MAX: usize = 64 << 20;

const PRUNE_EVERY: Duration = Duration::from_secs(60 * 60);
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub enum ResponsesError {
    #[error("there is no response \"{0}\"")]
    Unknown(String),
    #[error(
        "the response \"{id}\" goes on from \"{missing}\", which is no longer kept; send the conversation itself"
    )]
    Broken { id: String, missing: String },
    #[error(
        "the conversation has more than {CONVERSATION_MAX} responses or {CONVERSATION_BYTES_MAX} bytes; \
         begin a new one"
    )]
    TooLong,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The responses of one owner; empty: the operator of this machine.
#[derive(Clone)]
pub struct Responses {
    pub store: Store,
    pub owner: String,
}

impl Responses {
    /// Keeps a response with what was sent for it.
    pub async fn keep(&self, response: &Value, input: Vec<ItemRow>, now_ms: i64) -> Result<(), StoreError> {
        responses::put(&self.store, self.row(response, input, now_ms), BOUNDS).await
    }

    /// Keeps one that is yet to be made. Should the gateway end before [`end`](Self::end), it has failed.
    pub async fn begin(&self, response: &Value, input: Vec<ItemRow>, now_ms: i64) -> Result<(), StoreError> {
        responses::begin(&self.store, self.row(response, input, now_ms), BOUNDS).await
    }

    /// Keeps what came of it, unless it was deleted meanwhile.
    pub async fn end(&self, response: &Value) -> Result<(), StoreError> {
        responses::end(&self.store, self.row(response, Vec::new(), 0), BOUNDS).await.map(drop)
    }

    fn row(&self, response: &Value, input: Vec<ItemRow>, now_ms: i64) -> ResponseRow {
        let text = |key: &str| response.get(key).and_then(Value::as_str).map(str::to_owned);
        let output = response.get("output").and_then(Value::as_array).into_iter().flatten();
        let items = input.into_iter().chain(output.map(|item| item_row(item, false)));
        ResponseRow {
            id: text("id").unwrap_or_default(),
            owner: self.owner.clone(),
            previous: text("previous_response_id"),
            created_at: now_ms,
            response: response.to_string(),
            items: items.collect(),
        }
    }

    /// The caller's own response of that id, as it was answered.
    pub async fn get(&self, id: &str) -> Result<Value, ResponsesError> {
        let found = responses::get(&self.store, &self.owner, id).await?;
        Ok(parsed(&found.ok_or_else(|| ResponsesError::Unknown(id.to_owned()))?))
    }

    /// What was sent for it.
    pub async fn input(&self, id: &str) -> Result<Vec<Value>, ResponsesError> {
        let found = responses::input(&self.store, &self.owner, id).await?;
        let found = found.ok_or_else(|| ResponsesError::Unknown(id.to_owned()))?;
        Ok(found.iter().map(|item| parsed(item)).collect())
    }

    /// Deletes the caller's own response of that id.
    pub async fn remove(&self, id: &str) -> Result<(), ResponsesError> {
        match responses::remove(&self.store, &self.owner, id).await? {
            true => Ok(()),
            false => Err(ResponsesError::Unknown(id.to_owned())),
        }
    }

    /// All items of the conversation that ends with a response, as JSON.
    pub async fn conversation(&self, id: &str) -> Result<Vec<String>, ResponsesError> {
        let (store, owner) = (&self.store, &self.owner);
        let chain = responses::chain(store, owner, id, CONVERSATION_MAX, CONVERSATION_BYTES_MAX).await?;
        match chain {
            None => Err(ResponsesError::Unknown(id.to_owned())),
            Some(Chain { cut: true, .. }) => Err(ResponsesError::TooLong),
            Some(Chain { missing: Some(missing), .. }) => {
                Err(ResponsesError::Broken { id: id.to_owned(), missing })
            }
            Some(Chain { items, .. }) => Ok(items),
        }
    }

    /// Items by their ids, as JSON; what is not there is left out.
    pub async fn items(&self, ids: Vec<String>) -> Result<Vec<String>, ResponsesError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        Ok(responses::items(&self.store, &self.owner, ids).await?)
    }
}

/// Forgets what is too old, now and once an hour, for as long as it is polled.
pub async fn retain(store: &Store, clock: &dyn Clock, retention_days: u32) {
    loop {
        match responses::prune(store, clock.unix_ms() - i64::from(retention_days) * DAY_MS).await {
            Ok(0) => {}
            Ok(pruned) => tracing::info!(responses.pruned = pruned, "Old responses were deleted."),
            Err(StoreError::Closed) => return,
            Err(error) => tracing::warn!(%error, "Old responses could not be deleted."),
        }
        tokio::time::sleep(PRUNE_EVERY).await;
    }
}

/// An item as it is kept; `input`: sent by the client.
pub fn item_row(item: &Value, input: bool) -> ItemRow {
    let id = item.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
    ItemRow { id, input, item: item.to_string() }
}

/// What the store holds was written by this program.
pub fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| {
        tracing::error!(%error, "A kept response cannot be read");
        Value::Null
    })
}
