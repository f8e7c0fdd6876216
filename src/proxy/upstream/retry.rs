//! One more try, on a fresh connection, where a kept one turned out to be closed before it answered.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tower::{Layer, Service};

use super::{UpstreamError, UpstreamRequest};

#[derive(Clone, Copy)]
pub struct RetryLayer;

impl<S> Layer<S> for RetryLayer {
    type Service = Retry<S>;

    fn layer(&self, inner: S) -> Retry<S> {
        Retry { inner }
    }
}

#[derive(Clone)]
pub struct Retry<S> {
    inner: S,
}

impl<S> Service<UpstreamRequest> for Retry<S>
where
    S: Service<UpstreamRequest, Error = UpstreamError> + Clone + Send + 'static,
    S::Response: Send,
    S::Future: Send,
{
    type Response = S::Response;
    type Error = UpstreamError;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, UpstreamError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), UpstreamError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: UpstreamRequest) -> Self::Future {
        let mut inner = self.inner.clone();
        let again = UpstreamRequest { fresh: true, ..request.clone() };
        Box::pin(async move {
            match inner.call(request).await {
                Err(UpstreamError::Stale) => {
                    tracing::debug!(upstream = %again.target.authority, "A kept connection was closed; the request is sent again");
                    inner.call(again).await
                }
                outcome => outcome,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::testing::request;
    use super::*;

    /// Answers with `Stale` for so many kept connections, and counts its calls.
    fn service(
        stale: impl Fn(&UpstreamRequest) -> bool + Clone + Send + 'static,
    ) -> (
        Arc<AtomicUsize>,
        impl Service<UpstreamRequest, Response = (), Error = UpstreamError, Future: Send> + Clone + Send + 'static,
    ) {
        let calls = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&calls);
        let service = tower::service_fn(move |request: UpstreamRequest| {
            seen.fetch_add(1, Ordering::Relaxed);
            let outcome = if stale(&request) { Err(UpstreamError::Stale) } else { Ok(()) };
            std::future::ready(outcome)
        });
        (calls, service)
    }

    #[tokio::test]
    async fn a_stale_connection_is_tried_once_more_and_afresh() {
        let (calls, service) = service(|request| !request.fresh);
        assert!(RetryLayer.layer(service).call(request()).await.is_ok());
        assert_eq!(calls.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn it_is_not_tried_a_third_time() {
        let (calls, service) = service(|_| true);
        assert!(matches!(RetryLayer.layer(service).call(request()).await, Err(UpstreamError::Stale)));
        assert_eq!(calls.load(Ordering::Relaxed), 2);
    }
}
