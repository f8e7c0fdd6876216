//! Requests that run: what is seen of them, and ending them from outside.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use super::*;
use crate::store::requests::RowSource;

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn running_requests_are_seen_with_their_counters_and_leave_when_they_end() {
    let fixture = Fixture::new();
    let first = fixture.begin();
    fixture.pass_ms(1);
    let second = fixture.begin();
    second.live().add_tokens(3);

    let live = fixture.recorder.live();
    let ids: Vec<_> = live.iter().map(|view| view.id.clone()).collect();
    assert_eq!(ids, [second.id().to_string(), first.id().to_string()]);
    assert_eq!((live[0].status.as_str(), live[0].completion_tokens), ("running", Some(3)));
    assert_eq!((live[1].completion_tokens, live[1].duration_ms, live[1].http_status), (None, None, None));

    second.finish(completed(1, 3));
    assert_eq!(fixture.recorder.live().len(), 1);
    drop(first);
    assert!(fixture.recorder.live().is_empty());
}

#[tokio::test]
async fn a_row_is_in_the_store_while_its_request_runs() {
    let fixture = Fixture::new();
    let ledger = fixture.begin();
    // No flush: the writer's own batch brings it.
    let filter = || Filter { status: Some(Status::Running), ..Filter::default() };
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    loop {
        let records = crate::store::requests::list(fixture.recorder.store(), filter()).await.unwrap();
        if records.len() == 1 {
            assert_eq!(records[0].id, ledger.id().to_string());
            break;
        }
        assert!(std::time::Instant::now() < deadline, "no row came");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn cancelling_wakes_the_body_that_waits() {
    let fixture = Fixture::new();
    let ledger = fixture.begin();
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&wakes));
    let mut cx = Context::from_waker(&waker);
    assert_eq!(ledger.live().poll_cancelled(&mut cx), Poll::Pending);

    assert!(fixture.recorder.cancel(&ledger.id().to_string()));
    assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
    assert_eq!(ledger.live().poll_cancelled(&mut cx), Poll::Ready(()));
    ledger.live().cancelled().await;

    let id = ledger.id().to_string();
    drop(ledger);
    assert!(!fixture.recorder.cancel(&id), "an ended request cannot be cancelled");
    assert!(!fixture.recorder.cancel("not an id"));
}

#[tokio::test]
async fn a_request_is_queued_once_until_it_is_rendered() {
    let clock = Arc::new(TestClock::default());
    let live = live::Live::new(uuid::Uuid::nil(), 0, chat("qwen"), clock);
    assert!(live.enqueue());
    live.end(completed(1, 2));
    assert!(!live.enqueue(), "the end needs no second place in the queue");
    assert_eq!((live.row().status, live.ended(), live.changed()), (Status::Completed, true, false));
}

#[tokio::test]
async fn an_end_after_the_row_was_rendered_is_queued_again() {
    let clock = Arc::new(TestClock::default());
    let live = live::Live::new(uuid::Uuid::nil(), 0, chat("qwen"), clock);
    assert!(live.enqueue());
    assert_eq!((live.row().status, live.ended(), live.changed()), (Status::Running, false, false));
    live.add_tokens(1);
    assert!(live.changed(), "counters are checkpointed");
    assert!(!live.row().tokens.estimated || !live.changed());
    live.end(completed(1, 2));
    assert!(live.changed() && live.enqueue());
}

#[tokio::test]
async fn live_rates_and_totals_agree_with_the_records() {
    let fixture = Fixture::new();
    let streamed = fixture.begin();
    (0..10).for_each(|_| streamed.live().add_tokens(1));
    assert_eq!(fixture.recorder.throughput().tokens_per_s("qwen"), 2.0);
    streamed.finish(completed(5, 12));
    fixture.begin().finish(completed(5, 30));
    let dropped = fixture.begin();
    dropped.live().add_tokens(8);
    drop(dropped);

    let report = usage(&fixture.recorder, UsageQuery::default()).await.unwrap();
    assert_eq!(report.total.completion_tokens, Some(50));
    let all = fixture.recorder.throughput().all();
    assert_eq!(all, [("qwen".into(), 10.0, 50)]);
}
