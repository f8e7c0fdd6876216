//! The body of an answer to a client, whichever way it came about.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;

use super::events::Events;
use super::failure::Failure;
use super::metered::{BoxError, Metered};
use super::upstream::UpstreamBody;
use super::whole::Whole;
use crate::dialect::assembled::Assembled;
use crate::usage::Live;

/// What goes to the client.
pub enum Answer {
    Full(Bytes),
    Whole(Box<Whole<UpstreamBody>>),
    Stream(Box<Metered<UpstreamBody>>),
    /// Put together out of several rounds.
    Events(Events),
    Done,
}

impl Answer {
    /// The request that it answers, while that runs; what ends it while its client does not read.
    pub fn live(&self) -> Option<Arc<Live>> {
        match self {
            Answer::Full(_) | Answer::Done => None,
            Answer::Whole(whole) => whole.live(),
            Answer::Stream(stream) => stream.live(),
            Answer::Events(events) => events.live(),
        }
        .cloned()
    }

    /// Reads the answer into memory. One that is larger than `kept` has room for ends its request as failed.
    pub async fn collected(mut self, mut kept: Assembled) -> Result<Bytes, Failure> {
        if let Answer::Full(bytes) = &mut self {
            return Ok(std::mem::take(bytes));
        }
        let mut out = Vec::new();
        while let Some(frame) = self.frame().await {
            let frame = frame.map_err(|error| match error.downcast::<Failure>() {
                Ok(failure) => *failure,
                Err(error) => Failure::backend(format!("the answer broke off: {error}")),
            })?;
            if let Some(bytes) = frame.data_ref()
                && let Err(failure) = kept.extend(&mut out, bytes)
            {
                let failure = Failure::from(failure);
                self.abort(&failure, false);
                return Err(failure);
            }
        }
        Ok(out.into())
    }

    /// Has its request end as failed. `begun`: the client was told a status already.
    pub fn abort(&self, failure: &Failure, begun: bool) {
        if let Some(live) = self.live() {
            live.abort(failure.to_abort(begun));
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut *self {
            Answer::Done => Poll::Ready(None),
            Answer::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Answer::Done;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Answer::Whole(whole) => Pin::new(whole.as_mut()).poll_frame(cx),
            Answer::Stream(stream) => Pin::new(stream.as_mut()).poll_frame(cx),
            Answer::Events(events) => {
                events.poll_events(cx).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Answer::Done => true,
            Answer::Full(bytes) => bytes.is_empty(),
            Answer::Whole(whole) => whole.is_end_stream(),
            Answer::Stream(_) | Answer::Events(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Answer::Done => SizeHint::with_exact(0),
            Answer::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Answer::Whole(whole) => whole.size_hint(),
            Answer::Stream(_) | Answer::Events(_) => SizeHint::default(),
        }
    }
}
