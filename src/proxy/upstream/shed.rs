//! Refuses what is more than the machine can hold open, instead of letting it pile up. The place is
//! kept until the answer's body is done with.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Response;
use tokio::sync::Semaphore;
use tower::{Layer, Service};

use super::{UpstreamBody, UpstreamError, UpstreamRequest};

#[derive(Clone)]
pub struct ShedLayer {
    places: Arc<Semaphore>,
}

impl ShedLayer {
    pub fn new(places: usize) -> ShedLayer {
        ShedLayer { places: Arc::new(Semaphore::new(places)) }
    }
}

impl<S> Layer<S> for ShedLayer {
    type Service = Shed<S>;

    fn layer(&self, inner: S) -> Shed<S> {
        Shed { inner, places: Arc::clone(&self.places) }
    }
}

#[derive(Clone)]
pub struct Shed<S> {
    inner: S,
    places: Arc<Semaphore>,
}

impl<S> Service<UpstreamRequest> for Shed<S>
where
    S: Service<UpstreamRequest, Response = Response<UpstreamBody>, Error = UpstreamError>,
    S::Future: Send + 'static,
{
    type Response = Response<UpstreamBody>;
    type Error = UpstreamError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, UpstreamError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), UpstreamError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: UpstreamRequest) -> Self::Future {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            return Box::pin(std::future::ready(Err(UpstreamError::Shed)));
        };
        let answer = self.inner.call(request);
        Box::pin(async move {
            let mut answer = answer.await?;
            answer.body_mut().hold(place);
            Ok(answer)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::request;
    use super::*;

    #[tokio::test]
    async fn one_too_many_is_refused_at_once_and_a_place_comes_back() {
        let silent = tower::service_fn(|_: UpstreamRequest| std::future::pending());
        let mut shed = ShedLayer::new(1).layer(silent);
        let first = shed.call(request());
        assert!(matches!(shed.call(request()).await, Err(UpstreamError::Shed)));
        drop(first);
        assert!(futures_util::poll!(shed.call(request())).is_pending());
    }
}
