//! The limits that every wait of a request runs under: its cancellation (by an operator, by the gateway itself, or because its
//! caller lost the right to it) and `timeouts.total`. What else may end a wait is its caller's to add.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use pin_project_lite::pin_project;
use tokio::time::Sleep;

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
    pub fn run<F: Future>(&self, outcome: F) -> Limited<'_, F> {
        Limited { limits: self, outcome, timer: None }
    }

    /// The same for at most `limit`; none: that has passed.
    pub async fn run_for<T>(
        &self,
        limit: Duration,
        outcome: impl Future<Output = T>,
    ) -> Result<Option<T>, Failure> {
        self.run(tokio::time::timeout(limit, outcome)).await.map(Result::ok)
    }
}

pin_project! {
    /// A wait within [`Limits`]. No `async fn`, which would keep room for `outcome` twice.
    pub struct Limited<'a, F> {
        limits: &'a Limits,
        #[pin]
        outcome: F,
        timer: Option<Pin<Box<Sleep>>>,
    }
}

impl<F: Future> Future for Limited<'_, F> {
    type Output = Result<F::Output, Failure>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(outcome) = this.outcome.poll(cx) {
            return Poll::Ready(Ok(outcome));
        }
        let live = &this.limits.live;
        if live.poll_cancelled(cx).is_ready() {
            return Poll::Ready(Err(Failure::of_cancelled(live)));
        }
        let Some((sent, total)) = this.limits.total else { return Poll::Pending };
        let timer =
            this.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until((sent + total).into())));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(UpstreamEnd::TimedOut(Timeout::Total, total).into()))
    }
}
