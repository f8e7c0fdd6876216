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

/// What an owner may keep.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Messages of one conversation.
    pub messages: i64,
    /// Bytes of one conversation's messages as JSON. The copy of their text that a search reads does not count again.
    pub chat_bytes: i64,
    /// Conversations of one owner.
    pub chats: i64,
    /// Bytes of all messages of one owner.
    pub bytes: i64,
}

/// The bound that a change would exceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exceeded {
    Messages,
    ChatBytes,
    Chats,
    Bytes,
}

const COLUMNS: &str = "id, owner, title, profile, leaf, created_at, updated_at";

/// Makes a conversation with its messages, unless a bound would be exceeded.
pub async fn add(
    store: &Store,
    chat: ChatRow,
    messages: Vec<MessageRow>,
    bounds: Bounds,
) -> Result<Result<(), Exceeded>, StoreError> {
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
        let exceeded = match exceeded(&all, &chat.owner, &chat.id, 0, bounds)? {
            None if owned(&all, &chat.owner)?.0 > bounds.chats => Some(Exceeded::Chats),
            exceeded => exceeded,
        };
        match exceeded {
            Some(exceeded) => Ok(Err(exceeded)),
            None => all.commit().map(Ok),
        }
    };
    store.write(write).await
}

/// Changes it at once or not at all, and gives it as it then is; `None`: the owner has none with that id. A change
/// that adds no bytes exceeds no bound of bytes.
pub async fn change(
    store: &Store,
    owner: &str,
    id: &str,
    change: ChatChange,
    bounds: Bounds,
) -> Result<Result<Option<ChatRow>, Exceeded>, StoreError> {
    let (owner, id) = (owner.to_owned(), id.to_owned());
    let write = move |conn: &mut Connection| {
        let all = conn.transaction()?;
        let Some(mut chat) = select_one(&all, &owner, &id)? else { return Ok(Ok(None)) };
        let before = all.query_row("SELECT bytes FROM chats WHERE id = ?1", [&id], |row| row.get(0))?;
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
        if let Some(exceeded) = exceeded(&all, &owner, &id, before, bounds)? {
            return Ok(Err(exceeded));
        }
        all.commit()?;
        Ok(Ok(Some(chat)))
    };
    store.write(write).await
}

/// How many messages it has; 0 too where the owner has none with that id.
#[cfg(test)]
async fn count(store: &Store, owner: &str, id: &str) -> Result<usize, StoreError> {
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

/// Notes the bytes of a conversation that had `before`, and returns the bound that they exceed.
fn exceeded(
    conn: &Connection,
    owner: &str,
    chat: &str,
    before: i64,
    bounds: Bounds,
) -> Result<Option<Exceeded>, rusqlite::Error> {
    let sql = "SELECT count(*), coalesce(sum(octet_length(content)), 0) \
               FROM chat_messages WHERE chat = ?1";
    let (messages, bytes): (i64, i64) =
        conn.prepare_cached(sql)?.query_row([chat], |row| Ok((row.get(0)?, row.get(1)?)))?;
    conn.prepare_cached("UPDATE chats SET bytes = ?2 WHERE id = ?1")?.execute(params![chat, bytes])?;
    if messages > bounds.messages {
        return Ok(Some(Exceeded::Messages));
    }
    if bytes <= before {
        return Ok(None);
    }
    if bytes > bounds.chat_bytes {
        return Ok(Some(Exceeded::ChatBytes));
    }
    Ok((owned(conn, owner)?.1 > bounds.bytes).then_some(Exceeded::Bytes))
}

/// Conversations of an owner, and the bytes of their messages.
fn owned(conn: &Connection, owner: &str) -> Result<(i64, i64), rusqlite::Error> {
    let sql = "SELECT count(*), coalesce(sum(bytes), 0) FROM chats WHERE owner = ?1";
    conn.prepare_cached(sql)?.query_row([owner], |row| Ok((row.get(0)?, row.get(1)?)))
}

/// What is typed is looked for as it stands.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
}

