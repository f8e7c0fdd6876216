//! Conversations of the chat page: what a well-formed one is, its bounds, and whose it is. Knows neither
//! how it is stored nor what the page writes into a message beyond its text.

use serde_json::{Map, Value};
use uuid::Uuid;

use crate::store::chats::{self, ChatChange, ChatFilter, ChatRow, MessageRow};
use crate::store::{Store, StoreError};

/// Messages of one conversation, all its branches together.
pub const MESSAGES_MAX: usize = 10_000;
/// Bytes of one message, pictures included.
pub const MESSAGE_BYTES_MAX: usize = 32 << 20;
/// Conversations of one answer.
pub const LIST_MAX: usize = 500;
/// Characters of a title.
pub const TITLE_MAX: usize = 200;
const ID_MAX: usize = 64;
const ROLES: [&str; 4] = ["user", "assistant", "tool", "system"];

/// Why a conversation is not taken.
#[derive(Debug, thiserror::Error)]
pub enum ChatError {
    #[error("there is no conversation \"{0}\"")]
    Unknown(String),
    /// What is wrong, and the field it is about.
    #[error("{message}")]
    Invalid { message: String, param: &'static str },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What is asked of a conversation; what is missing stays as it is.
#[derive(Debug, Default)]
pub struct Wish {
    pub title: Option<String>,
    pub profile: Option<String>,
    pub leaf: Option<Option<String>>,
    pub messages: Vec<Value>,
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
        at_most(messages.len())?;
        let row = ChatRow {
            id: Uuid::now_v7().to_string(),
            owner: self.owner.to_owned(),
            title: title(wish.title.unwrap_or_default())?,
            profile: wish.profile.unwrap_or_default(),
            leaf: wish.leaf.flatten(),
            created_at: self.now_ms,
            updated_at: self.now_ms,
        };
        chats::add(self.store, row.clone(), messages).await?;
        Ok(row)
    }

    /// Changes what the wish names, adds its messages, and gives the conversation as it is then.
    pub async fn change(&self, id: &str, wish: Wish) -> Result<ChatRow, ChatError> {
        let put = rows(&wish.messages)?;
        at_most(chats::count(self.store, self.owner, id).await? + put.len())?;
        let change = ChatChange {
            title: wish.title.map(title).transpose()?,
            profile: wish.profile,
            leaf: wish.leaf,
            put,
            remove: wish.remove,
            at: self.now_ms,
        };
        let changed = chats::change(self.store, self.owner, id, change).await?;
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

fn at_most(count: usize) -> Result<(), ChatError> {
    if count > MESSAGES_MAX {
        return Err(invalid(
            format!("a conversation holds at most {MESSAGES_MAX} messages; begin a new one"),
            "messages",
        ));
    }
    Ok(())
}

fn title(text: String) -> Result<String, ChatError> {
    if text.chars().count() > TITLE_MAX {
        return Err(invalid(format!("a title has at most {TITLE_MAX} characters"), "title"));
    }
    Ok(text)
}

fn rows(messages: &[Value]) -> Result<Vec<MessageRow>, ChatError> {
    messages.iter().map(row).collect()
}

fn row(message: &Value) -> Result<MessageRow, ChatError> {
    let fields = message.as_object().ok_or_else(|| invalid("a message is an object", "messages"))?;
    let id = id(fields, "id")?.ok_or_else(|| invalid("a message needs an id", "messages"))?;
    let role = fields.get("role").and_then(Value::as_str).unwrap_or_default();
    if !ROLES.contains(&role) {
        return Err(invalid(format!("a message's role is one of {}", ROLES.join(", ")), "messages"));
    }
    let content = message.to_string();
    if content.len() > MESSAGE_BYTES_MAX {
        let most = MESSAGE_BYTES_MAX >> 20;
        return Err(invalid(format!("a message holds at most {most} MiB, pictures included"), "messages"));
    }
    let text = fields.get("text").and_then(Value::as_str).unwrap_or_default().to_owned();
    Ok(MessageRow { id, parent: self::id(fields, "parent")?, text, content })
}

fn id(fields: &Map<String, Value>, name: &str) -> Result<Option<String>, ChatError> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(id)) if is_id(id) => Ok(Some(id.clone())),
        Some(_) => {
            let message =
                format!("a message's {name} has 1 to {ID_MAX} letters, digits, hyphens and underscores");
            Err(invalid(message, "messages"))
        }
    }
}

fn is_id(text: &str) -> bool {
    let fits = (1..=ID_MAX).contains(&text.len());
    fits && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_message_is_taken_as_it_is_with_the_text_that_a_search_looks_into() {
        let said =
            json!({"id": "m-1", "parent": null, "role": "user", "text": "hi", "figures": {"tokens": 3}});
        let row = row(&said).unwrap();
        assert_eq!((row.id.as_str(), row.parent, row.text.as_str()), ("m-1", None, "hi"));
        assert_eq!(serde_json::from_str::<Value>(&row.content).unwrap(), said);
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
        assert!(title("t".repeat(201)).is_err() && at_most(MESSAGES_MAX + 1).is_err());
    }
}
