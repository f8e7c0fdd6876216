//! Conversations of the chat page: what a well-formed one is, its bounds, and whose it is. Knows neither
//! how it is stored nor what the page writes into a message beyond its text.

use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::store::chats::{self, Bounds, ChatChange, ChatFilter, ChatRow, Exceeded, MessageRow};
use crate::store::{Store, StoreError};

/// Messages of one conversation, all its branches together.
pub const MESSAGES_MAX: i64 = 10_000;
/// Bytes of one message, pictures included.
pub const MESSAGE_BYTES_MAX: usize = 32 << 20;
/// Bytes of one conversation.
pub const CHAT_BYTES_MAX: i64 = 64 << 20;
/// Conversations of one owner.
pub const CHATS_MAX: i64 = 10_000;
/// Bytes of all conversations of one owner.
pub const OWNER_BYTES_MAX: i64 = 512 << 20;
/// Conversations of one answer.
pub const LIST_MAX: usize = 500;
/// Characters of a title, and of a profile's name.
pub const TITLE_MAX: usize = 200;
const ID_MAX: usize = 64;
const ROLES: [&str; 4] = ["user", "assistant", "tool", "system"];
const BOUNDS: Bounds =
    Bounds { messages: MESSAGES_MAX, chat_bytes: CHAT_BYTES_MAX, chats: CHATS_MAX, bytes: OWNER_BYTES_MAX };

/// Why a conversation is not taken.
#[derive(Debug, thiserror::Error)]
pub enum ChatError {
    #[error("there is no conversation \"{0}\"")]
    Unknown(String),
    /// What is wrong, and the field it is about.
    #[error("{message}")]
    Invalid { message: String, param: &'static str },
    #[error(
        "a message has {bytes} bytes as JSON and may have {MESSAGE_BYTES_MAX} ({} MiB), pictures included; send smaller pictures",
        MESSAGE_BYTES_MAX >> 20
    )]
    MessageTooLarge { bytes: usize },
    #[error("a conversation holds at most {} MiB, pictures included; begin a new one", CHAT_BYTES_MAX >> 20)]
    ChatTooLarge,
    #[error(
        "the conversations of an account hold at most {} MiB; delete some, those with pictures first",
        OWNER_BYTES_MAX >> 20
    )]
    OwnerFull,
    #[error("an account has at most {CHATS_MAX} conversations; delete some")]
    TooMany,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What is asked of a conversation; what is missing stays as it is.
#[derive(Debug, Default)]
pub struct Wish {
    pub title: Option<String>,
    pub profile: Option<String>,
    pub leaf: Option<Option<String>>,
    /// JSON documents, which are kept as they are.
    pub messages: Vec<Box<RawValue>>,
    pub remove: Vec<String>,
}

/// The conversations of one owner; empty: the operator of this machine.
pub struct Chats<'a> {
    pub store: &'a Store,
    pub owner: &'a str,
    /// Milliseconds since 1970, UTC.
    pub now_ms: i64,
}

impl Chats<'_> {
    /// The owner's conversations, newest first, at most [`LIST_MAX`] at once.
    pub async fn list(&self, filter: ChatFilter) -> Result<Vec<ChatRow>, ChatError> {
        let limit = filter.limit.min(LIST_MAX);
        Ok(chats::list(self.store, self.owner, ChatFilter { limit, ..filter }).await?)
    }

    /// A conversation with its messages; unknown as well when it is somebody else's.
    pub async fn get(&self, id: &str) -> Result<(ChatRow, Vec<MessageRow>), ChatError> {
        let found = chats::get(self.store, self.owner, id).await?;
        found.ok_or_else(|| ChatError::Unknown(id.to_owned()))
    }

    /// Adds a conversation. An error says which message or title is not as it should be.
    pub async fn create(&self, wish: Wish) -> Result<ChatRow, ChatError> {
        let messages = rows(&wish.messages)?;
        let row = ChatRow {
            id: Uuid::now_v7().to_string(),
            owner: self.owner.to_owned(),
            title: title(wish.title.unwrap_or_default())?,
            profile: profile(wish.profile.unwrap_or_default())?,
            leaf: wish.leaf.flatten().map(leaf).transpose()?,
            created_at: self.now_ms,
            updated_at: self.now_ms,
        };
        chats::add(self.store, row.clone(), messages, BOUNDS).await??;
        Ok(row)
    }

    /// Changes what the wish names, adds its messages, and gives the conversation as it is then.
    pub async fn change(&self, id: &str, wish: Wish) -> Result<ChatRow, ChatError> {
        let put = rows(&wish.messages)?;
        let change = ChatChange {
            title: wish.title.map(title).transpose()?,
            profile: wish.profile.map(profile).transpose()?,
            leaf: wish.leaf.map(|named| named.map(leaf).transpose()).transpose()?,
            put,
            remove: wish.remove,
            at: self.now_ms,
        };
        let changed = chats::change(self.store, self.owner, id, change, BOUNDS).await??;
        changed.ok_or_else(|| ChatError::Unknown(id.to_owned()))
    }

    /// Deletes a conversation and its messages.
    pub async fn remove(&self, id: &str) -> Result<(), ChatError> {
        match chats::remove(self.store, self.owner, id).await? {
            true => Ok(()),
            false => Err(ChatError::Unknown(id.to_owned())),
        }
    }
}

fn invalid(message: impl Into<String>, param: &'static str) -> ChatError {
    ChatError::Invalid { message: message.into(), param }
}

