//! The way to a backend as a tower stack, outermost first: shed what is too much, watch the deadline
//! of the first byte, try once more where nothing was sent, and the pooled client. Knows nothing of
//! profiles or usage.

mod client;
mod deadline;
mod pool;
mod retry;
mod shed;

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::{Body, Frame, SizeHint};
use tower::{Layer, Service};

use super::metered::BoxError;
use super::upload::Upload;
use crate::backends::Target;
use crate::dialect::rope::Rope;

use client::Client;
pub use client::UpstreamBody;
use deadline::Deadline;
use retry::Retry;
use shed::Shed;

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

/// A request for a backend; cloning it is cheap, for it may have to be sent again.
#[derive(Debug, Clone)]
pub struct UpstreamRequest {
    pub target: Arc<Target>,
    pub message: Arc<Message>,
    /// How long the answer's head may take.
    pub first_byte: Duration,
    /// Never a connection that was used before.
    pub fresh: bool,
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

type Stack = Shed<Deadline<Retry<Client>>>;

/// The whole stack; clones share connections and limits.
#[derive(Clone)]
pub struct Upstreams {
    stack: Stack,
}

impl Default for Upstreams {
    fn default() -> Self {
        Upstreams::new()
    }
}

impl Upstreams {
    /// No connection is open yet.
    pub fn new() -> Upstreams {
        let layers = tower::layer::util::Stack::new(
            tower::layer::util::Stack::new(retry::RetryLayer, deadline::DeadlineLayer),
            shed::ShedLayer::new(MAX_IN_FLIGHT),
        );
        Upstreams { stack: layers.layer(Client::default()) }
    }

    /// Sends a request and waits for the head of its answer.
    pub async fn send(&self, request: UpstreamRequest) -> Result<Response<UpstreamBody>, UpstreamError> {
        // Every layer is always ready: what is too much is refused by the call.
        self.stack.clone().call(request).await
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
            fresh: false,
        }
    }
}
