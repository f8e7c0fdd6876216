//! The tables `responses` and `response_items`: what clients may go on from. Every operation names the
//! owner, so that nobody reaches another's. Knows nothing of what an item says.

use rusqlite::{Connection, OptionalExtension, params};

use super::{Store, StoreError};

/// A response with what was sent for it and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseRow {
    pub id: String,
    pub owner: String,
    pub previous: Option<String>,
    /// Milliseconds since 1970, UTC.
    pub created_at: i64,
    /// A JSON document.
    pub response: String,
    pub items: Vec<ItemRow>,
}

/// One item of a response's input or output, as JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemRow {
    pub id: String,
    /// Sent by the client.
    pub input: bool,
    /// A JSON document.
    pub item: String,
}

/// A conversation up to and with a response.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chain {
    /// In the order in which they were said.
    pub items: Vec<String>,
    /// A response that it goes on from and that is not there.
    pub missing: Option<String>,
    /// It is longer than was asked for.
    pub cut: bool,
}

/// What an owner may keep.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    pub responses: i64,
    pub bytes: i64,
}

/// Keeps a response; the owner's oldest ones go when there are too many.
pub async fn put(store: &Store, row: ResponseRow, bounds: Bounds) -> Result<(), StoreError> {
    let write = move |conn: &mut Connection| {
        let all = conn.transaction()?;
        insert(&all, &row)?;
        make_room(&all, &row.owner, bounds)?;
        all.commit()
    };
    store.write(write).await
}

/// The same of a response that is yet to be made.
pub async fn begin(store: &Store, row: ResponseRow, bounds: Bounds) -> Result<(), StoreError> {
    let write = move |conn: &mut Connection| {
        let all = conn.transaction()?;
        insert(&all, &row)?;
        all.execute("INSERT INTO responses_under_way (response) VALUES (?1)", [&row.id])?;
        make_room(&all, &row.owner, bounds)?;
        all.commit()
    };
    store.write(write).await
}

/// Keeps what came of a response that was begun; false: it is no longer kept. `row` holds its output alone.
pub async fn end(store: &Store, row: ResponseRow, bounds: Bounds) -> Result<bool, StoreError> {
    let write = move |conn: &mut Connection| {
        let all = conn.transaction()?;
        let sql = "UPDATE responses SET response = ?3, bytes = bytes + ?4 WHERE id = ?1 AND owner = ?2";
        let known = all.execute(sql, params![row.id, row.owner, row.response, bytes(&row)])? > 0;
        if known {
            let sql = "SELECT coalesce(max(place) + 1, 0) FROM response_items WHERE response = ?1";
            let place: i64 = all.query_row(sql, [&row.id], |row| row.get(0))?;
            insert_items(&all, &row, place)?;
            all.execute("DELETE FROM responses_under_way WHERE response = ?1", [&row.id])?;
            make_room(&all, &row.owner, bounds)?;
        }
        all.commit()?;
        Ok(known)
    };
    store.write(write).await
}

/// What a gateway that ended has left unfinished has failed.
pub(super) fn mark_cut_off(conn: &Connection) -> Result<usize, rusqlite::Error> {
    let sql = "UPDATE responses SET response = json_set(response, '$.status', 'failed', '$.error', \
               json_object('code', 'server_error', 'message', 'the gateway ended before the response was made')) \
               WHERE id IN (SELECT response FROM responses_under_way)";
    let cut_off = conn.execute(sql, [])?;
    conn.execute("DELETE FROM responses_under_way", [])?;
    Ok(cut_off)
}

/// The response; `None`: the owner has none with that id.
pub async fn get(store: &Store, owner: &str, id: &str) -> Result<Option<String>, StoreError> {
    let (owner, id) = (owner.to_owned(), id.to_owned());
    let sql = "SELECT response FROM responses WHERE id = ?1 AND owner = ?2";
    store
        .read(move |conn| conn.prepare_cached(sql)?.query_row([id, owner], |row| row.get(0)).optional())
        .await
}