impl From<Exceeded> for ChatError {
    fn from(exceeded: Exceeded) -> ChatError {
        match exceeded {
            Exceeded::Messages => {
                let words = format!("a conversation holds at most {MESSAGES_MAX} messages; begin a new one");
                invalid(words, "messages")
            }
            Exceeded::ChatBytes => ChatError::ChatTooLarge,
            Exceeded::Bytes => ChatError::OwnerFull,
            Exceeded::Chats => ChatError::TooMany,
        }
    }
}

fn title(text: String) -> Result<String, ChatError> {
    if text.chars().count() > TITLE_MAX {
        return Err(invalid(format!("a title has at most {TITLE_MAX} characters"), "title"));
    }
    Ok(text)
}

fn profile(name: String) -> Result<String, ChatError> {
    if name.chars().count() > TITLE_MAX {
        return Err(invalid(format!("a profile's name has at most {TITLE_MAX} characters"), "profile"));
    }
    Ok(name)
}

fn leaf(id: String) -> Result<String, ChatError> {
    if is_id(&id) { Ok(id) } else { Err(invalid(wrong_id("leaf"), "leaf")) }
}

fn rows(messages: &[Box<RawValue>]) -> Result<Vec<MessageRow>, ChatError> {
    messages.iter().map(|message| row(message)).collect()
}

/// What of a message is looked at. The rest stays text: as a tree it could take a hundred times the memory.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    parent: Option<&'a RawValue>,
    #[serde(borrow)]
    role: Option<&'a RawValue>,
    #[serde(borrow)]
    text: Option<&'a RawValue>,
}

fn row(message: &RawValue) -> Result<MessageRow, ChatError> {
    let content = message.get();
    if !content.starts_with('{') {
        return Err(invalid("a message is an object", "messages"));
    }
    let wrong = |error| invalid(format!("a message cannot be read: {error}"), "messages");
    let head: Head<'_> = serde_json::from_str(content).map_err(wrong)?;
    let id = id(head.id, "id")?.ok_or_else(|| invalid("a message needs an id", "messages"))?;
    let role = string(head.role).unwrap_or_default();
    if !ROLES.contains(&role.as_str()) {
        return Err(invalid(format!("a message's role is one of {}", ROLES.join(", ")), "messages"));
    }
    if content.len() > MESSAGE_BYTES_MAX {
        return Err(ChatError::MessageTooLarge { bytes: content.len() });
    }
    let text = string(head.text).unwrap_or_default();
    Ok(MessageRow { id, parent: self::id(head.parent, "parent")?, text, content: content.to_owned() })
}

fn string(value: Option<&RawValue>) -> Option<String> {
    value
        .filter(|value| value.get().starts_with('"'))
        .and_then(|value| serde_json::from_str(value.get()).ok())
}

fn id(value: Option<&RawValue>, name: &str) -> Result<Option<String>, ChatError> {
    let Some(value) = value.filter(|value| value.get() != "null") else { return Ok(None) };
    match string(Some(value)) {
        Some(id) if is_id(&id) => Ok(Some(id)),
        _ => Err(invalid(wrong_id(name), "messages")),
    }
}

fn wrong_id(name: &str) -> String {
    format!("a message's {name} has 1 to {ID_MAX} letters, digits, hyphens and underscores")
}

fn is_id(text: &str) -> bool {
    let fits = (1..=ID_MAX).contains(&text.len());
    fits && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn row(message: &Value) -> Result<MessageRow, ChatError> {
        super::row(&serde_json::value::to_raw_value(message).unwrap())
    }

    #[test]
    fn a_message_is_taken_as_it_is_with_the_text_that_a_search_looks_into() {
        let said =
            json!({"id": "m-1", "parent": null, "role": "user", "text": "hi", "figures": {"tokens": 3}});
        let row = row(&said).unwrap();
        assert_eq!((row.id.as_str(), row.parent, row.text.as_str()), ("m-1", None, "hi"));
        assert_eq!(serde_json::from_str::<Value>(&row.content).unwrap(), said);
    }

    #[test]
    fn row_refuses_a_message_that_is_too_large_with_both_numbers() {
        let message = |bytes: usize| json!({"id": "m", "role": "user", "text": "x".repeat(bytes)});
        assert!(row(&message(MESSAGE_BYTES_MAX - 100)).is_ok());
        let error = row(&message(MESSAGE_BYTES_MAX)).unwrap_err();
        assert!(matches!(error, ChatError::MessageTooLarge { .. }));
        assert!(error.to_string().contains("33554432 (32 MiB)"), "{error}");
    }

    #[test]
    fn what_is_wrong_with_a_message_is_told() {
        let long = "x".repeat(65);
        for (message, words) in [
            (json!("hi"), "is an object"),
            (json!({"role": "user"}), "needs an id"),
            (json!({"id": "a/b", "role": "user"}), "letters, digits"),
            (json!({"id": long, "role": "user"}), "letters, digits"),
            (json!({"id": "a", "parent": 7, "role": "user"}), "parent has 1 to 64"),
            (json!({"id": "a", "role": "owner"}), "one of user, assistant, tool, system"),
        ] {
            let told = row(&message).unwrap_err().to_string();
            assert!(told.contains(words), "{message}: {told}");
        }
        assert!(
            title("t".repeat(201)).is_err()
                && profile("p".repeat(201)).is_err()
                && leaf("a b".into()).is_err()
        );
    }
}
