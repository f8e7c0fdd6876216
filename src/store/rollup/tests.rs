//! Sums agree with the records, whatever happens to these.

use std::collections::BTreeMap;
use std::ops::Range as Span;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::store::requests::{
    AttemptRecord, Range, RequestRecord, RowSource, Status, Tokens, first_id_at, mark_interrupted, prune,
    upsert,
};
use crate::store::{Store, schema};

/// 2025-06-15T15:06:40Z.
const START: i64 = 1_750_000_000_000;
const HOUR_MS: i64 = 60 * 60 * 1000;

#[derive(Clone)]
struct Row(RequestRecord);

impl RowSource for Row {
    fn row(&self) -> RequestRecord {
        self.0.clone()
    }

    fn changed(&self) -> bool {
        false
    }

    fn ended(&self) -> bool {
        self.0.status != Status::Running
    }
}

/// The `n`th request; its looks follow from `n`.
fn request(n: u32, status: Status) -> Row {
    let started_at = START + i64::from(n) * 47 * 60 * 1000;
    let known = |figure: u64| (n % 5 != 4).then_some(figure);
    Row(RequestRecord {
        id: format!("{}-7000-8000-{n:012x}", first_id_at(started_at)),
        client_request_id: None,
        started_at,
        endpoint: "/v1/chat/completions".into(),
        requested_model: None,
        profile: Some(Arc::from(format!("profile {}", n % 2))),
        model: (!n.is_multiple_of(7)).then(|| Arc::from("model")),
        key: (!n.is_multiple_of(3)).then(|| Arc::from(format!("key {}", n % 3))),
        user: (!n.is_multiple_of(4)).then(|| Arc::from(format!("user {}", n % 4))),
        streamed: false,
        status,
        http_status: 200,
        error_code: None,
        error_message: None,
        finish_reason: None,
        tokens: Tokens {
            prompt: known(u64::from(n)),
            completion: known(7),
            estimated: n.is_multiple_of(2),
            ..Tokens::default()
        },
        queue_ms: None,
        start_ms: None,
        ttft_ms: known(3).map(|_| f64::from(n) * 1.7),
        duration_ms: (status != Status::Running).then_some(f64::from(n) * 2.5),
        decode_tps: known(3).map(|_| 20.0 + f64::from(n)),
        warnings: Vec::new(),
        attempts: Vec::<AttemptRecord>::new(),
    })
}

fn rows(requests: &[Row]) -> Vec<Arc<dyn RowSource>> {
    requests.iter().map(|row| Arc::new(row.clone()) as Arc<dyn RowSource>).collect()
}

type Sums = BTreeMap<(String, String, i64, String), Vec<u8>>;

fn sums(conn: &Connection) -> Sums {
    let mut statement = conn.prepare("SELECT owner, kind, start, name, figures FROM usage_sums").unwrap();
    let place =
        |row: &rusqlite::Row<'_>| Ok(((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?), row.get(4)?));
    statement.query_map([], place).unwrap().map(Result::unwrap).collect()
}

/// What the table would hold, were it made out of the records now.
fn afresh(conn: &Connection) -> Sums {
    let tx = conn.unchecked_transaction().unwrap();
    tx.execute("DELETE FROM usage_sums", []).unwrap();
    fill(&tx).unwrap();
    let made = sums(&tx);
    tx.rollback().unwrap();
    made
}

/// Collects names with their numbers of requests, and how many came one by one.
#[derive(Default)]
struct Counted {
    groups: BTreeMap<String, i64>,
    single: usize,
    /// Spans that may not be taken whole.
    cut: Vec<i64>,
}

impl Fold for Counted {
    fn takes_whole(&mut self, span: Span<i64>) -> bool {
        !self.cut.iter().any(|at| span.contains(at))
    }

    fn sum(&mut self, _start: i64, name: Option<&str>, sum: Encoded<'_>) {
        let mut figures = Figures::default();
        sum.add_to(&mut figures);
        *self.groups.entry(name.unwrap_or("-").to_owned()).or_default() += figures.requests();
    }

    fn row(&mut self, row: &UsageRow<'_>) {
        self.single += 1;
        *self.groups.entry(row.profile.unwrap_or("-").to_owned()).or_default() += 1;
    }
}

#[test]
fn a_request_counts_once_when_it_has_ended_and_never_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut conn = schema::open_writer(&dir.path().join("store.db")).unwrap();
    upsert(&mut conn, &rows(&[request(1, Status::Running)])).unwrap();
    assert!(sums(&conn).is_empty(), "what runs is in no sum");
    upsert(&mut conn, &rows(&[request(1, Status::Completed)])).unwrap();
    let once = sums(&conn);
    assert_eq!(once.len(), 10, "five kinds, for everybody and for its user");
    upsert(&mut conn, &rows(&[request(1, Status::Failed), request(1, Status::Completed)])).unwrap();
    assert_eq!(sums(&conn), once, "an end is told once");
}

