//! Captures from the switch to the store and back, over the real store.

use std::time::{Duration, Instant};

use http::HeaderValue;
use tempfile::TempDir;

use super::*;

/// Moves when told.
struct TestClock {
    start: Instant,
    passed_ms: AtomicI64,
}

impl TestClock {
    fn advance(&self, by: Duration) {
        self.passed_ms.fetch_add(by.as_millis() as i64, Ordering::Relaxed);
    }
}

impl Clock for TestClock {
    fn unix_ms(&self) -> i64 {
        1_750_000_000_000 + self.passed_ms.load(Ordering::Relaxed)
    }

    fn now(&self) -> Instant {
        self.start
    }
}

struct Setup {
    dir: TempDir,
    clock: Arc<TestClock>,
    captures: Captures,
}

impl Setup {
    async fn new() -> Setup {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(TestClock { start: Instant::now(), passed_ms: AtomicI64::new(0) });
        let captures = open(&dir, &clock).await;
        Setup { dir, clock, captures }
    }

    async fn on(&self, change: Change) {
        self.captures.change(Change { on: Some(true), ..change }).await.unwrap();
    }

    fn capture(&self, asked: &[&str], answered: &[&str]) -> String {
        let id = Uuid::now_v7();
        let mut headers = HeaderMap::new();
        headers.insert("authorization", HeaderValue::from_static("Bearer sk-mgw-0123456789abcdef"));
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        let mut taking = self.captures.take(id, "/v1/chat/completions", &headers).unwrap();
        let share = taking.asked();
        asked.iter().for_each(|piece| share.push(piece.as_bytes()));
        taking.answers(200);
        answered.iter().for_each(|piece| taking.answered(piece.as_bytes()));
        id.to_string()
    }
}

async fn open(dir: &TempDir, clock: &Arc<TestClock>) -> Captures {
    let store = Store::open(&dir.path().join("store.db")).unwrap();
    Captures::open(store, Arc::clone(clock) as Arc<dyn Clock>).await.unwrap()
}

/// Runs the test beside the writer.
async fn beside_writer(setup: &Setup, test: impl Future<Output = ()>) {
    let writer = setup.captures.write_down();
    tokio::select! {
        () = test => {}
        () = writer => panic!("the writer ended"),
    }
}

#[tokio::test]
async fn a_request_is_kept_with_its_answer_and_without_credentials() {
    let setup = Setup::new().await;
    beside_writer(&setup, async {
        assert!(!setup.captures.is_on());
        setup.on(Change::default()).await;
        assert!(setup.captures.is_on());
        let id = setup.capture(
            &["{\"model\":\"q\",", "\"api_key\":\"s3cret\"}"],
            &["data: {}\n\n", "data: [DONE]\n\n"],
        );
        let kept = setup.captures.get(&id).await.unwrap().unwrap();
        assert_eq!(kept.request.body.text.as_deref(), Some("{\"model\":\"q\",\"api_key\":\"[redacted]\"}"));
        assert_eq!(kept.response.body.text.as_deref(), Some("data: {}\n\ndata: [DONE]\n\n"));
        assert_eq!((kept.response.status, kept.request.body.cut), (Some(200), false));
        let credential = kept.request.headers.iter().find(|header| header.name == "authorization").unwrap();
        assert_eq!(credential.value, "[redacted]");
        assert_eq!(setup.captures.kept().await.unwrap().rows, 1);
        assert!(setup.captures.remove(&id).await.unwrap());
        assert_eq!(setup.captures.get(&id).await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn what_is_too_long_is_cut_between_two_characters() {
    let setup = Setup::new().await;
    beside_writer(&setup, async {
        setup.on(Change { max_bytes: Some(1_024), ..Change::default() }).await;
        let long = format!("{}é and more", "x".repeat(1_023));
        let id = setup.capture(&[long.as_str()], &["short"]);
        let kept = setup.captures.get(&id).await.unwrap().unwrap();
        assert_eq!(kept.request.body.text.unwrap(), "x".repeat(1_023));
        assert_eq!((kept.request.body.bytes, kept.request.body.cut), (long.len() as u64, true));
        assert_eq!((kept.response.body.bytes, kept.response.body.cut), (5, false));
    })
    .await;
}

#[tokio::test]
async fn without_contents_nothing_that_was_said_reaches_the_store() {
    let setup = Setup::new().await;
    beside_writer(&setup, async {
        setup.on(Change { contents: Some(false), ..Change::default() }).await;
        let id =
            setup.capture(&["{\"messages\":[{\"role\":\"user\",\"content\":\"my secret\"}]}"], &["not JSON"]);
        let kept = setup.captures.get(&id).await.unwrap().unwrap();
        let shape = "{\"messages\":[{\"role\":\"user\",\"content\":\"[9 characters]\"}]}";
        assert_eq!(kept.request.body.text.as_deref(), Some(shape));
        assert_eq!((kept.contents, kept.response.body.text), (false, None));
        let file = std::fs::read(setup.dir.path().join("store.db-wal")).unwrap();
        assert!(!String::from_utf8_lossy(&file).contains("my secret"));
    })
    .await;
}

#[tokio::test]
async fn the_switch_outlives_the_process_and_turns_itself_off() {
    let setup = Setup::new().await;
    setup.on(Change { minutes: Some(10), ..Change::default() }).await;
    let later = open(&setup.dir, &setup.clock).await;
    assert!(later.is_on());
    setup.clock.advance(Duration::from_secs(601));
    assert!(!later.is_on() && !setup.captures.is_on());
    assert_eq!(later.switch().until_ms, None);
}

#[tokio::test]
async fn old_ones_go_by_themselves() {
    let setup = Setup::new().await;
    beside_writer(&setup, async {
        setup.on(Change { retention_days: Some(1), ..Change::default() }).await;
        let old = setup.capture(&["{}"], &["{}"]);
        assert!(setup.captures.get(&old).await.unwrap().is_some());
        setup.clock.advance(Duration::from_secs(25 * 3_600));
        let new = setup.capture(&["{}"], &["{}"]);
        assert!(setup.captures.get(&new).await.unwrap().is_some());
        assert!(setup.captures.get(&old).await.unwrap().is_none());
    })
    .await;
}

#[tokio::test]
async fn no_more_are_taken_at_once_than_there_are_places() {
    let setup = Setup::new().await;
    let take = || setup.captures.take(Uuid::now_v7(), "/v1/completions", &HeaderMap::new());
    let mut taken: Vec<_> = (0..AT_ONCE).map(|_| take().unwrap()).collect();
    assert!(take().is_none());
    taken.pop().unwrap().abandon();
    assert!(take().is_some());
}
