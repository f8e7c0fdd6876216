//! The table `captures`: documents about single requests, kept for a while and within a bound. Knows
//! nothing of what stands in one.

use rusqlite::{Connection, OptionalExtension, params};

use super::{Store, StoreError};

/// One request's document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaptureRow {
    pub request: String,
    /// Milliseconds since 1970, UTC.
    pub captured_at: i64,
    /// JSON.
    pub document: String,
}

/// What may be kept; the oldest go first.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    pub rows: i64,
    pub bytes: i64,
    /// Those captured earlier go, in milliseconds since 1970, UTC.
    pub oldest: i64,
}

/// How much is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kept {
    pub rows: u64,
    pub bytes: u64,
}

/// Keeps one, and within the bounds only.
pub async fn put(store: &Store, row: CaptureRow, bounds: Bounds) -> Result<(), StoreError> {
    let write = move |conn: &mut Connection| {
        let all = conn.transaction()?;
        let bytes = i64::try_from(row.document.len()).unwrap_or(i64::MAX);
        all.prepare_cached(
            "INSERT OR REPLACE INTO captures (request, captured_at, bytes, document) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![row.request, row.captured_at, bytes, row.document])?;
        shrink(&all, bounds)?;
        all.commit()
    };
    store.write(write).await
}

/// Deletes what lies beyond the bounds.
pub async fn prune(store: &Store, bounds: Bounds) -> Result<usize, StoreError> {
    store.write(move |conn| shrink(conn, bounds)).await
}

/// The capture of a request, as JSON.
pub async fn get(store: &Store, request: &str) -> Result<Option<String>, StoreError> {
    let request = request.to_owned();
    store
        .read(move |conn| {
            let mut statement = conn.prepare_cached("SELECT document FROM captures WHERE request = ?1")?;
            statement.query_row([request], |row| row.get(0)).optional()
        })
        .await
}

/// False: there was none.
pub async fn remove(store: &Store, request: &str) -> Result<bool, StoreError> {
    let request = request.to_owned();
    let sql = "DELETE FROM captures WHERE request = ?1";
    store.write(move |conn| conn.execute(sql, [request])).await.map(|gone| gone > 0)
}

/// Returns how many went.
pub async fn remove_all(store: &Store) -> Result<usize, StoreError> {
    store.write(|conn| conn.execute("DELETE FROM captures", [])).await
}

/// How many captures there are, and their bytes.
pub async fn kept(store: &Store) -> Result<Kept, StoreError> {
    store
        .read(|conn| {
            conn.query_row("SELECT count(*), coalesce(sum(bytes), 0) FROM captures", [], |row| {
                let unsigned = |figure: i64| u64::try_from(figure).unwrap_or(0);
                Ok(Kept { rows: unsigned(row.get(0)?), bytes: unsigned(row.get(1)?) })
            })
        })
        .await
}

/// The index has all that this looks at.
fn shrink(conn: &Connection, bounds: Bounds) -> Result<usize, rusqlite::Error> {
    const SHRINK: &str = "DELETE FROM captures WHERE captured_at < ?1 OR request IN (
        SELECT request FROM (
            SELECT request, row_number() OVER newest AS place, sum(bytes) OVER newest AS upto
            FROM captures WINDOW newest AS (ORDER BY captured_at DESC, request DESC)
        ) WHERE place > ?2 OR upto > ?3)";
    conn.prepare_cached(SHRINK)?.execute(params![bounds.oldest, bounds.rows, bounds.bytes])
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDE: Bounds = Bounds { rows: 10, bytes: 1_000, oldest: 0 };

    fn row(request: &str, captured_at: i64) -> CaptureRow {
        CaptureRow { request: request.into(), captured_at, document: "x".repeat(100) }
    }

    async fn there(store: &Store) -> String {
        let mut all = String::new();
        for name in ["a", "b", "c", "d"] {
            if get(store, name).await.unwrap().is_some() {
                all.push_str(name);
            }
        }
        all
    }

    #[tokio::test]
    async fn the_oldest_go_by_number_size_and_age() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store.db")).unwrap();
        for (at, name) in (1..).zip(["a", "b", "c", "d"]) {
            put(&store, row(name, at), WIDE).await.unwrap();
        }
        assert_eq!(kept(&store).await.unwrap(), Kept { rows: 4, bytes: 400 });
        assert_eq!(prune(&store, Bounds { rows: 3, ..WIDE }).await.unwrap(), 1);
        assert_eq!(there(&store).await, "bcd");
        assert_eq!(prune(&store, Bounds { bytes: 200, ..WIDE }).await.unwrap(), 1);
        assert_eq!(there(&store).await, "cd");
        put(&store, row("a", 5), Bounds { oldest: 4, ..WIDE }).await.unwrap();
        assert_eq!(there(&store).await, "ad");
        assert!(remove(&store, "a").await.unwrap());
        assert!(!remove(&store, "a").await.unwrap());
        assert_eq!(remove_all(&store).await.unwrap(), 1);
        assert_eq!(kept(&store).await.unwrap(), Kept::default());
    }
}
