//! A gateway that answers from a table, on a socket and on a port of its own.

use std::convert::Infallible;
use std::io::Cursor;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::rt::{Read, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use jiff::tz::TimeZone;
use tempfile::TempDir;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::screen::Screen;
use crate::cli::input::Input;
use crate::cli::transport::{Body, BoxError, Transport, in_process, into_body};
use crate::cli::{CliError, Console, Host, SOCKET_NAME, Task, execute, understand};
use crate::system::clock::Clock;

/// 2026-11-22 00:30:00 UTC.
pub const NOW_MS: i64 = 1_795_307_400_000;

/// What the gateway says to one question.
#[derive(Debug, Clone, Copy)]
pub enum Reply {
    Json(u16, &'static str),
    /// Piece by piece.
    Pieces(&'static [&'static str]),
    /// Piece by piece, then the connection breaks.
    Broken(&'static [&'static str]),
    /// Piece by piece, and no end comes.
    Endless(&'static [&'static str]),
}

pub use Reply::{Broken, Endless, Json, Pieces};

type Routes = &'static [(&'static str, Reply)];

pub struct Gateway {
    /// Data directory.
    pub dir: TempDir,
    pub url: String,
    asked: Asked,
    hung_up: Arc<Notify>,
    _serving: JoinSet<()>,
}

type Asked = Arc<Mutex<Vec<String>>>;

/// What every connection is given.
#[derive(Clone)]
struct Desk {
    routes: Routes,
    asked: Asked,
    /// Told when somebody leaves an endless answer.
    hung_up: Arc<Notify>,
}

/// How a command ended.
#[derive(Debug)]
pub struct Ran {
    pub code: u8,
    pub stdout: String,
    pub stderr: String,
}

impl Gateway {
    /// Answers each `GET /path?query` that is listed; everything else is 404.
    pub async fn answering(routes: Routes) -> Gateway {
        let dir = tempfile::tempdir().unwrap();
        let unix = UnixListener::bind(dir.path().join(SOCKET_NAME)).unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", tcp.local_addr().unwrap());
        let asked = Asked::default();
        let hung_up = Arc::new(Notify::new());
        let mut serving = JoinSet::new();
        let desk = Desk { routes, asked: asked.clone(), hung_up: hung_up.clone() };
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    Ok((stream, _)) = unix.accept() => connections.spawn(serve(TokioIo::new(stream), desk.clone())),
                    Ok((stream, _)) = tcp.accept() => connections.spawn(serve(TokioIo::new(stream), desk.clone())),
                };
            }
        });
        Gateway { dir, url, asked, hung_up, _serving: serving }
    }

    /// The questions so far, each with its key and its body.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// Waits until somebody has left an endless answer.
    pub async fn hung_up(&self) {
        self.hung_up.notified().await;
    }

    /// Runs a command over the socket, with pipes at its ends.
    pub async fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(arguments, "", false).await
    }

    /// Runs a command that reads `typed` from a terminal or a pipe.
    pub async fn run_with(&self, arguments: &[&str], typed: &str, terminal: bool) -> Ran {
        let host = Directory { dir: self.dir.path().into(), offline: None };
        run(&host, arguments, typed, terminal).await
    }
}

/// A data directory over which no gateway may run.
pub struct Directory {
    pub dir: PathBuf,
    /// What the program itself would answer from the directory.
    pub offline: Option<Routes>,
}

impl Host for Directory {
    fn data_dir(&self) -> Result<PathBuf, CliError> {
        Ok(self.dir.clone())
    }

    async fn offline(&self) -> Result<Transport, CliError> {
        let Some(routes) = self.offline else {
            return Err(CliError::Unreachable("the data directory is locked".into()));
        };
        Ok(in_process(tower::service_fn(move |request: Request<Body>| async move {
            let question = format!("{} {}", request.method(), request.uri());
            Ok::<_, Infallible>(reply(routes, &question, Arc::default()))
        })))
    }

    fn restore(&self, _file: &std::path::Path) -> Result<crate::backup::Restored, CliError> {
        Err(CliError::Conflict("a gateway runs".into()))
    }
}

pub async fn run(host: &Directory, arguments: &[&str], typed: &str, terminal: bool) -> Ran {
    let screen = Screen::default();
    let invocation = understand([&["mlx-gateway"], arguments].concat()).unwrap();
    let Task::Client(command) = invocation.task else { panic!("not a client's command") };
    let json = invocation.global.json;
    let console = Console {
        out: if terminal { screen.out_to_terminal(json) } else { screen.out(json) },
        input: Input { source: Box::new(Cursor::new(typed.to_owned())), terminal },
        clock: Box::new(Ticking::default()),
        zone: TimeZone::get("Europe/Berlin").unwrap(),
        interrupt: screen.interrupt(),
    };
    let exit = execute(command, &invocation.global, host, console).await;
    Ran { code: exit.code(), stdout: screen.stdout(), stderr: screen.stderr() }
}

/// Each look at the clock is 100 ms after the last one.
struct Ticking {
    start: Instant,
    looks: AtomicU32,
}

impl Default for Ticking {
    fn default() -> Self {
        Ticking { start: Instant::now(), looks: AtomicU32::new(0) }
    }
}

impl Clock for Ticking {
    fn unix_ms(&self) -> i64 {
        NOW_MS
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_millis(100) * self.looks.fetch_add(1, Ordering::Relaxed)
    }
}

async fn serve<C: Read + Write + Unpin>(io: C, desk: Desk) {
    let service = service_fn(move |request: Request<Incoming>| {
        let Desk { routes, asked, hung_up } = desk.clone();
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            let question = format!("{} {}", head.method, head.uri);
            let key = head.headers.get("authorization").map(|key| key.to_str().unwrap());
            let parts = [Some(question.as_str()), key, std::str::from_utf8(&body).ok()];
            let parts: Vec<&str> = parts.into_iter().flatten().filter(|p| !p.is_empty()).collect();
            asked.lock().unwrap().push(parts.join(" "));
            Ok::<_, hyper::Error>(reply(routes, &question, hung_up))
        }
    });
    // A reply that breaks ends the connection with an error, as it should.
    http1::Builder::new().serve_connection(io, service).await.ok();
}

fn reply(routes: Routes, question: &str, hung_up: Arc<Notify>) -> Response<Body> {
    const UNKNOWN: &str = r#"{"error":{"message":"There is no such path.","code":"not_found"}}"#;
    let found = routes.iter().find(|(route, _)| *route == question);
    let reply = found.map_or(Json(404, UNKNOWN), |(_, reply)| *reply);
    let (status, pieces) = match reply {
        Json(status, text) => (status, vec![text]),
        Pieces(pieces) | Broken(pieces) | Endless(pieces) => (200, pieces.to_vec()),
    };
    let pieces = pieces.into_iter().map(|piece| Ok(Frame::data(Bytes::from(piece))));
    let leaving = Leaving(hung_up);
    let end = stream::once(async move {
        // Gives what was said the time to leave before the connection breaks.
        tokio::task::yield_now().await;
        match reply {
            Broken(_) => Some(Err(BoxError::from("broken"))),
            Endless(_) => {
                let _held = leaving;
                std::future::pending().await
            }
            _ => None,
        }
    });
    let frames = stream::iter(pieces).chain(end.filter_map(std::future::ready));
    let body = into_body(StreamBody::new(frames));
    Response::builder().status(status).body(body).unwrap()
}

/// Tells when it is dropped.
struct Leaving(Arc<Notify>);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}