/// What was sent for a response; `None`: the owner has none with that id.
pub async fn input(store: &Store, owner: &str, id: &str) -> Result<Option<Vec<String>>, StoreError> {
    let (owner, id) = (owner.to_owned(), id.to_owned());
    let read = move |conn: &Connection| {
        let sql = "SELECT 1 FROM responses WHERE id = ?1 AND owner = ?2";
        if !conn.prepare_cached(sql)?.exists([&id, &owner])? {
            return Ok(None);
        }
        let sql = "SELECT item FROM response_items WHERE response = ?1 AND input = 1 ORDER BY place";
        let items = conn.prepare_cached(sql)?.query_map([id], |row| row.get(0))?.collect::<Result<_, _>>()?;
        Ok(Some(items))
    };
    store.read(read).await
}

/// Items of the owner's by their ids, in no order.
pub async fn items(store: &Store, owner: &str, ids: Vec<String>) -> Result<Vec<String>, StoreError> {
    let owner = owner.to_owned();
    let read = move |conn: &Connection| {
        let sql = "SELECT item FROM response_items AS i JOIN responses AS r ON r.id = i.response \
                   WHERE i.id = ?1 AND r.owner = ?2 LIMIT 1";
        let mut statement = conn.prepare_cached(sql)?;
        let mut found = Vec::new();
        for id in ids {
            found.extend(statement.query_row([&id, &owner], |row| row.get(0)).optional()?);
        }
        Ok(found)
    };
    store.read(read).await
}

/// The conversation that ends with a response, of at most `responses_max` responses and `bytes_max` bytes;
/// `None`: the owner has none with that id.
pub async fn chain(
    store: &Store,
    owner: &str,
    id: &str,
    responses_max: usize,
    bytes_max: usize,
) -> Result<Option<Chain>, StoreError> {
    let (owner, id) = (owner.to_owned(), id.to_owned());
    let read = move |conn: &Connection| {
        let Some((ids, missing, mut cut)) = ancestors(conn, &owner, id, responses_max)? else {
            return Ok(None);
        };
        let sql = "SELECT item FROM response_items WHERE response = ?1 ORDER BY place";
        let mut statement = conn.prepare_cached(sql)?;
        let (mut items, mut bytes) = (Vec::new(), 0);
        for id in ids.iter().rev() {
            let mut rows = statement.query([id])?;
            while let Some(row) = rows.next()? {
                let item: String = row.get(0)?;
                bytes += item.len();
                items.push(item);
                if bytes > bytes_max {
                    cut = true;
                    return Ok(Some(Chain { items: Vec::new(), missing, cut }));
                }
            }
        }
        Ok(Some(Chain { items, missing, cut }))
    };
    store.read(read).await
}

/// False: the owner has none with that id.
pub async fn remove(store: &Store, owner: &str, id: &str) -> Result<bool, StoreError> {
    let (owner, id) = (owner.to_owned(), id.to_owned());
    let sql = "DELETE FROM responses WHERE id = ?1 AND owner = ?2";
    store.write(move |conn| Ok(conn.execute(sql, [id, owner])? > 0)).await
}

/// Forgets what is older and nothing younger goes on from; returns how many went.
pub async fn prune(store: &Store, oldest: i64) -> Result<usize, StoreError> {
    let write = move |conn: &mut Connection| {
        let sql = "DELETE FROM responses WHERE created_at < ?1 AND NOT EXISTS \
                   (SELECT 1 FROM responses AS later WHERE later.previous = responses.id)";
        let mut gone = 0;
        loop {
            match conn.execute(sql, [oldest])? {
                0 => return Ok(gone),
                some => gone += some,
            }
        }
    };
    store.write(write).await
}

fn insert(conn: &Connection, row: &ResponseRow) -> Result<(), rusqlite::Error> {
    let sql = "INSERT INTO responses (id, owner, previous, created_at, bytes, response) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let ResponseRow { id, owner, previous, created_at, response, .. } = row;
    conn.prepare_cached(sql)?.execute(params![id, owner, previous, created_at, bytes(row), response])?;
    insert_items(conn, row, 0)
}

