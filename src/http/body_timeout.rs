//! Request bodies that have to arrive at a least pace. Stands around the body of every request, so that no handler can
//! wait for a client without end.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::connection::Connection;
use super::pace::Pace;
use crate::proxy::{BodyTimeout, BoxError};

/// Bytes a second that a body has to arrive with, on average over one `server.body_timeout`.
const LEAST_RATE: u64 = 512;

/// A request's body; fails with [`BodyTimeout`] when it comes too slowly.
pub struct Timed<B> {
    body: B,
    pace: Pace,
    timeout: Duration,
    arrived: u64,
    connection: Arc<Connection>,
}

impl<B> Timed<B> {
    /// Allows `timeout` of waiting for each part of `body`.
    pub fn new(body: B, timeout: Duration, connection: Arc<Connection>) -> Timed<B> {
        let least = timeout.as_secs().max(1).saturating_mul(LEAST_RATE);
        let pace = Pace::new(timeout, usize::try_from(least).unwrap_or(usize::MAX));
        Timed { body, pace, timeout, arrived: 0, connection }
    }
}

impl<B> Body for Timed<B>
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
        match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                this.pace.advance(bytes);
                this.arrived += bytes as u64;
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error.into()))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => this.pace.poll_too_slow(cx).map(|()| {
                let timeout = BodyTimeout { arrived: this.arrived, timeout: this.timeout };
                this.connection.set_body_timeout(timeout);
                Some(Err(timeout.into()))
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http_body_util::{BodyExt, StreamBody};
    use tokio::time::Instant;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(30);

    fn every(
        pause: Duration,
        size: usize,
        count: usize,
    ) -> Timed<impl Body<Data = Bytes, Error = BoxError> + Unpin> {
        let pieces = stream::unfold(0, move |sent| async move {
            tokio::time::sleep(pause).await;
            (sent < count).then(|| (Ok::<_, BoxError>(Frame::data(Bytes::from(vec![b'x'; size]))), sent + 1))
        });
        Timed::new(StreamBody::new(Box::pin(pieces)), TIMEOUT, Connection::new())
    }

    #[tokio::test(start_paused = true)]
    async fn body_of_a_byte_every_ten_seconds_fails() {
        let (body, began) = (every(Duration::from_secs(10), 1, 1000), Instant::now());
        let connection = Arc::clone(&body.connection);
        let busy = connection.begin().unwrap();
        let error = body.collect().await.unwrap_err();
        let timeout = *error.downcast_ref::<BodyTimeout>().unwrap();
        assert_eq!((timeout.arrived, began.elapsed()), (3, TIMEOUT));
        assert_eq!(busy.answer(None), Some(timeout));
        assert_eq!(connection.begin().unwrap().answer(None), None, "the next request has another body");
    }

    #[tokio::test(start_paused = true)]
    async fn body_over_a_slow_line_arrives_however_long_it_is() {
        let (body, began) = (every(Duration::from_secs(2), 4096, 2000), Instant::now());
        assert_eq!(body.collect().await.unwrap().to_bytes().len(), 8_192_000);
        assert!(began.elapsed() > Duration::from_secs(3600));
    }

    #[tokio::test(start_paused = true)]
    async fn body_whose_reader_pauses_does_not_fail() {
        let mut body = every(Duration::from_secs(1), 1, 1000);
        for _ in 0..20 {
            body.frame().await.unwrap().unwrap();
            tokio::time::sleep(TIMEOUT * 2).await;
        }
    }
}
