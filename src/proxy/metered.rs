//! An event stream on its way to the client: events pass and are metered. It ends exactly once: complete, by a
//! failure, or dropped because the client left. It holds the lease. The end of a round goes to the round's owner
//! instead of the client.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body, Frame};

use super::deadlines::{Deadlines, Passed};
use super::failure::Failure;
use super::flow::Flow;
use super::in_flight::InFlight;
use super::upstream_end::UpstreamEnd;
use crate::dialect::facts::Facts;
use crate::usage::{Ledger, Live};

/// Bytes that are gathered before they go on at once. Only what has already arrived is gathered:
/// nothing waits for more.
const GATHER: usize = 64 << 10;

/// Chunks that follow each other so closely are a flood: more of them are on their way.
const BACK_TO_BACK: Duration = Duration::from_micros(500);
/// How often a flood's next bytes are let in before what is there goes on.
const TURNS: u8 = 2;

/// Why a body ends without its end.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The ledger of a round that is over, and how the round ended.
pub type RoundEnd = (Ledger, Result<Facts, Failure>);

/// An event stream that is passed on.
pub struct Metered<B> {
    upstream: B,
    flow: Flow,
    in_flight: Option<InFlight>,
    /// A round among several: its end is not the request's.
    is_round: bool,
    round_end: Option<Box<RoundEnd>>,
    deadlines: Deadlines,
    counted: u64,
    /// Upstream is done with; what is ready still goes out.
    over: bool,
    /// What goes to the client next.
    ready: Option<Bytes>,
    /// The final error event.
    last: Option<Bytes>,
    /// When bytes went on last, and how often more were waited for since.
    handed: Option<Instant>,
    turns: u8,
}

