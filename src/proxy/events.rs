//! Events that were put together, on their way to the client. There is no way to make them that does not end
//! with the right of the caller who reads them.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};

use super::answer::Answer;
use crate::auth::Caller;
use crate::usage::Live;

/// A stream of events that ends with its caller's right.
pub struct Events {
    events: Pin<Box<dyn Stream<Item = Bytes> + Send>>,
    /// The request that they answer.
    live: Option<Arc<Live>>,
}

impl Events {
    /// Events that `caller` follows without a request of its own.
    pub fn followed(caller: &Caller, events: impl Stream<Item = Bytes> + Send + 'static) -> Events {
        Events { events: Box::pin(events.take_until(caller.ended())), live: None }
    }

    /// Events of a running request, which give its last words when `live` is cancelled, as it is when its caller
    /// loses the right to it.
    pub fn of_request(live: &Arc<Live>, events: impl Stream<Item = Bytes> + Send + 'static) -> Events {
        Events { events: Box::pin(events), live: Some(Arc::clone(live)) }
    }

    /// An answer's events in another form; they end as the answer does.
    pub fn rewritten<S>(answer: Answer, rewrite: impl FnOnce(Answer) -> S) -> Events
    where
        S: Stream<Item = Bytes> + Send + 'static,
    {
        let live = answer.live();
        Events { events: Box::pin(rewrite(answer)), live }
    }

    /// The request that they answer; none: they are followed without one.
    pub(super) fn live(&self) -> Option<&Arc<Live>> {
        self.live.as_ref()
    }

    pub(super) fn poll_events(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        self.events.as_mut().poll_next(cx)
    }
}
