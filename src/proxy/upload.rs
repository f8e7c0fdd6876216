//! The rest of a form that goes on to its backend while it arrives: read at the pace at which the backend takes it,
//! bounded, made fit part by part. It can be sent once.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame};

use super::failure::Failure;
use super::metered::BoxError;
use crate::bodies::Held;
use crate::dialect::parts::Parts;
use crate::dialect::request::{FormEnd, Rewrite};
use crate::dialect::rope::Rope;

/// Bytes from a client, whatever brings them.
pub type Incoming = Pin<Box<dyn Body<Data = Bytes, Error = BoxError> + Send>>;

/// What is still to come of a form.
pub struct Rest {
    pub body: Incoming,
    pub parts: Parts,
    /// Bytes that have arrived, and how many there may be.
    pub arrived: usize,
    pub limit: u64,
}

/// A form as it goes to a backend.
pub struct Upload {
    rest: Rest,
    /// None: the end was told.
    rewrite: Option<Rewrite>,
    ready: VecDeque<Bytes>,
    /// What had arrived before the upload began takes of the bound, until it is sent.
    held: Option<Arc<Held>>,
    outcome: Outcome,
}

/// How an upload stands, for whoever sends it.
#[derive(Debug, Clone, Default)]
pub struct Outcome(Arc<Mutex<Option<Result<FormEnd, Failure>>>>);

impl Outcome {
    /// Whether it is on its way no longer.
    pub fn is_told(&self) -> bool {
        self.all().is_some()
    }

    /// What the form turned out to be.
    pub fn end(&self) -> Option<FormEnd> {
        self.all().as_ref()?.as_ref().ok().cloned()
    }

    /// Why it broke off.
    pub fn failure(&self) -> Option<Failure> {
        self.all().as_ref()?.as_ref().err().cloned()
    }

    fn tell(&self, outcome: Result<FormEnd, Failure>) {
        self.all().get_or_insert(outcome);
    }

    fn all(&self) -> MutexGuard<'_, Option<Result<FormEnd, Failure>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Upload {
    /// `head`: what the backend gets of that which has arrived already.
    pub fn new(rest: Rest, head: Rope, rewrite: Rewrite) -> Upload {
        let held = head.reservation();
        let (ready, outcome) = (head.into_pieces(), Outcome::default());
        Upload { rest, rewrite: Some(rewrite), ready, held, outcome }
    }

    pub fn outcome(&self) -> Outcome {
        self.outcome.clone()
    }

    /// The next bytes for the backend; none: that was all.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Failure>> {
        loop {
            if let Some(piece) = self.ready.pop_front() {
                return Poll::Ready(Ok(Some(piece)));
            }
            self.held = None;
            let Some(rewrite) = &mut self.rewrite else { return Poll::Ready(Ok(None)) };
            let mut out = Rope::default();
            while let Some(part) = self.rest.parts.part()? {
                rewrite.part(&part, &mut out)?;
            }
            if !out.is_empty() {
                self.ready = out.into_pieces();
                continue;
            }
            match ready!(self.poll_arrival(cx))? {
                Some(bytes) => self.rest.parts.feed(&bytes),
                None if self.rest.parts.is_over() => {
                    let rewrite = self.rewrite.take();
                    let end = rewrite.map(Rewrite::end).transpose()?.unwrap_or_default();
                    self.outcome.tell(Ok(end));
                }
                None => return Poll::Ready(Err(self.rest.parts.missing().into())),
            }
        }
    }

    /// The client's next bytes.
    fn poll_arrival(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Failure>> {
        loop {
            let frame = ready!(self.rest.body.as_mut().poll_frame(cx));
            let Some(frame) = frame else { return Poll::Ready(Ok(None)) };
            let frame = frame.map_err(Failure::unread)?;
            let Ok(bytes) = frame.into_data() else { continue };
            self.rest.arrived += bytes.len();
            if self.rest.arrived as u64 > self.rest.limit {
                return Poll::Ready(Err(Failure::too_large(self.rest.limit)));
            }
            return Poll::Ready(Ok(Some(bytes)));
        }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let next = ready!(self.poll_next(cx));
        Poll::Ready(match next {
            Ok(piece) => piece.map(|piece| Ok(Frame::data(piece))),
            Err(failure) => {
                let words = failure.message.clone();
                self.outcome.tell(Err(failure));
                Some(Err(words.into()))
            }
        })
    }
}

impl std::fmt::Debug for Upload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upload").field("arrived", &self.rest.arrived).finish_non_exhaustive()
    }
}
