//! The recorder over a real store, with a clock that moves when told.

mod clock_jumps;
mod endings;
mod exactly_once;
mod killed;
mod ledger;
mod live;
mod reports;

use std::sync::Arc;
use std::time::Duration;

use super::testing::{START_UNIX_MS, TestClock};
use super::*;
use crate::store::Store;

/// A recorder, what it stands on, and the folder that goes with it.
struct Fixture {
    recorder: Recorder,
    clock: Arc<TestClock>,
    dir: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(TestClock::default());
        let store = Store::open(&dir.path().join("store.db")).unwrap();
        Fixture { recorder: Recorder::new(store, clock.clone()), clock, dir }
    }

    fn begin(&self) -> Ledger {
        self.recorder.begin(chat("qwen"))
    }

    async fn all(&self) -> Vec<RequestView> {
        self.recorder.list(Filter::default()).await.unwrap()
    }

    async fn get(&self, id: uuid::Uuid) -> RequestView {
        self.recorder.get(&id.to_string(), None).await.unwrap().expect("the record exists")
    }

    fn pass_ms(&self, ms: u64) {
        self.clock.advance(Duration::from_millis(ms));
    }
}

fn chat(profile: &str) -> NewRequest {
    NewRequest {
        endpoint: "/v1/chat/completions",
        requested_model: Some("gpt-4o-mini".into()),
        profile: Some(profile.into()),
        model: Some("mlx-community/Qwen3-4B-4bit".into()),
        key: Some("key_1".into()),
        user: Some("user_1".into()),
        streamed: true,
        ..NewRequest::default()
    }
}

fn completed(prompt: u64, completion: u64) -> Outcome {
    let tokens = Tokens { prompt: Some(prompt), completion: Some(completion), ..Tokens::default() };
    Outcome { tokens, finish_reason: Some("stop".into()), ..Outcome::new(Status::Completed, 200) }
}
