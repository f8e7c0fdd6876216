//! An answer that is one JSON object and passes through: its frames are the upstream's own. Like a
//! stream it is metered alongside, ends exactly once, and holds the lease.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::deadlines::{Alarm, Deadlines, Due};
use super::ending::Ending;
use super::failure::Failure;
use super::metered::BoxError;
use super::tap::WholeTap;
use crate::dialect::facts::Facts;
use crate::usage::Live;

/// A whole answer that passes through: its frames are the upstream's own.
pub struct Whole<B> {
    upstream: B,
    tap: WholeTap,
    ending: Option<Ending>,
    alarm: Alarm,
    deadlines: Deadlines,
}

impl<B> Whole<B> {
    pub fn new(upstream: B, ending: Ending, deadlines: Deadlines) -> Whole<B> {
        ending.ends_by(deadlines.end());
        Whole { upstream, tap: WholeTap::default(), ending: Some(ending), alarm: Alarm::default(), deadlines }
    }

    /// The request that it answers, until that ends.
    pub fn live(&self) -> Option<&Arc<Live>> {
        self.ending.as_ref().and_then(Ending::live)
    }

    fn fail(&mut self, failure: Failure) -> BoxError {
        let message = failure.message.clone();
        if let Some(ending) = self.ending.take() {
            ending.fail(&failure, &Facts::default(), true);
        }
        message.into()
    }

    fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<Failure> {
        let cancelled = self
            .ending
            .as_ref()
            .and_then(Ending::live)
            .is_some_and(|live| live.poll_cancelled(cx).is_ready());
        if cancelled {
            return Poll::Ready(Failure::cancelled());
        }
        Poll::Ready(match ready!(self.alarm.poll_due(cx, &self.deadlines)) {
            Due::Total => self.deadlines.total_passed(),
            due => Failure::timed_out(format!("the answer stopped coming: {due:?}")),
        })
    }
}

impl<B> Body for Whole<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        // Looked at with every piece: an answer that never pauses ends too.
        if this.live().is_some_and(|live| live.is_cancelled()) {
            return Poll::Ready(Some(Err(this.fail(Failure::cancelled()))));
        }
        match Pin::new(&mut this.upstream).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                let now = Instant::now();
                if now >= this.deadlines.end() && this.ending.is_some() {
                    return Poll::Ready(Some(Err(this.fail(this.deadlines.total_passed()))));
                }
                this.deadlines.progressed(now, true);
                if let Some(bytes) = frame.data_ref() {
                    this.tap.feed(bytes);
                }
                if this.upstream.is_end_stream() {
                    this.complete();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                let failure =
                    Failure::backend(format!("the backend broke off in mid-answer: {}", error.into()));
                Poll::Ready(Some(Err(this.fail(failure))))
            }
            Poll::Ready(None) => {
                this.complete();
                Poll::Ready(None)
            }
            Poll::Pending => {
                let failure = ready!(this.poll_over(cx));
                Poll::Ready(Some(Err(this.fail(failure))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ending.is_none() && self.upstream.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.upstream.size_hint()
    }
}

impl<B> Whole<B> {
    fn complete(&mut self) {
        let mut facts = Facts::default();
        self.tap.finish(&mut facts);
        if let Some(ending) = self.ending.take() {
            ending.complete(&facts);
        }
    }
}
