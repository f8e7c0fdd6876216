//! The store as a whole: batches, refusals of the disk, closing.

use std::borrow::Cow;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::requests::{Filter, RequestRecord, Status, Tokens, list};
use super::*;

/// A request that is what it is told to be, and counts how often it was rendered.
struct Fake {
    id: u32,
    ended: bool,
    message: String,
    rendered: AtomicUsize,
}

impl Fake {
    fn new(id: u32, ended: bool) -> Arc<Fake> {
        Fake::with_message(id, ended, String::new())
    }

    fn with_message(id: u32, ended: bool, message: String) -> Arc<Fake> {
        Arc::new(Fake { id, ended, message, rendered: AtomicUsize::new(0) })
    }
}

impl RowSource for Fake {
    fn row(&self) -> RequestRecord {
        self.rendered.fetch_add(1, Ordering::Relaxed);
        RequestRecord {
            id: format!("01976f3a-0000-7000-8000-{:012x}", self.id),
            client_request_id: None,
            started_at: 1_750_000_000_000,
            endpoint: Cow::Borrowed("/v1/chat/completions"),
            requested_model: None,
            profile: None,
            model: None,
            key: None,
            user: None,
            streamed: false,
            status: if self.ended { Status::Completed } else { Status::Running },
            http_status: 200,
            error_code: None,
            error_message: Some(self.message.clone()),
            finish_reason: None,
            tokens: Tokens::default(),
            queue_ms: None,
            start_ms: None,
            ttft_ms: None,
            duration_ms: None,
            decode_tps: None,
            warnings: Vec::new(),
            attempts: Vec::new(),
        }
    }

    fn changed(&self) -> bool {
        false
    }

    fn ended(&self) -> bool {
        self.ended
    }
}

fn open() -> (Store, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (Store::open(&dir.path().join("store.db")).unwrap(), dir)
}

async fn count(store: &Store) -> usize {
    list(store, Filter::default()).await.unwrap().len()
}

async fn pragma(store: &Store, name: &'static str, value: i64) {
    // The answer of max_page_count is the value in force.
    store.write(move |conn| conn.pragma_update_and_check(None, name, value, |_| Ok(()))).await.unwrap();
}

#[tokio::test]
async fn rows_submitted_before_a_flush_are_there_after_it() {
    let (store, _dir) = open();
    let rows: Vec<_> = (0..500).map(|id| Fake::new(id, true)).collect();
    for row in &rows {
        assert!(store.submit(Arc::clone(row) as _));
    }
    store.flush().await.unwrap();
    assert_eq!(count(&store).await, 500);
    assert!(rows.iter().all(|row| row.rendered.load(Ordering::Relaxed) == 1), "each was written once");
}

#[tokio::test]
async fn the_end_of_a_request_is_never_written_over() {
    let (store, _dir) = open();
    assert!(store.submit(Fake::new(1, true)));
    store.flush().await.unwrap();
    assert!(store.submit(Fake::new(1, false)));
    store.flush().await.unwrap();
    assert_eq!(list(&store, Filter::default()).await.unwrap()[0].status, Status::Completed);
}

#[tokio::test]
async fn a_full_disk_keeps_the_records_in_memory_until_it_takes_them() {
    let (store, _dir) = open();
    let pages =
        store.write(|conn| conn.pragma_query_value(None, "page_count", |row| row.get(0))).await.unwrap();
    pragma(&store, "max_page_count", pages).await;
    for id in 0..200 {
        assert!(store.submit(Fake::with_message(id, true, "x".repeat(900))));
    }
    let refused = store.flush().await.unwrap_err();
    assert_eq!(refused, StoreError::Disk { reason: "the disk is full" });
    assert!(refused.is_temporary());
    assert_eq!((count(&store).await, store.lost()), (0, 0));

    pragma(&store, "max_page_count", 1_000_000).await;
    assert!(store.submit(Fake::new(200, true)));
    store.flush().await.unwrap();
    assert_eq!((count(&store).await, store.lost()), (201, 0));
}

#[tokio::test]
async fn a_record_that_finds_no_room_is_refused_at_once() {
    let inbox = Inbox::default();
    let row = Fake::new(1, true);
    for _ in 0..RECORDS_MAX {
        assert!(inbox.submit(Arc::clone(&row) as _));
    }
    assert!(!inbox.submit(Arc::clone(&row) as _));
    // What the writer holds and has not committed takes its room too.
    let mut taken = Vec::new();
    inbox.wait(None, true, &mut taken);
    assert_eq!(taken.len(), RECORDS_MAX);
    assert!(!inbox.submit(Arc::clone(&row) as _));
    inbox.release();
    assert!(inbox.submit(row));
}

#[tokio::test]
async fn closing_writes_what_is_pending_and_refuses_what_comes_later() {
    let (store, dir) = open();
    assert!(store.submit(Fake::new(1, true)));
    assert!(store.submit(Fake::new(2, false)));
    store.close().await;
    assert!(!store.submit(Fake::new(3, true)));
    assert_eq!(store.flush().await, Err(StoreError::Closed));
    assert_eq!(list(&store, Filter::default()).await, Err(StoreError::Closed));
    assert!(!dir.path().join("store.db-wal").exists(), "the log is folded into the file");

    let store = Store::open(&dir.path().join("store.db")).unwrap();
    let statuses: Vec<_> =
        list(&store, Filter::default()).await.unwrap().into_iter().map(|r| r.status).collect();
    assert_eq!(statuses, [Status::Interrupted, Status::Completed]);
}

#[tokio::test]
async fn more_readers_than_connections_take_turns() {
    let (store, _dir) = open();
    assert!(store.submit(Fake::new(1, true)));
    store.flush().await.unwrap();
    let counts = futures_util::future::join_all((0..50).map(|_| count(&store))).await;
    assert_eq!(counts, [1; 50]);
}

#[tokio::test]
async fn readers_cannot_write() {
    let (store, _dir) = open();
    let refused = store.read(|conn| conn.execute("DELETE FROM requests", [])).await;
    assert_eq!(refused, Err(StoreError::Disk { reason: "the file is read-only" }));
}
