//! The tables `chats` and `chat_messages`: conversations, each under its owner. Every operation names
//! the owner, so that nobody reaches another's. Knows nothing of what a message says.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{Store, StoreError};

/// A conversation without its messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatRow {
    pub id: String,
    pub owner: String,
    pub title: String,
    pub profile: String,
    /// The last message of the branch that is shown.
    pub leaf: Option<String>,
    /// Milliseconds since 1970, UTC.
    pub created_at: i64,
    pub updated_at: i64,
}

/// One message; its parent says which branch it is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageRow {
    pub id: String,
    pub parent: Option<String>,
    /// What a search looks into.
    pub text: String,
    /// A JSON document.
    pub content: String,
}

/// What changes in a conversation; `None` and nothing: stays.
#[derive(Debug, Clone, Default)]
pub struct ChatChange {
    pub title: Option<String>,
    pub profile: Option<String>,
    pub leaf: Option<Option<String>>,
    /// New ones, and those that take the place of the one with their id.
    pub put: Vec<MessageRow>,
    /// Ids of those that go.
    pub remove: Vec<String>,
    pub at: i64,
}

/// Which conversations, newest first.
#[derive(Debug, Clone, Default)]
pub struct ChatFilter {
    /// In the title or in a message.
    pub search: Option<String>,
    pub limit: usize,
    /// Only those changed before.
    pub before: Option<i64>,
}

const COLUMNS: &str = "id, owner, title, profile, leaf, created_at, updated_at";

/// Makes a conversation with its messages.
pub async fn add(store: &Store, chat: ChatRow, messages: Vec<MessageRow>) -> Result<(), StoreError> {
    let write = move |conn: &mut Connection| {
        let all = conn.transaction()?;
        all.execute(
            &format!("INSERT INTO chats ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"),
            params![
                chat.id,
                chat.owner,
                chat.title,
                chat.profile,
                chat.leaf,
                chat.created_at,
                chat.updated_at
            ],
        )?;
        put_messages(&all, &chat.id, &messages)?;
        all.commit()
    };
    store.write(write).await
}

/// Changes it at once or not at all, and gives it as it then is; `None`: the owner has none with that id.
pub async fn change(
    store: &Store,
    owner: &str,
    id: &str,
    change: ChatChange,
) -> Result<Option<ChatRow>, StoreError> {
    let (owner, id) = (owner.to_owned(), id.to_owned());
    let write = move |conn: &mut Connection| {
        let all = conn.transaction()?;
        let Some(mut chat) = select_one(&all, &owner, &id)? else { return Ok(None) };
        chat.title = change.title.unwrap_or(chat.title);
        chat.profile = change.profile.unwrap_or(chat.profile);
        chat.leaf = change.leaf.unwrap_or(chat.leaf);
        chat.updated_at = change.at;
        let sql = "UPDATE chats SET title = ?2, profile = ?3, leaf = ?4, updated_at = ?5 WHERE id = ?1";
        all.execute(sql, params![chat.id, chat.title, chat.profile, chat.leaf, chat.updated_at])?;
        for message in &change.remove {
            all.execute("DELETE FROM chat_messages WHERE chat = ?1 AND id = ?2", params![id, message])?;
        }
        put_messages(&all, &id, &change.put)?;
        all.commit()?;
        Ok(Some(chat))
    };
    store.write(write).await
}

/// How many messages it has; 0 too where the owner has none with that id.
pub async fn count(store: &Store, owner: &str, id: &str) -> Result<usize, StoreError> {
    let (owner, id) = (owner.to_owned(), id.to_owned());
    let sql = "SELECT count(*) FROM chat_messages JOIN chats ON chats.id = chat \
               WHERE chat = ?1 AND owner = ?2";
    store.read(move |conn| conn.query_row(sql, [id, owner], |row| row.get::<_, i64>(0))).await.map(as_usize)
}

/// The conversation and its messages in the order in which they were written.
pub async fn get(
    store: &Store,
    owner: &str,
    id: &str,
) -> Result<Option<(ChatRow, Vec<MessageRow>)>, StoreError> {
    let (owner, id) = (owner.to_owned(), id.to_owned());
    let read = move |conn: &Connection| {
        let Some(chat) = select_one(conn, &owner, &id)? else { return Ok(None) };
        let sql = "SELECT id, parent, text, content FROM chat_messages WHERE chat = ?1 ORDER BY rowid";
        let messages = conn.prepare_cached(sql)?.query_map([&id], message)?.collect::<Result<_, _>>()?;
        Ok(Some((chat, messages)))
    };
    store.read(read).await
}

/// The owner's conversations, those changed last first.
pub async fn list(store: &Store, owner: &str, filter: ChatFilter) -> Result<Vec<ChatRow>, StoreError> {
    let owner = owner.to_owned();
    let read = move |conn: &Connection| {
        let sql = format!(
            "SELECT {COLUMNS} FROM chats WHERE owner = ?1 AND updated_at < ?2 \
             AND (?3 IS NULL OR title LIKE ?3 ESCAPE '\\' OR EXISTS \
             (SELECT 1 FROM chat_messages WHERE chat = chats.id AND text LIKE ?3 ESCAPE '\\')) \
             ORDER BY updated_at DESC, id DESC LIMIT ?4"
        );
        let pattern = filter.search.map(|text| format!("%{}%", escaped(&text)));
        let before = filter.before.unwrap_or(i64::MAX);
        let limit = i64::try_from(filter.limit).unwrap_or(i64::MAX);
        conn.prepare_cached(&sql)?.query_map(params![owner, before, pattern, limit], chat)?.collect()
    };
    store.read(read).await
}