/// From this place of its conversation on.
fn insert_items(conn: &Connection, row: &ResponseRow, from: i64) -> Result<(), rusqlite::Error> {
    let sql = "INSERT INTO response_items (response, place, id, input, item) VALUES (?1, ?2, ?3, ?4, ?5)";
    let mut statement = conn.prepare_cached(sql)?;
    for (place, item) in (from..).zip(&row.items) {
        statement.execute(params![row.id, place, item.id, item.input, item.item])?;
    }
    Ok(())
}

/// Of a response and its items.
fn bytes(row: &ResponseRow) -> i64 {
    let bytes = row.response.len() + row.items.iter().map(|item| item.item.len()).sum::<usize>();
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// Ids from a response back to the first of its conversation, what is missing there, and whether it is longer.
type Ancestors = (Vec<String>, Option<String>, bool);

fn ancestors(
    conn: &Connection,
    owner: &str,
    id: String,
    most: usize,
) -> Result<Option<Ancestors>, rusqlite::Error> {
    let sql = "SELECT previous FROM responses WHERE id = ?1 AND owner = ?2";
    let mut statement = conn.prepare_cached(sql)?;
    let (mut ids, mut next) = (Vec::new(), Some(id));
    while let Some(id) = next {
        if ids.len() >= most {
            return Ok(Some((ids, None, true)));
        }
        match statement.query_row([&id, owner], |row| row.get::<_, Option<String>>(0)).optional()? {
            Some(previous) => {
                ids.push(id);
                next = previous;
            }
            None if ids.is_empty() => return Ok(None),
            None => return Ok(Some((ids, Some(id), false))),
        }
    }
    Ok(Some((ids, None, false)))
}

fn make_room(conn: &Connection, owner: &str, bounds: Bounds) -> Result<(), rusqlite::Error> {
    let sql = "SELECT count(*), coalesce(sum(bytes), 0) FROM responses WHERE owner = ?1";
    let (count, bytes): (i64, i64) =
        conn.prepare_cached(sql)?.query_row([owner], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if count <= bounds.responses && bytes <= bounds.bytes {
        return Ok(());
    }
    let sql = "DELETE FROM responses WHERE id IN (SELECT id FROM (SELECT id, \
               row_number() OVER newest AS place, sum(bytes) OVER newest AS total FROM responses \
               WHERE owner = ?1 WINDOW newest AS (ORDER BY created_at DESC, id DESC)) \
               WHERE place > 1 AND (place > ?2 OR total > ?3))";
    conn.prepare_cached(sql)?.execute(params![owner, bounds.responses, bounds.bytes]).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDE: Bounds = Bounds { responses: 100, bytes: 1 << 20 };

    fn row(id: &str, owner: &str, previous: Option<&str>, at: i64) -> ResponseRow {
        let item = |part: &str, input| ItemRow {
            id: format!("{part}-{id}"),
            input,
            item: format!("\"{part} {id}\""),
        };
        ResponseRow {
            id: id.into(),
            owner: owner.into(),
            previous: previous.map(Into::into),
            created_at: at,
            response: format!("\"{id}\""),
            items: vec![item("in", true), item("out", false)],
        }
    }

    async fn opened() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("s.db")).unwrap();
        (dir, store)
    }

    #[tokio::test]
    async fn a_conversation_is_the_items_of_all_its_responses_and_its_owners_alone() {
        let (_dir, store) = opened().await;
        put(&store, row("a", "ada", None, 1), WIDE).await.unwrap();
        put(&store, row("b", "ada", Some("a"), 2), WIDE).await.unwrap();
        let whole = chain(&store, "ada", "b", 10, 1000).await.unwrap().unwrap();
        assert_eq!(whole.items, ["\"in a\"", "\"out a\"", "\"in b\"", "\"out b\""]);
        assert_eq!((whole.missing, whole.cut), (None, false));
        assert!(chain(&store, "ada", "b", 1, 1000).await.unwrap().unwrap().cut);
        assert!(chain(&store, "ada", "b", 10, 9).await.unwrap().unwrap().cut);
        assert_eq!(input(&store, "ada", "b").await.unwrap().unwrap(), ["\"in b\""]);
        assert_eq!(items(&store, "ada", vec!["out-a".into(), "x".into()]).await.unwrap(), ["\"out a\""]);
        assert_eq!(get(&store, "ada", "a").await.unwrap().as_deref(), Some("\"a\""));
        assert_eq!(chain(&store, "bob", "b", 10, 1000).await.unwrap(), None);
        assert_eq!(get(&store, "bob", "a").await.unwrap(), None);
        assert_eq!(input(&store, "bob", "a").await.unwrap(), None);
        assert!(items(&store, "bob", vec!["out-a".into()]).await.unwrap().is_empty());
        assert!(!remove(&store, "bob", "a").await.unwrap() && remove(&store, "ada", "a").await.unwrap());
        let broken = chain(&store, "ada", "b", 10, 1000).await.unwrap().unwrap();
        assert_eq!(broken.missing.as_deref(), Some("a"));
        assert!(items(&store, "ada", vec!["out-a".into()]).await.unwrap().is_empty(), "items go with it");
    }

    #[tokio::test]
    async fn one_that_was_begun_is_ended_or_has_failed_when_the_store_is_opened_again() {
        let (dir, store) = opened().await;
        let begun = |id: &str| ResponseRow {
            response: format!(r#"{{"id":"{id}","status":"queued","error":null}}"#),
            items: vec![ItemRow { id: format!("in-{id}"), input: true, item: "\"in\"".into() }],
            ..row(id, "ada", None, 1)
        };
        begin(&store, begun("a"), WIDE).await.unwrap();
        begin(&store, begun("b"), WIDE).await.unwrap();
        let output = vec![ItemRow { id: "out-a".into(), input: false, item: "\"out\"".into() }];
        let made = |id: &str| ResponseRow {
            response: format!(r#"{{"id":"{id}","status":"completed"}}"#),
            items: output.clone(),
            ..row(id, "ada", None, 1)
        };
        assert!(end(&store, made("a"), WIDE).await.unwrap());
        let chain = chain(&store, "ada", "a", 10, 1000).await.unwrap().unwrap();
        assert_eq!(chain.items, ["\"in\"", "\"out\""]);
        assert!(!end(&store, made("none"), WIDE).await.unwrap(), "deleted meanwhile");
        store.close().await;
        let store = Store::open(&dir.path().join("s.db")).unwrap();
        let kept = |id| get(&store, "ada", id);
        assert!(kept("a").await.unwrap().unwrap().contains("completed"));
        let cut_off = kept("b").await.unwrap().unwrap();
        assert!(cut_off.contains("\"failed\"") && cut_off.contains("the gateway ended"), "{cut_off}");
    }

    #[tokio::test]
    async fn the_old_go_unless_something_younger_goes_on_from_them() {
        let (_dir, store) = opened().await;
        for (id, previous, at) in
            [("a", None, 1), ("b", Some("a"), 9), ("c", None, 1), ("d", Some("c"), 2), ("e", Some("d"), 3)]
        {
            put(&store, row(id, "ada", previous, at), WIDE).await.unwrap();
        }
        assert_eq!(prune(&store, 5).await.unwrap(), 3);
        assert!(get(&store, "ada", "a").await.unwrap().is_some(), "the beginning of what goes on");
    }

    #[tokio::test]
    async fn an_owner_keeps_so_many_and_no_more_than_the_newest_is_certain() {
        let (_dir, store) = opened().await;
        put(&store, row("his", "bob", None, 1), WIDE).await.unwrap();
        let two = Bounds { responses: 2, ..WIDE };
        for (id, at) in [("a", 1), ("b", 2), ("c", 3)] {
            put(&store, row(id, "ada", None, at), two).await.unwrap();
        }
        assert_eq!(get(&store, "ada", "a").await.unwrap(), None);
        assert!(get(&store, "ada", "b").await.unwrap().is_some());
        put(&store, row("d", "ada", None, 4), Bounds { bytes: 1, ..WIDE }).await.unwrap();
        assert_eq!(get(&store, "ada", "c").await.unwrap(), None);
        assert!(
            get(&store, "ada", "d").await.unwrap().is_some()
                && get(&store, "bob", "his").await.unwrap().is_some()
        );
    }
}
