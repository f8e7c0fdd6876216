//! `load naive PORT`: the proxy that hyper's parts make when put together plainly, one frame out for
//! each frame in. A second line of comparison, and proof that the benchmark can tell.

use std::io::Write;
use std::net::Ipv4Addr;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::Outcome;
use crate::processes::{Running, end_with_parent, role};

pub struct Naive {
    pub running: Running,
    pub port: u16,
}

impl Naive {
    pub fn start(upstream: u16) -> Outcome<Naive> {
        let mut command = role("naive")?;
        let mut running = Running::start("the naive proxy", command.arg(upstream.to_string()))?;
        let port = running.line()?.parse()?;
        Ok(Naive { running, port })
    }
}

pub fn run(args: &[String]) -> Outcome<()> {
    end_with_parent();
    let upstream: u16 = args.first().ok_or("the upstream's port is missing")?.parse()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let mut out = std::io::stdout();
        writeln!(out, "{}", listener.local_addr()?.port())?;
        out.flush()?;
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).build::<_, Incoming>(connector);
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    let (stream, _) = accepted?;
                    stream.set_nodelay(true)?;
                    let client = client.clone();
                    let service = service_fn(move |request| forward(client.clone(), request, upstream));
                    let connection = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service);
                    connections.spawn(connection);
                }
                Some(_ended) = connections.join_next() => {}
            }
        }
    })
}

async fn forward(
    client: Client<HttpConnector, Incoming>,
    mut request: Request<Incoming>,
    upstream: u16,
) -> Result<Response<Incoming>, hyper_util::client::legacy::Error> {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let uri =
        Uri::builder().scheme("http").authority(format!("127.0.0.1:{upstream}")).path_and_query(path).build();
    *request.uri_mut() = uri.unwrap_or_default();
    client.request(request).await
}