impl<B> Metered<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    /// The answer to `in_flight`.
    pub fn new(upstream: B, flow: Flow, in_flight: InFlight, deadlines: Deadlines) -> Metered<B> {
        in_flight.set_deadline(deadlines.end());
        Metered {
            upstream,
            flow,
            in_flight: Some(in_flight),
            is_round: false,
            round_end: None,
            deadlines,
            counted: 0,
            over: false,
            ready: None,
            last: None,
            handed: None,
            turns: 0,
        }
    }

    /// Makes it a round among several.
    pub fn into_round(mut self) -> Metered<B> {
        self.is_round = true;
        self
    }

    /// Returns the ledger of a round that is over, and how it ended; none: it is not over, or no round.
    pub fn end_round(self) -> Option<Box<RoundEnd>> {
        self.round_end
    }

    /// Ends a round that its owner cannot use, and returns the ledger; none: it was over.
    pub fn fail_round(mut self, failure: &Failure) -> Option<Ledger> {
        self.end(Err(failure.clone()));
        self.round_end.map(|end| end.0)
    }

    /// Returns what goes to the client next; none when the answer is over.
    pub fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            if let Some(live) = self.live().filter(|live| live.is_cancelled()) {
                let failure = Failure::of_cancelled(live);
                self.fail(failure);
            }
            if self.over {
                return Poll::Ready(self.rest());
            }
            match Pin::new(&mut self.upstream).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    if let Some(bytes) = frame.data_ref() {
                        self.flow.feed(bytes);
                    }
                    if self.flow.fresh() < GATHER {
                        continue;
                    }
                }
                Poll::Ready(Some(Err(error))) => {
                    self.look();
                    self.broke_off(UpstreamEnd::Died(error.into().to_string()));
                }
                Poll::Ready(None) => {
                    self.look();
                    self.upstream_ended();
                }
                Poll::Pending if self.flow.fresh() > 0 => {
                    if self.is_gathering(cx) {
                        return Poll::Pending;
                    }
                }
                Poll::Pending => return self.poll_waiting(cx),
            }
            self.look();
            if let Some(bytes) = self.ready.take() {
                let now = Instant::now();
                self.deadlines.told(now);
                self.handed = Some(now);
                return Poll::Ready(Some(bytes));
            }
        }
    }

    /// The request that it answers, until that ends.
    pub fn live(&self) -> Option<&Arc<Live>> {
        self.in_flight.as_ref().map(InFlight::live)
    }

    /// In a flood, gives the connection a turn or two to bring what it already holds: one write for many
    /// chunks costs little more than for one. A stream that is no flood never waits.
    fn is_gathering(&mut self, cx: &mut Context<'_>) -> bool {
        let is_flood = self.handed.is_some_and(|at| at.elapsed() < BACK_TO_BACK);
        if !is_flood || self.turns == TURNS {
            self.turns = 0;
            return false;
        }
        self.turns += 1;
        // Wakes this task as soon as the runtime has looked at its sockets.
        std::pin::pin!(tokio::task::yield_now()).poll(cx).is_pending()
    }

    /// Looks at what has come: what of it may go, and what it tells.
    fn look(&mut self) {
        if self.over || self.flow.fresh() == 0 {
            return;
        }
        match self.flow.take() {
            Ok(bytes) if bytes.is_empty() => {}
            Ok(bytes) => self.ready = Some(bytes),
            Err(failure) => return self.fail(failure),
        }
        let new = self.flow.facts.deltas - self.counted;
        let now = Instant::now();
        self.deadlines.progressed(now, new > 0);
        if new > 0 {
            self.counted = self.flow.facts.deltas;
            if let Some(live) = self.live() {
                live.add_tokens_at(new, now);
            }
        }
        if self.flow.facts.failure.is_some() || self.flow.facts.stopped {
            self.upstream_ended();
        } else if let Some(Err(failure)) = self.live().map(|live| self.deadlines.check(live, now)) {
            self.fail(failure);
        }
    }

    /// What is left to say when upstream is done with.
    fn rest(&mut self) -> Option<Bytes> {
        self.ready.take().or_else(|| self.last.take())
    }

    fn upstream_ended(&mut self) {
        let facts = &self.flow.facts;
        let is_broken = !facts.stopped && (!facts.finished() || self.flow.is_broken_off());
        match facts.failure.clone() {
            Some(failure) => self.end(Err(UpstreamEnd::Reported(failure).into())),
            None if is_broken => self.broke_off(UpstreamEnd::Incomplete),
            None => self.end(Ok(())),
        }
    }

    fn broke_off(&mut self, how: UpstreamEnd) {
        // After its final event nothing can be missing.
        if self.flow.facts.done && !self.flow.is_broken_off() {
            return self.upstream_ended();
        }
        self.fail(how.into());
    }

    /// Ends the stream with an error event.
    fn fail(&mut self, failure: Failure) {
        let facts = &self.flow.facts;
        if !self.over && !self.is_round && facts.failure.is_none() && !facts.done {
            self.last = Some(failure.as_events().into());
        }
        self.end(Err(failure));
    }

    /// Ends the request, or the round.
    fn end(&mut self, end: Result<(), Failure>) {
        self.over = true;
        let facts = std::mem::take(&mut self.flow.facts);
        let Some(in_flight) = self.in_flight.take() else { return };
        if let Err(failure) = &end {
            tracing::warn!(
                backend.id = in_flight.lease().backend_id(),
                error.code = failure.code,
                error.message = failure.message,
                "Stream failed"
            );
        }
        match (end, self.is_round) {
            (Ok(()), false) => in_flight.complete(&facts),
            (Err(failure), false) => in_flight.fail(&failure, &facts),
            (Ok(()), true) => {
                self.round_end = Some(Box::new((in_flight.complete_attempt(&facts), Ok(facts))));
            }
            (Err(failure), true) => {
                self.round_end = Some(Box::new((in_flight.end_attempt(&failure, &facts), Err(failure))));
            }
        }
    }

    /// Waits for the next bytes: a comment is due, or a wait is over.
    fn poll_waiting(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let Some(in_flight) = &self.in_flight else { return Poll::Ready(self.rest()) };
        match ready!(self.deadlines.poll_passed(cx, in_flight)) {
            Passed::Comment => {
                let comment: &[u8] = if self.counted > 0 { b": waiting\n\n" } else { b": prefill\n\n" };
                Poll::Ready(Some(Bytes::from_static(comment)))
            }
            Passed::Failed(failure) => {
                self.fail(failure);
                Poll::Ready(self.rest())
            }
        }
    }
}

impl<B> Body for Metered<B>
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
        self.poll_bytes(cx).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}
