//! Sends requests to backends over pooled connections: bounded in number and in the time of the first byte, and once
//! more where nothing was sent.

mod client;
mod pool;

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Response};
use http_body::{Body, Frame, SizeHint};
use tokio::sync::Semaphore;

use super::metered::BoxError;
use super::upload::Upload;
use crate::backends::Target;
use crate::dialect::rope::Rope;

use client::Client;
pub use client::UpstreamBody;

/// What is said to a backend, whichever that will be.
#[derive(Debug, Default)]
pub struct Message {
    /// Below the target's base path, such as `/chat/completions`.
    pub path: &'static str,
    /// Already filtered: only what may go upstream.
    pub headers: HeaderMap,
    pub body: Rope,
    /// In its place: a form that goes on while it arrives, until it is sent.
    pub upload: Mutex<Option<Upload>>,
}

impl Message {
    /// Whether there is an upload of which nothing was sent.
    pub fn holds_upload(&self) -> bool {
        self.upload.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// As it goes over the wire.
    fn body(&self) -> Outgoing {
        let upload = self.upload.lock().unwrap_or_else(PoisonError::into_inner).take();
        upload
            .map_or_else(|| Outgoing::Held(self.body.clone()), |upload| Outgoing::Arriving(Box::new(upload)))
    }
}

/// A request's body: there already, or arriving.
#[derive(Debug)]
pub enum Outgoing {
    Held(Rope),
    Arriving(Box<Upload>),
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            Outgoing::Held(rope) => Pin::new(rope).poll_frame(cx).map_err(|never| match never {}),
            Outgoing::Arriving(upload) => Pin::new(upload.as_mut()).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Outgoing::Held(rope) if rope.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Outgoing::Held(rope) => rope.size_hint(),
            Outgoing::Arriving(_) => SizeHint::default(),
        }
    }
}

/// A request for a backend.
#[derive(Debug, Clone)]
pub struct UpstreamRequest {
    pub target: Arc<Target>,
    pub message: Arc<Message>,
    /// How long the answer's head may take.
    pub first_byte: Duration,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    #[error("{MAX_IN_FLIGHT} requests are already under way; try again later")]
    Shed,
    #[error("no answer within {} s (timeouts.first_token)", .0.as_secs_f64())]
    Deadline(Duration),
    #[error("cannot connect to the backend at {authority}: {reason}")]
    Connect { authority: String, reason: String },
    /// A kept connection was closed before it had answered; nothing is known to have been done.
    #[error("the backend closed the connection")]
    Stale,
    #[error("the connection to the backend broke: {0}")]
    Broken(String),
    #[error("the upstream's address cannot be used: {0}")]
    Address(String),
}

/// Requests that may be under way upstream, over all backends.
pub const MAX_IN_FLIGHT: usize = 10_000;

/// Connections to all backends; clones share them.
#[derive(Clone)]
pub struct Upstreams {
    client: Client,
    /// A request keeps one until its answer's body is done.
    places: Arc<Semaphore>,
}

impl Default for Upstreams {
    fn default() -> Self {
        Upstreams::new(MAX_IN_FLIGHT)
    }
}

impl Upstreams {
    /// Returns a client for so many requests at once, without any connection.
    pub fn new(places: usize) -> Upstreams {
        Upstreams { client: Client::default(), places: Arc::new(Semaphore::new(places)) }
    }

    /// Sends a request and waits for the head of its answer.
    ///
    /// # Errors
    /// If too many requests are under way, or no answer comes in time.
    pub fn send(
        &self,
        request: UpstreamRequest,
    ) -> BoxFuture<'_, Result<Response<UpstreamBody>, UpstreamError>> {
        // Boxed: large, and copied with every future around it.
        Box::pin(async move {
            let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| UpstreamError::Shed)?;
            let limit = request.first_byte;
            let sent = tokio::time::timeout(limit, self.send_or_resend(request)).await;
            let mut response = sent.unwrap_or(Err(UpstreamError::Deadline(limit)))?;
            response.body_mut().hold(place);
            Ok(response)
        })
    }

    /// Sends a request once more, over a new connection, if a kept one was closed before it answered.
    async fn send_or_resend(
        &self,
        request: UpstreamRequest,
    ) -> Result<Response<UpstreamBody>, UpstreamError> {
        // An upload can be sent only once.
        let is_upload = request.message.holds_upload();
        match self.client.send(&request, is_upload).await {
            Err(UpstreamError::Stale) if !is_upload => {
                tracing::debug!(upstream = %request.target.authority, "Resending a request over a new connection");
                self.client.send(&request, true).await
            }
            outcome => outcome,
        }
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod testing {
    use super::*;

    /// Some request.
    pub fn request() -> UpstreamRequest {
        UpstreamRequest {
            target: Arc::new(Target::local(9).expect("a local address")),
            message: Arc::new(Message { path: "/chat/completions", ..Message::default() }),
            first_byte: Duration::from_secs(3),
        }
    }
}
