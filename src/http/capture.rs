//! Notes what passes of a request and its answer while captures are on. What is kept of it, and for
//! how long, is not known here.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};

use super::edge::{Arrival, Reply};
use super::state::Shared;
use crate::captures::{Share, Taking};
use crate::proxy::{Answer, BoxError};
use crate::usage::Live;

/// A request's body that is noted as it is read.
pub struct Noted<B> {
    body: B,
    share: Option<Share>,
}

/// An answer that is noted as it goes out.
pub struct Captured {
    answer: Answer,
    taking: Taking,
}

impl Captured {
    /// The request that it answers, while that runs.
    pub fn live(&self) -> Option<Arc<Live>> {
        self.answer.live()
    }
}

/// The request, and what is being captured of it.
pub fn begin<B>(
    gateway: &Shared,
    arrival: &Arrival,
    request: Request<B>,
) -> (Request<Noted<B>>, Option<Taking>) {
    let taking = gateway.captures.take(arrival.id, request.uri().path(), request.headers());
    let share = taking.as_ref().map(Taking::asked);
    (request.map(|body| Noted { body, share }), taking)
}

/// The answer, with what is being captured of it.
pub fn follow(response: Response<Answer>, taking: Option<Taking>) -> Response<Reply> {
    match taking {
        None => response.map(Reply::Answer),
        // Nobody known has asked, and so nobody could look.
        Some(taking) if response.status() == StatusCode::UNAUTHORIZED => {
            taking.abandon();
            response.map(Reply::Answer)
        }
        Some(mut taking) => {
            taking.answers(response.status().as_u16());
            response.map(|answer| Reply::Captured(Box::new(Captured { answer, taking })))
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Noted<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let (Poll::Ready(Some(Ok(frame))), Some(share)) = (&polled, &self.share)
            && let Some(piece) = frame.data_ref()
        {
            share.push(piece);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Body for Captured {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = Pin::new(&mut self.answer).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(piece) = frame.data_ref()
        {
            self.taking.answered(piece);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.answer.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.answer.size_hint()
    }
}