/// False: the owner has none with that id.
pub async fn remove(store: &Store, owner: &str, id: &str) -> Result<bool, StoreError> {
    let (owner, id) = (owner.to_owned(), id.to_owned());
    let sql = "DELETE FROM chats WHERE id = ?1 AND owner = ?2";
    store.write(move |conn| Ok(conn.execute(sql, [id, owner])? > 0)).await
}

fn select_one(conn: &Connection, owner: &str, id: &str) -> Result<Option<ChatRow>, rusqlite::Error> {
    let sql = format!("SELECT {COLUMNS} FROM chats WHERE id = ?1 AND owner = ?2");
    conn.prepare_cached(&sql)?.query_row([id, owner], chat).optional()
}

fn put_messages(conn: &Connection, chat: &str, messages: &[MessageRow]) -> Result<(), rusqlite::Error> {
    // Not "or replace": a message keeps its place among the others.
    let sql = "INSERT INTO chat_messages (chat, id, parent, text, content) VALUES (?1, ?2, ?3, ?4, ?5) \
               ON CONFLICT (chat, id) DO UPDATE SET parent = excluded.parent, text = excluded.text, \
               content = excluded.content";
    let mut statement = conn.prepare_cached(sql)?;
    for message in messages {
        statement.execute(params![chat, message.id, message.parent, message.text, message.content])?;
    }
    Ok(())
}

/// What is typed is looked for as it stands.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
}

fn as_usize(count: i64) -> usize {
    usize::try_from(count).unwrap_or_default()
}

fn chat(row: &Row<'_>) -> Result<ChatRow, rusqlite::Error> {
    Ok(ChatRow {
        id: row.get(0)?,
        owner: row.get(1)?,
        title: row.get(2)?,
        profile: row.get(3)?,
        leaf: row.get(4)?,
        created_at: row.get(5)?,
        updated_at: row.get(6)?,
    })
}

fn message(row: &Row<'_>) -> Result<MessageRow, rusqlite::Error> {
    Ok(MessageRow { id: row.get(0)?, parent: row.get(1)?, text: row.get(2)?, content: row.get(3)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: &str, owner: &str, title: &str, at: i64) -> ChatRow {
        let (id, owner, title) = (id.to_owned(), owner.to_owned(), title.to_owned());
        ChatRow { id, owner, title, profile: "p".into(), leaf: None, created_at: at, updated_at: at }
    }

    fn said(id: &str, parent: Option<&str>, text: &str) -> MessageRow {
        let content = format!("{{\"text\":\"{text}\"}}");
        MessageRow { id: id.into(), parent: parent.map(Into::into), text: text.into(), content }
    }

    async fn titles(store: &Store, owner: &str, search: Option<&str>) -> Vec<String> {
        let filter = ChatFilter { search: search.map(Into::into), limit: 10, before: None };
        list(store, owner, filter).await.unwrap().into_iter().map(|chat| chat.title).collect()
    }

    #[tokio::test]
    async fn a_chat_is_kept_changed_found_and_seen_by_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("s.db")).unwrap();
        add(&store, row("1", "ada", "Trains", 1), vec![said("a", None, "a 100% fast train")]).await.unwrap();
        add(&store, row("2", "ada", "Boats", 2), vec![]).await.unwrap();
        assert_eq!(titles(&store, "ada", None).await, ["Boats", "Trains"]);
        assert_eq!(titles(&store, "bob", None).await, [""; 0]);
        assert_eq!(titles(&store, "ada", Some("100%")).await, ["Trains"]);
        assert_eq!(titles(&store, "ada", Some("10_%")).await, [""; 0]);

        let put = vec![said("b", Some("a"), "and back"), said("a", None, "a slow train")];
        let wish = ChatChange { leaf: Some(Some("b".into())), put, at: 3, ..ChatChange::default() };
        assert!(change(&store, "bob", "1", wish.clone()).await.unwrap().is_none());
        assert_eq!(change(&store, "ada", "1", wish).await.unwrap().unwrap().leaf.as_deref(), Some("b"));
        let (chat, messages) = get(&store, "ada", "1").await.unwrap().unwrap();
        assert_eq!((chat.updated_at, count(&store, "ada", "1").await.unwrap()), (3, 2));
        assert_eq!(messages, [said("a", None, "a slow train"), said("b", Some("a"), "and back")]);
        assert!(get(&store, "bob", "1").await.unwrap().is_none());

        let gone = ChatChange { remove: vec!["b".into()], at: 4, ..ChatChange::default() };
        change(&store, "ada", "1", gone).await.unwrap();
        assert_eq!(count(&store, "ada", "1").await.unwrap(), 1);
        assert!(!remove(&store, "bob", "1").await.unwrap());
        assert!(remove(&store, "ada", "1").await.unwrap());
        assert_eq!(
            (titles(&store, "ada", None).await, count(&store, "ada", "1").await.unwrap()),
            (vec!["Boats".into()], 0)
        );
        store.close().await;
    }
}