#[test]
fn an_older_store_gets_its_sums_from_its_records() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    let mut conn = schema::open_writer(&path).unwrap();
    let all: Vec<Row> = (0..50).map(|n| request(n, Status::Completed)).collect();
    upsert(&mut conn, &rows(&all)).unwrap();
    let kept = sums(&conn);
    // What later migrations make and change goes, so that they can be made again.
    for table in [
        "usage_sums",
        "chat_messages",
        "chats",
        "plugin_grants",
        "users",
        "api_keys",
        "sessions",
        "reset_links",
        "audit",
        "captures",
        "settings",
        "pinned_backends",
        "response_items",
        "responses_under_way",
        "responses",
    ] {
        conn.execute_batch(&format!("DROP TABLE {table}")).unwrap();
    }
    conn.execute_batch("PRAGMA user_version = 4").unwrap();
    drop(conn);
    assert_eq!(sums(&schema::open_writer(&path).unwrap()), kept);
}

#[tokio::test]
async fn a_range_takes_whole_spans_as_sums_and_its_edges_from_the_records() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    let mut conn = schema::open_writer(&path).unwrap();
    // One every 47 minutes, over 6.5 days.
    let all: Vec<Row> = (0..200).map(|n| request(n, Status::Completed)).collect();
    upsert(&mut conn, &rows(&all)).unwrap();
    upsert(&mut conn, &rows(&[request(200, Status::Running)])).unwrap();
    drop(conn);
    let store = Store::open(&path).unwrap();
    let asked = async |from: i64, to: i64, by, owner: Option<&str>| {
        let range = Range { from: Some(from), to: Some(to) };
        let owner = owner.map(str::to_owned);
        let counted = report(&store, range, owner.clone(), by, Counted::default()).await.unwrap();
        let meant = |row: &&Row| {
            (from..to).contains(&row.0.started_at)
                && owner.as_deref().is_none_or(|o| row.0.user.as_deref() == Some(o))
        };
        let expected = all.iter().chain([&request(200, Status::Interrupted)]).filter(meant).count();
        assert_eq!(counted.groups.values().sum::<i64>(), expected as i64, "{from}..{to} by {by:?}");
        counted
    };
    let end = START + 200 * HOUR_MS;
    for owner in [None, Some("user 1"), Some("nobody")] {
        for by in [By::Time, By::Profile] {
            for (from, to) in [(START, end), (START + 1, end), (START + 30 * HOUR_MS, START + 31 * HOUR_MS)] {
                asked(from, to, by, owner).await;
            }
        }
    }
    let whole = asked(START - START % DAY_MS, end - end % DAY_MS, By::Profile, None).await;
    assert_eq!(whole.single, 0, "whole days are read as sums");
    let edges = asked(START + 5 * HOUR_MS, START + 100 * HOUR_MS, By::Profile, None).await;
    assert!(edges.single < 62, "at most two days come one by one: {}", edges.single);
    let cut = Counted { cut: vec![all[9].0.started_at], ..Counted::default() };
    let counted = report(&store, Range::default(), None, By::Time, cut).await.unwrap();
    assert_eq!((counted.single, counted.groups.values().sum::<i64>()), (1, 201));
    let used = tokens_by_key_since(&store, START - START % DAY_MS).await.unwrap();
    let of = |key: &str| used.iter().find(|(name, _)| name == key).unwrap().1;
    let known = |row: &&Row| row.0.key.as_deref() == Some("key 1") && row.0.tokens.prompt.is_some();
    let sum: u64 = all.iter().filter(known).map(|row| row.0.tokens.prompt.unwrap() + 7).sum();
    assert_eq!(of("key 1"), sum);
}

#[tokio::test]
async fn records_that_are_forgotten_leave_the_sums() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.db");
    let mut conn = schema::open_writer(&path).unwrap();
    let all: Vec<Row> = (0..100).map(|n| request(n, Status::Completed)).collect();
    upsert(&mut conn, &rows(&all)).unwrap();
    let store = Store::open(&path).unwrap();
    // In the middle of an hour and of a day.
    assert_eq!(prune(&store, all[42].0.started_at).await.unwrap(), 42);
    assert_eq!(sums(&conn), afresh(&conn));
    assert_eq!(prune(&store, START + 365 * DAY_MS).await.unwrap(), 58);
    assert!(sums(&conn).is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn sums_are_those_of_the_records_whatever_happened(
        steps in prop::collection::vec((0_u32..60, 0_usize..6), 1..120), batch in 1_usize..20,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut conn = schema::open_writer(&dir.path().join("store.db")).unwrap();
        let statuses = [
            Status::Running, Status::Completed, Status::Failed, Status::Refused, Status::Cancelled, Status::Running,
        ];
        let all: Vec<Row> = steps.iter().map(|(n, status)| request(*n, statuses[*status])).collect();
        for some in all.chunks(batch) {
            upsert(&mut conn, &rows(some)).unwrap();
        }
        prop_assert_eq!(sums(&conn), afresh(&conn));
        mark_interrupted(&mut conn).unwrap();
        prop_assert_eq!(sums(&conn), afresh(&conn));
    }
}
