//! A million records: reading, writing and forgetting go on beside each other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::requests::{Filter, LIST_MAX, RequestRecord, RowSource, Status, Tokens, list, prune};
use super::{Store, rollup};

const RECORDS: i64 = 1_000_000;
/// 2026-01-01T00:00:00Z; a record every ten seconds from then on.
const START_MS: i64 = 1_767_225_600_000;
const STEP_MS: i64 = 10_000;
/// Far more than it takes here, and far less than a person or a client would wait for.
const PATIENCE: Duration = Duration::from_secs(10);

struct New(u32);

impl RowSource for New {
    fn row(&self) -> RequestRecord {
        let started_at = START_MS + RECORDS * STEP_MS;
        let time = format!("{started_at:012x}");
        RequestRecord {
            id: format!("{}-{}-7fff-8000-{:012x}", &time[..8], &time[8..], self.0),
            client_request_id: None,
            started_at,
            endpoint: "/v1/chat/completions".into(),
            requested_model: None,
            profile: Some("qwen".into()),
            model: None,
            key: None,
            user: None,
            streamed: false,
            status: Status::Completed,
            http_status: 200,
            error_code: None,
            error_message: None,
            finish_reason: None,
            tokens: Tokens { completion: Some(1), ..Tokens::default() },
            queue_ms: None,
            start_ms: None,
            ttft_ms: None,
            decode_tps: None,
            duration_ms: Some(5.0),
            warnings: Vec::new(),
            attempts: Vec::new(),
        }
    }

    fn changed(&self) -> bool {
        false
    }

    fn ended(&self) -> bool {
        true
    }
}

async fn filled(store: &Store) {
    let fill = format!(
        "INSERT INTO requests (id, started_at, status, profile, estimated, endpoint, streamed, http_status, completion_tokens)
         WITH RECURSIVE n(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM n WHERE n < {RECORDS} - 1),
         t(n, at) AS (SELECT n, {START_MS} + n * {STEP_MS} FROM n)
         SELECT printf('%08x-%04x-7000-8000-%012x', at >> 16, at & 65535, n), at, 'completed', 'qwen', 0,
                '/v1/chat/completions', 1, 200, 3
         FROM t"
    );
    store
        .write(move |conn| {
            let tx = conn.transaction()?;
            tx.execute_batch(&fill)?;
            rollup::fill(&tx)?;
            tx.commit()
        })
        .await
        .unwrap();
}

async fn newest(store: &Store) -> Vec<RequestRecord> {
    let began = Instant::now();
    let page = list(store, Filter { limit: LIST_MAX, ..Filter::default() }).await.unwrap();
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    page
}

async fn counted(store: &Store) -> i64 {
    store.read(|conn| conn.query_row("SELECT count(*) FROM requests", [], |row| row.get(0))).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_million_records_are_read_added_to_and_forgotten_at_the_same_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    let store = Store::open(&path).unwrap();
    filled(&store).await;
    let page = newest(&store).await;
    assert_eq!(page.len(), LIST_MAX);
    assert_eq!(page[0].started_at, START_MS + (RECORDS - 1) * STEP_MS);

    // Half of them are forgotten, piece by piece, while new ones come and are read.
    let half = RECORDS / 2;
    let forgetting = tokio::spawn({
        let store = store.clone();
        async move { prune(&store, START_MS + half * STEP_MS).await }
    });
    let mut added = 0;
    let mut beside = 0;
    while added < 20 || !forgetting.is_finished() {
        beside += u32::from(!forgetting.is_finished());
        let began = Instant::now();
        assert!(store.submit(Arc::new(New(added))));
        store.flush().await.unwrap();
        added += 1;
        assert_eq!(newest(&store).await.len(), LIST_MAX);
        assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    }
    assert!(beside > 0, "some of it went on beside the forgetting");
    assert_eq!(forgetting.await.unwrap().unwrap(), usize::try_from(half).unwrap());
    assert_eq!((counted(&store).await, store.lost()), (half + i64::from(added), 0));

    // And the next start finds them as they are.
    store.close().await;
    let began = Instant::now();
    let store = Store::open(&path).unwrap();
    assert_eq!(newest(&store).await[0].profile.as_deref(), Some("qwen"));
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
}
