//! The limits that every wait of a request runs under: its cancellation (by an operator, by the gateway itself, or because its
//! caller lost the right to it) and `timeouts.total`. What else may end a wait is its caller's to add.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::failure::Failure;
use super::upstream_end::{Timeout, UpstreamEnd};
use crate::usage::Live;

/// The limits of one request.
#[derive(Clone)]
pub struct Limits {
    live: Arc<Live>,
    /// When the request was sent upstream, and how long it may take from then on.
    total: Option<(Instant, Duration)>,
}

impl Limits {
    /// Before anything is sent upstream: what is waited for has bounds of its own.
    pub fn before_sending(live: &Arc<Live>) -> Limits {
        Limits { live: Arc::clone(live), total: None }
    }

    /// From `sent` on, when `timeouts.total` begins.
    pub fn since(live: &Arc<Live>, sent: Instant, total: Duration) -> Limits {
        Limits { live: Arc::clone(live), total: Some((sent, total)) }
    }

    /// Waits for `outcome`, unless the request ends first.
    pub async fn run<T>(&self, outcome: impl Future<Output = T>) -> Result<T, Failure> {
        tokio::select! {
            biased;
            outcome = outcome => Ok(outcome),
            () = self.live.cancelled() => Err(Failure::of_cancelled(&self.live)),
            failure = self.expired() => Err(failure),
        }
    }

    /// The same for at most `limit`; none: that has passed.
    pub async fn run_for<T>(
        &self,
        limit: Duration,
        outcome: impl Future<Output = T>,
    ) -> Result<Option<T>, Failure> {
        self.run(tokio::time::timeout(limit, outcome)).await.map(Result::ok)
    }

    async fn expired(&self) -> Failure {
        let Some((sent, total)) = self.total else { return std::future::pending().await };
        tokio::time::sleep(total.saturating_sub(sent.elapsed())).await;
        UpstreamEnd::TimedOut(Timeout::Total, total).into()
    }
}
