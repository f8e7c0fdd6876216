//! Downloads whose hub does not answer: what is written down, and what orders come to. Against a hub
//! that answers they are tested in tests/it/downloads.rs.

use std::time::Duration;

use super::*;
use crate::hub::{Token, TokenPlaces};
use crate::system::clock::SystemClock;

/// Nobody listens there.
const NOWHERE: &str = "http://127.0.0.1:9";

fn downloads(dir: &tempfile::TempDir, store: &Store, tries: u32) -> Downloads {
    let first = Duration::from_millis(1);
    Downloads::new(DownloadsDeps {
        hub: Arc::new(HubClient::new(NOWHERE, Token::new(TokenPlaces::default())).unwrap()),
        cache: dir.path().join("hub"),
        store: store.clone(),
        events: Bus::new(),
        clock: Arc::new(SystemClock),
        backoff: Backoff { first, most: first, tries },
        free_bytes: |_| None,
    })
}

async fn ended(downloads: &Downloads, id: &str) -> DownloadView {
    let (mut changes, view) = downloads.follow(id).await.unwrap();
    while view().status.is_active() {
        changes.changed().await.unwrap();
    }
    view()
}

#[tokio::test]
async fn a_hub_that_stays_away_ends_it_with_the_reason_and_it_can_be_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("s.db")).unwrap();
    let downloads = downloads(&dir, &store, 2);
    let id = downloads.start("org/m").await.unwrap().id;
    let failed = ended(&downloads, &id).await;
    assert_eq!(failed.status, Status::Failed);
    assert!(failed.reason.unwrap().contains("cannot be reached"));
    assert_eq!(downloads.order(&id, Order::Start).await.unwrap().id, id);
    assert_eq!(ended(&downloads, &id).await.status, Status::Failed);
    let refused = downloads.order(&id, Order::Pause).await.unwrap_err();
    assert!(refused.to_string().contains("failed cannot be paused"), "{refused}");
    downloads.shutdown().await;
    store.close().await;
}

#[tokio::test]
async fn what_is_under_way_is_known_to_the_next_run() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("s.db")).unwrap();
    let first = downloads(&dir, &store, 1000);
    let (running, paused) = (first.start("org/a").await.unwrap(), first.start("org/b").await.unwrap());
    first.order(&paused.id, Order::Pause).await.unwrap();
    first.shutdown().await;
    let second = downloads(&dir, &store, 1000);
    let status = |id: String| {
        let second = second.clone();
        async move { second.get(&id).await.unwrap().status }
    };
    assert_eq!(status(running.id.clone()).await, Status::Queued);
    assert_eq!(status(paused.id).await, Status::Paused);
    assert!(second.is_open("org/a").await.unwrap() && !second.is_open("org/c").await.unwrap());
    second.order(&running.id, Order::Cancel).await.unwrap();
    assert_eq!(status(running.id).await, Status::Cancelled);
    second.shutdown().await;
    store.close().await;
}

#[tokio::test]
async fn more_than_may_wait_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("s.db")).unwrap();
    let downloads = downloads(&dir, &store, 1000);
    for n in 0..ACTIVE_MAX {
        downloads.start(&format!("org/m{n}")).await.unwrap();
    }
    assert_eq!(downloads.start("org/last").await.unwrap_err(), OrderError::TooMany);
    assert_eq!(downloads.start("nonsense").await.unwrap_err(), OrderError::BadId("nonsense".into()));
    downloads.shutdown().await;
    store.close().await;
}
