//! The threads that serve connections, each with a runtime of its own: a request, its backend's
//! connection and its answer stay on one thread from beginning to end.

use std::io;
use std::sync::Arc;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;

use super::client_io::ClientIo;
use super::connections::Place;
use super::edge::Edge;
use super::serve::HEAD_LIMIT;

/// Serving threads at the most; one of them passes tens of thousands of chunks a second.
const MAX_THREADS: usize = 4;
/// The variable by which tokio's own runtimes are told how many threads to use.
const THREADS_VARIABLE: &str = "TOKIO_WORKER_THREADS";
/// Connections that may wait for a thread to take them.
const WAITING: usize = 1_024;

/// An accepted connection.
pub enum Accepted {
    Tcp(std::net::TcpStream),
    Tls(std::net::TcpStream, TlsAcceptor),
    Unix(std::os::unix::net::UnixStream),
}

/// A connection on its way to a thread.
type Handed = (Accepted, Edge, Place);

/// Serving threads, taking turns. They end when the last handle has gone and every connection of
/// theirs has ended.
#[derive(Clone)]
pub struct Threads {
    inboxes: Vec<mpsc::Sender<Handed>>,
    next: usize,
}

impl Threads {
    /// Starts them; `closed` ends every connection after its present request, `connections` counts
    /// the open ones.
    pub fn start(connections: &TaskTracker, closed: &CancellationToken) -> io::Result<Threads> {
        let mut threads = Threads { inboxes: Vec::new(), next: 0 };
        for number in 0..count() {
            let (sender, inbox) = mpsc::channel(WAITING);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let (connections, closed) = (connections.clone(), closed.clone());
            let work = move || runtime.block_on(serve(inbox, connections, closed));
            let named = std::thread::Builder::new().name(format!("serve-{number}"));
            named.spawn(work)?;
            threads.inboxes.push(sender);
        }
        Ok(threads)
    }

    /// Hands a connection to the next thread.
    pub async fn hand_over(&mut self, accepted: Accepted, edge: Edge, place: Place) {
        self.next = (self.next + 1) % self.inboxes.len();
        if self.inboxes[self.next].send((accepted, edge, place)).await.is_err() {
            tracing::error!(thread = self.next, "A serving thread has ended");
        }
    }
}

fn count() -> usize {
    let asked = std::env::var(THREADS_VARIABLE).ok().and_then(|count| count.parse().ok());
    // The other half is for backends, and for writing records.
    let half = || std::thread::available_parallelism().map_or(1, |cores| cores.get() / 2);
    asked.unwrap_or_else(half).clamp(1, MAX_THREADS)
}

/// Serves what is handed over until nothing more can come and every connection has ended.
async fn serve(mut inbox: mpsc::Receiver<Handed>, connections: TaskTracker, closed: CancellationToken) {
    let own = TaskTracker::new();
    while let Some((accepted, edge, place)) = inbox.recv().await {
        let open = connections.token();
        let closed = closed.clone();
        let stream = match accepted {
            Accepted::Tcp(stream) => tokio::net::TcpStream::from_std(stream).map(Stream::Tcp),
            Accepted::Tls(stream, tls) => {
                tokio::net::TcpStream::from_std(stream).map(|stream| Stream::Tls(stream, tls))
            }
            Accepted::Unix(stream) => tokio::net::UnixStream::from_std(stream).map(Stream::Unix),
        };
        let state = Arc::clone(edge.connection());
        let task = own.spawn(async move {
            match stream {
                Ok(stream) => serve_stream(stream, edge, closed).await,
                Err(error) => tracing::warn!(%error, "A connection could not be served"),
            }
            drop((open, place));
        });
        state.set_task(task.abort_handle());
    }
    own.close();
    own.wait().await;
}

async fn serve_stream(stream: Stream, edge: Edge, closed: CancellationToken) {
    match stream {
        Stream::Tcp(stream) => connection(stream, edge, closed).await,
        Stream::Unix(stream) => connection(stream, edge, closed).await,
        Stream::Tls(stream, tls) => match tokio::time::timeout(HEAD_LIMIT, tls.accept(stream)).await {
            Ok(Ok(stream)) => connection(stream, edge, closed).await,
            Ok(Err(error)) => tracing::debug!(%error, "A client did not get through the TLS handshake"),
            Err(_) => tracing::debug!("A client did not end the TLS handshake"),
        },
    }
}

enum Stream {
    Tcp(tokio::net::TcpStream),
    Tls(tokio::net::TcpStream, TlsAcceptor),
    Unix(tokio::net::UnixStream),
}

async fn connection<S>(stream: S, edge: Edge, closed: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_LIMIT);
    let stream = ClientIo::new(stream, Arc::clone(edge.connection()));
    // Called at once, while hyper has not looked for the client's end yet.
    let service = service_fn(move |request| edge.clone().call(request));
    let serving = builder.serve_connection(TokioIo::new(stream), service);
    let mut serving = std::pin::pin!(serving);
    let outcome = tokio::select! {
        outcome = serving.as_mut() => outcome,
        () = closed.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "A client's connection ended");
    }
}
