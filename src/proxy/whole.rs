//! An answer that is one JSON object and passes through: its frames are the upstream's own, without trailers. Like a
//! stream it is metered alongside, ends exactly once, and holds the lease.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::deadlines::Deadlines;
use super::failure::Failure;
use super::in_flight::InFlight;
use super::metered::BoxError;
use super::tap::WholeTap;
use super::upstream_end::UpstreamEnd;
use crate::dialect::facts::Facts;
use crate::usage::Live;

/// A whole answer that passes through: its frames are the upstream's own.
pub struct Whole<B> {
    upstream: B,
    /// Read before the answer's head went out.
    first: Option<Bytes>,
    /// Why it ends early; told when what came before has gone out.
    broken: Option<Failure>,
    tap: WholeTap,
    in_flight: Option<InFlight>,
    deadlines: Deadlines,
}

impl<B> Whole<B> {
    /// `first`: the piece that it begins with; none: it is empty.
    pub fn new(upstream: B, first: Option<Bytes>, in_flight: InFlight, deadlines: Deadlines) -> Whole<B>
    where
        B: Body,
    {
        in_flight.set_deadline(deadlines.end());
        let tap = WholeTap::default();
        let is_empty = first.is_none();
        let mut whole = Whole { upstream, first, broken: None, tap, in_flight: Some(in_flight), deadlines };
        if is_empty {
            // Nobody polls a body that has ended.
            whole.complete();
        }
        whole
    }

    /// The request that it answers, until that ends.
    pub fn live(&self) -> Option<&Arc<Live>> {
        self.in_flight.as_ref().map(InFlight::live)
    }

    /// Ends the request. hyper drops what it has not written yet when a body fails, so it gets a turn before.
    fn fail<T>(&mut self, failure: Failure, cx: &Context<'_>) -> Poll<T> {
        if let Some(in_flight) = self.in_flight.take() {
            in_flight.fail(&failure, &Facts::default());
        }
        self.broken = Some(failure);
        cx.waker().wake_by_ref();
        Poll::Pending
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
        if let Some(first) = this.first.take() {
            return Poll::Ready(Some(Ok(this.piece(first))));
        }
        let Some(in_flight) = &this.in_flight else {
            return Poll::Ready(this.broken.take().map(|failure| Err(failure.into())));
        };
        if let Err(failure) = this.deadlines.check(in_flight.live(), Instant::now()) {
            return this.fail(failure, cx);
        }
        match Pin::new(&mut this.upstream).poll_frame(cx) {
            // Nothing follows trailers.
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(bytes) => Poll::Ready(Some(Ok(this.piece(bytes)))),
                Err(_trailers) => {
                    this.complete();
                    Poll::Ready(None)
                }
            },
            Poll::Ready(Some(Err(error))) => {
                this.fail(UpstreamEnd::Died(error.into().to_string()).into(), cx)
            }
            Poll::Ready(None) => {
                this.complete();
                Poll::Ready(None)
            }
            Poll::Pending => {
                let failure = ready!(this.deadlines.poll_failed(cx, in_flight));
                this.fail(failure, cx)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.in_flight.is_none() && self.first.is_none() && self.broken.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let first = self.first.as_ref().map_or(0, Bytes::len) as u64;
        match self.upstream.size_hint().exact() {
            Some(rest) => SizeHint::with_exact(first + rest),
            None => SizeHint::default(),
        }
    }
}

impl<B: Body> Whole<B> {
    /// A piece that goes on; the answer may end with it.
    fn piece(&mut self, bytes: Bytes) -> Frame<Bytes> {
        self.deadlines.progressed(Instant::now(), true);
        self.tap.feed(&bytes);
        if self.upstream.is_end_stream() {
            self.complete();
        }
        Frame::data(bytes)
    }

    fn complete(&mut self) {
        let mut facts = Facts::default();
        self.tap.finish(&mut facts);
        if let Some(in_flight) = self.in_flight.take() {
            in_flight.complete(&facts);
        }
    }
}
