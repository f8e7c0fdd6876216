//! The time an answer's head may take.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tower::{Layer, Service};

use super::{UpstreamError, UpstreamRequest};

#[derive(Clone, Copy)]
pub struct DeadlineLayer;

impl<S> Layer<S> for DeadlineLayer {
    type Service = Deadline<S>;

    fn layer(&self, inner: S) -> Deadline<S> {
        Deadline { inner }
    }
}

#[derive(Clone)]
pub struct Deadline<S> {
    inner: S,
}

impl<S> Service<UpstreamRequest> for Deadline<S>
where
    S: Service<UpstreamRequest, Error = UpstreamError>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = UpstreamError;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, UpstreamError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), UpstreamError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: UpstreamRequest) -> Self::Future {
        let limit = request.first_byte;
        let answer = self.inner.call(request);
        Box::pin(async move {
            tokio::time::timeout(limit, answer).await.unwrap_or(Err(UpstreamError::Deadline(limit)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::request;
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_backend_that_never_answers_is_given_up() {
        let silent =
            tower::service_fn(|_: UpstreamRequest| std::future::pending::<Result<(), UpstreamError>>());
        let outcome = DeadlineLayer.layer(silent).call(request()).await;
        assert!(matches!(outcome, Err(UpstreamError::Deadline(limit)) if limit == request().first_byte));
    }
}
