//! An answer on its way to the client: frames pass, are metered alongside, and the answer ends
//! exactly once: at its end, by an error, or because the client left. It holds the lease.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body, Frame};

use super::attempt::is_work;
use super::deadlines::{Alarm, Deadlines, Due};
use super::ending::Ending;
use super::failure::Failure;
use super::flow::Flow;
use crate::dialect::facts::Facts;
use crate::usage::Live;

/// Bytes that are gathered before they go on at once. Only what has already arrived is gathered:
/// nothing waits for more.
const GATHER: usize = 64 << 10;

/// Chunks that follow each other so closely are a flood: more of them are on their way.
const BACK_TO_BACK: Duration = Duration::from_micros(500);
/// How often a flood's next bytes are let in before what is there goes on.
const TURNS: u8 = 2;

/// Why a body ends without its end.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// An event stream that is passed on.
pub struct Metered<B> {
    upstream: B,
    flow: Flow,
    ending: Option<Ending>,
    deadlines: Deadlines,
    alarm: Alarm,
    /// Process time of the backend when it was first found silent.
    silent_since: Option<(Instant, Duration)>,
    counted: u64,
    /// Upstream is done with; what is ready still goes out.
    over: bool,
    /// What goes to the client next.
    ready: Option<Bytes>,
    /// The last words.
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
    pub fn new(upstream: B, flow: Flow, ending: Ending, deadlines: Deadlines) -> Metered<B> {
        ending.ends_by(deadlines.end());
        Metered {
            upstream,
            flow,
            ending: Some(ending),
            deadlines,
            alarm: Alarm::default(),
            silent_since: None,
            counted: 0,
            over: false,
            ready: None,
            last: None,
            handed: None,
            turns: 0,
        }
    }

    /// What goes to the client next; none when the answer is over.
    pub fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            // Looked at with every piece: an answer that never pauses ends too.
            if !self.over
                && let Some(live) = self.live().filter(|live| live.is_cancelled())
            {
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
                    self.broke_off(&error.into().to_string());
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
        self.ending.as_ref().and_then(Ending::live)
    }

    /// Ends the request within the answer; nothing more goes out.
    pub fn abort(&mut self, failure: &Failure) {
        self.over = true;
        if let Some(ending) = self.ending.take() {
            ending.fail(failure, &std::mem::take(&mut self.flow.facts), true);
        }
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
        self.silent_since = None;
        if new > 0 {
            self.counted = self.flow.facts.deltas;
            if let Some(live) = self.ending.as_ref().and_then(Ending::live) {
                live.add_tokens_at(new, now);
            }
        }
        if self.flow.facts.failure.is_some() || self.flow.facts.stopped {
            self.upstream_ended();
        } else if now >= self.deadlines.end() {
            // An answer that never pauses ends too.
            self.fail(self.deadlines.total_passed());
        }
    }

    /// What is left to say when upstream is done with.
    fn rest(&mut self) -> Option<Bytes> {
        self.ready.take().or_else(|| self.last.take())
    }

    fn upstream_ended(&mut self) {
        let facts = &self.flow.facts;
        let broken = !facts.stopped && (!facts.finished() || self.flow.is_broken_off());
        if facts.failure.is_none() && broken {
            return self.broke_off("it closed the connection");
        }
        if std::mem::replace(&mut self.over, true) {
            return;
        }
        let facts = std::mem::take(&mut self.flow.facts);
        match (facts.failure.clone(), self.ending.take()) {
            (_, None) => {}
            (None, Some(ending)) => ending.complete(&facts),
            (Some(failure), Some(ending)) => tell(ending, &failure.into(), &facts),
        }
    }

    fn broke_off(&mut self, how: &str) {
        // After its last word nothing can be missing.
        if self.flow.facts.done && !self.flow.is_broken_off() {
            return self.upstream_ended();
        }
        self.fail(Failure::backend(format!("the backend broke off in mid-answer: {how}")));
    }

    /// Ends the stream with an error event.
    fn fail(&mut self, failure: Failure) {
        if std::mem::replace(&mut self.over, true) {
            return;
        }
        let facts = std::mem::take(&mut self.flow.facts);
        if facts.failure.is_none() && !facts.done {
            self.last = Some(failure.as_events().into());
        }
        if let Some(ending) = self.ending.take() {
            tell(ending, &failure, &facts);
        }
    }

    /// Nothing came: somebody may have ended the request, or a wait is over.
    fn poll_waiting(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(live) = self.live().filter(|live| live.poll_cancelled(cx).is_ready()) {
            let failure = Failure::of_cancelled(live);
            self.fail(failure);
            return Poll::Ready(self.rest());
        }
        match ready!(self.poll_timer(cx)) {
            Some(comment) => Poll::Ready(Some(comment)),
            None => Poll::Ready(self.rest()),
        }
    }

    /// Ready with a comment, or with nothing when the stream was ended.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            let due = ready!(self.alarm.poll_due(cx, &self.deadlines));
            let now = Instant::now();
            let timeouts = *self.deadlines.timeouts();
            match due {
                Due::Comment => {
                    self.deadlines.told(now);
                    let comment: &[u8] = if self.counted > 0 { b": waiting\n\n" } else { b": prefill\n\n" };
                    return Poll::Ready(Some(Bytes::from_static(comment)));
                }
                Due::Idle | Due::Silent if self.is_working(now) => self.deadlines.extend(now),
                // Nobody knows what a server elsewhere does before its first token.
                Due::Silent if !self.has_process() => self.deadlines.extend(now),
                due => {
                    let (what, limit) = match due {
                        Due::FirstToken => ("first_token", timeouts.first_token),
                        Due::Total => ("total", timeouts.total),
                        _ => ("idle", timeouts.idle),
                    };
                    if matches!(due, Due::Idle | Due::Silent)
                        && let Some(ending) = &self.ending
                    {
                        let why = format!("it was silent and did nothing for {} s", limit.as_secs_f64());
                        ending.lease().suspect(why);
                    }
                    let message = format!("timeouts.{what} of {} s has passed", limit.as_secs_f64());
                    self.fail(Failure::timed_out(message));
                    return Poll::Ready(None);
                }
            }
        }
    }

    fn has_process(&self) -> bool {
        self.ending.as_ref().is_some_and(|ending| ending.lease().pid().is_some())
    }

    /// Whether the backend has used its processors since it was last looked at: then it is not idle,
    /// however long it says nothing (a long tool call comes in one piece).
    fn is_working(&mut self, now: Instant) -> bool {
        let Some(used) = self.ending.as_ref().and_then(|ending| ending.lease().cpu_time()) else {
            return false;
        };
        let before = self.silent_since.replace((now, used));
        match before {
            // The first look: there is nothing to compare with yet.
            None => true,
            Some((at, before)) => is_work(used.saturating_sub(before), now - at),
        }
    }
}

/// Logs and records a failure in mid-stream.
fn tell(ending: Ending, failure: &Failure, facts: &Facts) {
    tracing::warn!(
        backend.id = ending.lease().backend_id(),
        error.code = failure.code,
        "A stream failed: {}",
        failure.message
    );
    ending.fail(failure, facts, true);
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