#[cfg(test)]
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

    const WIDE: Bounds = Bounds { messages: 100, chat_bytes: 1 << 20, chats: 100, bytes: 1 << 20 };

    async fn titles(store: &Store, owner: &str, search: Option<&str>) -> Vec<String> {
        let filter = ChatFilter { search: search.map(Into::into), limit: 10, before: None };
        list(store, owner, filter).await.unwrap().into_iter().map(|chat| chat.title).collect()
    }

    #[tokio::test]
    async fn a_chat_is_kept_changed_found_and_seen_by_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("s.db")).unwrap();
        add(&store, row("1", "ada", "Trains", 1), vec![said("a", None, "a 100% fast train")], WIDE)
            .await
            .unwrap()
            .unwrap();
        add(&store, row("2", "ada", "Boats", 2), vec![], WIDE).await.unwrap().unwrap();
        assert_eq!(titles(&store, "ada", None).await, ["Boats", "Trains"]);
        assert_eq!(titles(&store, "bob", None).await, [""; 0]);
        assert_eq!(titles(&store, "ada", Some("100%")).await, ["Trains"]);
        assert_eq!(titles(&store, "ada", Some("10_%")).await, [""; 0]);

        let put = vec![said("b", Some("a"), "and back"), said("a", None, "a slow train")];
        let wish = ChatChange { leaf: Some(Some("b".into())), put, at: 3, ..ChatChange::default() };
        assert!(change(&store, "bob", "1", wish.clone(), WIDE).await.unwrap().unwrap().is_none());
        let changed = change(&store, "ada", "1", wish, WIDE).await.unwrap().unwrap().unwrap();
        assert_eq!(changed.leaf.as_deref(), Some("b"));
        let (chat, messages) = get(&store, "ada", "1").await.unwrap().unwrap();
        assert_eq!((chat.updated_at, count(&store, "ada", "1").await.unwrap()), (3, 2));
        assert_eq!(messages, [said("a", None, "a slow train"), said("b", Some("a"), "and back")]);
        assert!(get(&store, "bob", "1").await.unwrap().is_none());

        let gone = ChatChange { remove: vec!["b".into()], at: 4, ..ChatChange::default() };
        change(&store, "ada", "1", gone, WIDE).await.unwrap().unwrap();
        assert_eq!(count(&store, "ada", "1").await.unwrap(), 1);
        assert!(!remove(&store, "bob", "1").await.unwrap());
        assert!(remove(&store, "ada", "1").await.unwrap());
        assert_eq!(
            (titles(&store, "ada", None).await, count(&store, "ada", "1").await.unwrap()),
            (vec!["Boats".into()], 0)
        );
        store.close().await;
    }

    #[tokio::test]
    async fn chats_exceed_no_bound_however_many_requests_come_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("s.db")).unwrap();
        let bounds = Bounds { messages: 3, chat_bytes: 1_000, chats: 4, bytes: 2_500 };
        let long = |id: &str, bytes: usize| said(id, None, &"x".repeat(bytes - 11));
        let new = |id: &'static str, owner: &'static str, bytes| {
            add(&store, row(id, owner, "", 1), vec![long("a", bytes)], bounds)
        };
        let put = |id: &'static str, put: Vec<MessageRow>| {
            change(&store, "ada", id, ChatChange { put, at: 2, ..ChatChange::default() }, bounds)
        };
        assert_eq!(new("0", "ada", 1_002).await.unwrap(), Err(Exceeded::ChatBytes));
        let all = futures_util::future::join_all((1..9).map(|n| {
            let (id, store) = (n.to_string(), &store);
            async move { add(store, row(&id, "ada", "", 1), vec![long("a", 800)], bounds).await.unwrap() }
        }));
        let all = all.await;
        assert_eq!(all.iter().filter(|added| added.is_ok()).count(), 3, "{all:?}");
        assert!(all.contains(&Err(Exceeded::Bytes)));
        assert_eq!(new("his", "bob", 1_000).await.unwrap(), Ok(()), "each owner has bounds of its own");
        assert_eq!(put("1", vec![long("b", 300)]).await.unwrap(), Err(Exceeded::ChatBytes));
        assert_eq!(put("1", vec![long("b", 150)]).await.unwrap(), Err(Exceeded::Bytes));
        assert!(put("1", vec![long("a", 700)]).await.unwrap().is_ok(), "what gets smaller is taken");
        assert!(put("1", vec![long("b", 100), long("c", 50)]).await.unwrap().is_ok());
        let more = vec![long("d", 20)];
        assert_eq!(put("1", more).await.unwrap(), Err(Exceeded::Messages));
        remove(&store, "ada", "2").await.unwrap();
        assert!(put("1", vec![long("b", 140)]).await.unwrap().is_ok(), "what was deleted makes room");
        assert_eq!(new("x", "ada", 20).await.unwrap(), Ok(()));
        assert_eq!(new("y", "ada", 20).await.unwrap(), Ok(()));
        assert_eq!(new("z", "ada", 20).await.unwrap(), Err(Exceeded::Chats));
        store.close().await;
    }
}
