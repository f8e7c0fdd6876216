//! Bytes between a client and hyper. While a client does not read, hyper polls no body, so that an answer learns neither
//! of its cancellation nor of its deadline. Both are watched here then: when one comes, what hyper wants to write is taken
//! into memory, hyper polls the body again, and the body ends as it would for any other client.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::connection::Connection;
use super::pace::Pace;
use crate::proxy::Failure;
use crate::usage::Live;

/// How long an answer waits for its client to take [`LEAST_READ`].
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(120);
/// Bytes that a client has to take within [`WRITE_TIMEOUT`].
const LEAST_READ: usize = 1 << 10;
/// How long a client may take for the rest of an answer that was ended.
const LINGER: Duration = Duration::from_secs(2);
/// Bytes of an answer that was ended, kept for the client: more than hyper buffers.
const REST_MAX: usize = 1 << 20;

/// A client's stream with the end of its answers.
pub struct ClientIo<S> {
    stream: S,
    connection: Arc<Connection>,
    pace: Pace,
    is_waiting: bool,
    /// What ends the answer under way; set when its client was first waited for.
    watch: Option<Watch>,
    /// Set once the answer was ended, until the client has it.
    rest: Option<Rest>,
}

struct Watch {
    version: u64,
    live: Option<Arc<Live>>,
    right: Option<BoxFuture<'static, ()>>,
    deadline: Option<Pin<Box<Sleep>>>,
}

struct Rest {
    bytes: BytesMut,
    /// Bytes were taken that hyper does not know to be gone.
    is_fresh: bool,
    linger: Pin<Box<Sleep>>,
}

impl<S> ClientIo<S> {
    /// Watches over `stream`, which carries `connection`.
    pub fn new(stream: S, connection: Arc<Connection>) -> ClientIo<S> {
        let pace = Pace::new(WRITE_TIMEOUT, LEAST_READ);
        ClientIo { stream, connection, pace, is_waiting: false, watch: None, rest: None }
    }

    /// Notes that the client has taken bytes.
    fn advance(&mut self, bytes: usize) {
        self.pace.advance(bytes);
        if std::mem::take(&mut self.is_waiting) {
            self.connection.set_writing(false);
        }
    }

    /// Ready with an error when the client took too little, and without one when its answer has to end.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.pace.poll_too_slow(cx).is_ready() {
            let least = format!(
                "the client read less than {LEAST_READ} bytes of its answer in {} s",
                WRITE_TIMEOUT.as_secs()
            );
            if let Some(live) = self.connection.ends().live {
                live.abort(Failure::unread_answer(&least).to_abort(true));
            }
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, least)));
        }
        if !std::mem::replace(&mut self.is_waiting, true) {
            self.connection.set_writing(true);
        }
        let version = self.connection.version();
        let current = self.watch.take().filter(|watch| watch.version == version);
        let watch = self.watch.insert(current.unwrap_or_else(|| Watch::new(&self.connection)));
        watch.poll_ended(cx).map(Ok)
    }

    /// Begins to keep what hyper writes, once the answer has to end.
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<&mut Rest>> {
        if self.rest.is_none() {
            ready!(self.poll_end(cx))?;
        }
        Poll::Ready(Ok(self.rest.get_or_insert_with(Rest::new)))
    }
}

impl Watch {
    fn new(connection: &Connection) -> Watch {
        let ends = connection.ends();
        let right = ends.right.map(|right| right.ended().boxed());
        Watch { version: ends.version, live: ends.live, right, deadline: None }
    }

    fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // Known once the backend has begun to answer.
        let until = self.live.as_ref().and_then(|live| live.deadline());
        if let (Some(until), None) = (until, &self.deadline) {
            self.deadline = Some(Box::pin(tokio::time::sleep_until(until.into())));
        }
        let is_ended = self.live.as_ref().is_some_and(|live| live.poll_cancelled(cx).is_ready())
            || self.right.as_mut().is_some_and(|right| right.as_mut().poll(cx).is_ready())
            || self.deadline.as_mut().is_some_and(|deadline| deadline.as_mut().poll(cx).is_ready());
        if is_ended { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Rest {
    fn new() -> Rest {
        Rest { bytes: BytesMut::new(), is_fresh: false, linger: Box::pin(tokio::time::sleep(LINGER)) }
    }

    /// Keeps as much as there is room for.
    fn keep(&mut self, all: &[IoSlice<'_>]) -> usize {
        let before = self.bytes.len();
        for slice in all {
            let room = REST_MAX.saturating_sub(self.bytes.len()).min(slice.len());
            self.bytes.extend_from_slice(slice.get(..room).unwrap_or_default());
        }
        self.is_fresh = true;
        self.bytes.len() - before
    }
}

/// Why a connection ends whose answer was ended.
fn unread() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the answer was ended, and its client did not read it")
}

impl<S: AsyncWrite + Unpin> ClientIo<S> {
    /// Keeps bytes of an ended answer. When there is no room for more, the client has [`LINGER`] to take what is kept.
    fn poll_keep(&mut self, cx: &mut Context<'_>, all: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if ready!(self.poll_rest(cx))?.bytes.len() >= REST_MAX {
            ready!(self.poll_drain(cx))?;
            self.rest = None;
        }
        Poll::Ready(Ok(self.rest.get_or_insert_with(Rest::new).keep(all)))
    }

    /// Writes the rest of an ended answer.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(rest) = &mut self.rest else { return Poll::Ready(Ok(())) };
        while !rest.bytes.is_empty() {
            match Pin::new(&mut self.stream).poll_write(cx, &rest.bytes) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => rest.bytes.advance(written),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return rest.poll_lingering(cx),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Rest {
    /// Waits for the client, for a last while.
    fn poll_lingering(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if std::mem::take(&mut self.is_fresh) {
            // Lets hyper find its buffer empty, and poll the body.
            cx.waker().wake_by_ref();
        }
        ready!(self.linger.as_mut().poll(cx));
        Poll::Ready(Err(unread()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ClientIo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ClientIo<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.rest.is_none()
            && let Poll::Ready(written) = Pin::new(&mut this.stream).poll_write(cx, bytes)?
        {
            this.advance(written);
            return Poll::Ready(Ok(written));
        }
        this.poll_keep(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.rest.is_none()
            && let Poll::Ready(written) = Pin::new(&mut this.stream).poll_write_vectored(cx, bytes)?
        {
            this.advance(written);
            return Poll::Ready(Ok(written));
        }
        this.poll_keep(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(this.poll_drain(cx))?;
        if Pin::new(&mut this.stream).poll_flush(cx)?.is_ready() {
            this.advance(LEAST_READ);
            this.rest = None;
            return Poll::Ready(Ok(()));
        }
        ready!(this.poll_rest(cx))?.poll_lingering(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
    use tokio::time::Instant;

    use super::*;
    use crate::auth::Caller;
    use crate::store::Store;
    use crate::system::clock::SystemClock;
    use crate::usage::{NewRequest, Recorder, Status};

    const HOUR: Duration = Duration::from_secs(3600);

    fn io(room: usize) -> (ClientIo<DuplexStream>, Arc<Connection>, DuplexStream) {
        let (ours, theirs) = tokio::io::duplex(room);
        let connection = Connection::new();
        (ClientIo::new(ours, Arc::clone(&connection)), connection, theirs)
    }

    #[tokio::test(start_paused = true)]
    async fn write_fails_when_the_client_reads_nothing() {
        let (mut io, connection, _theirs) = io(8);
        let began = Instant::now();
        let error = io.write_all(&[0; 9]).await.unwrap_err();
        assert_eq!((error.kind(), began.elapsed()), (io::ErrorKind::TimedOut, WRITE_TIMEOUT));
        assert!(connection.is_writing());
    }

    #[tokio::test(start_paused = true)]
    async fn write_that_fails_leaves_its_reason_to_the_record() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("s.db")).unwrap();
        let recorder = Recorder::new(store.clone(), Arc::new(SystemClock));
        let ongoing =
            recorder.begin(NewRequest { endpoint: "/v1/chat/completions", ..NewRequest::default() });
        let (mut io, connection, _theirs) = io(8);
        let busy = connection.begin().unwrap();
        busy.answer(Some(Arc::clone(ongoing.live())));
        io.write_all(&[0; 9]).await.unwrap_err();
        let abort = ongoing.live().aborted().unwrap();
        assert_eq!((abort.code, abort.status), ("write_timeout", Status::Cancelled));
        assert!(abort.message.contains("1024 bytes") && abort.message.contains("120 s"), "{}", abort.message);
        drop(ongoing);
        store.close().await;
    }

    #[tokio::test(start_paused = true)]
    async fn write_fails_when_the_client_reads_a_byte_now_and_then() {
        let (mut io, _, mut theirs) = io(8);
        let reading = tokio::spawn(async move {
            let mut byte = [0];
            while theirs.read_exact(&mut byte).await.is_ok() {
                tokio::time::sleep(WRITE_TIMEOUT / 50).await;
            }
        });
        let began = Instant::now();
        assert!(io.write_all(&[0; 10_000]).await.is_err());
        assert!(began.elapsed() < WRITE_TIMEOUT * 2, "{:?}", began.elapsed());
        reading.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn write_goes_on_for_hours_when_the_client_reads_slowly() {
        let (mut io, connection, mut theirs) = io(8);
        let began = Instant::now();
        let reading = tokio::spawn(async move {
            let mut some = [0; 100];
            for _ in 0..1000 {
                tokio::time::sleep(WRITE_TIMEOUT / 12).await;
                theirs.read_exact(&mut some).await.unwrap();
            }
        });
        io.write_all(&[0; 100_000]).await.unwrap();
        reading.await.unwrap();
        assert!(began.elapsed() > HOUR * 2);
        assert!(!connection.is_writing());
    }

    #[tokio::test(start_paused = true)]
    async fn write_takes_everything_once_the_right_has_ended_and_fails_after_a_last_while() {
        let (mut io, connection, mut theirs) = io(8);
        let caller = Caller::for_test();
        connection.begin().unwrap();
        connection.watch_right(caller.right());
        let losing = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(5)).await;
            caller.lose_right();
        });
        let began = Instant::now();
        io.write_all(&[1; 100]).await.unwrap();
        assert_eq!(began.elapsed().as_secs(), 5);
        losing.await.unwrap();
        io.write_all(b"the end").await.unwrap();
        let error = io.flush().await.unwrap_err();
        assert_eq!((error.kind(), began.elapsed().as_secs()), (io::ErrorKind::TimedOut, 7));
        drop(io);
        let mut got = Vec::new();
        theirs.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, [1; 8]);
    }

    #[tokio::test(start_paused = true)]
    async fn rest_of_an_ended_answer_arrives_when_the_client_reads_on() {
        let (mut io, connection, mut theirs) = io(8);
        let caller = Caller::for_test();
        connection.begin().unwrap();
        connection.watch_right(caller.right());
        caller.lose_right();
        io.write_all(&[1; 100]).await.unwrap();
        io.write_all(b"the end").await.unwrap();
        let reading = tokio::spawn(async move {
            let mut got = vec![0; 107];
            theirs.read_exact(&mut got).await.unwrap();
            got
        });
        io.flush().await.unwrap();
        assert!(reading.await.unwrap().ends_with(b"\x01the end"));
        assert!(!connection.is_writing());
    }

    #[tokio::test(start_paused = true)]
    async fn rest_larger_than_its_bound_arrives_only_when_the_client_reads_on() {
        let large = vec![0; 3 * REST_MAX + 9];
        for reads in [true, false] {
            let (mut io, connection, mut theirs) = io(1024);
            let caller = Caller::for_test();
            connection.begin().unwrap();
            connection.watch_right(caller.right());
            caller.lose_right();
            let mut got = vec![1; if reads { large.len() } else { 9 }];
            let reading = tokio::spawn(async move {
                theirs.read_exact(&mut got).await.unwrap();
                (got.len(), theirs)
            });
            let (began, written) = (Instant::now(), io.write_all(&large).await);
            let flushed = io.flush().await;
            assert_eq!((written.is_ok(), flushed.is_ok()), (reads, reads));
            assert!(began.elapsed() <= LINGER * 2, "{:?}", began.elapsed());
            reading.await.unwrap();
        }
    }
}
