//! The way to a backend as a tower stack, outermost first: shed what is too much, watch the deadline
//! of the first byte, try once more where nothing was sent, and the pooled client. Knows nothing of
//! profiles or usage.

mod client;
mod deadline;
mod pool;
mod retry;
mod shed;

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Response};
use tower::{Layer, Service};

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
