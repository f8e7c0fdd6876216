//! The mock upstream, a process of its own: as cheap as possible, so that what is measured stands in
//! front of it. `load mock` listens on a free port and prints it; `load mock-mlx` takes the command
//! line of mlx-openai-server.

use std::io::{self, Write};
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;
use tokio::time::Instant;

use crate::Outcome;
use crate::http1::Connection;
use crate::processes::end_with_parent;
use crate::traffic::{Events, StreamPlan, Style, completion, order_of};

const IDLE: Duration = Duration::from_secs(60);
const STREAM_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nserver: mock\r\ncache-control: no-cache\r\n\
    content-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n";

/// What it says of itself when asked as the gateway asks an installed engine.
const VERSION: &str = "\n✨ mlx-openai-server ✨\n🚀 Version: 1.8.1\n";
const HELP: &str = include_str!("../../tests/fake/launch-help-1.8.1.txt");

struct Mock {
    events: Events,
    /// Framed parts that never change.
    role: Vec<u8>,
    whole: Vec<u8>,
    models: Vec<u8>,
}

/// `load mock MODEL`
pub fn run(args: &[String]) -> Outcome<()> {
    let model = args.first().map_or("bench", String::as_str);
    serve(Mock::new(Style::OpenAi, model), 0, Duration::ZERO, None)
}

/// `load mock-mlx [--ready-after-ms N] [--ready-at FILE] launch --port N --served-model-name NAME …`
pub fn run_mlx(args: &[String]) -> Outcome<()> {
    if args.iter().any(|arg| arg == "--version") {
        return say(VERSION);
    }
    if args.iter().any(|arg| arg == "--help") {
        return say(HELP);
    }
    let value = |flag: &str| {
        let at = args.iter().position(|arg| arg == flag)?;
        args.get(at + 1).cloned()
    };
    let port = value("--port").unwrap_or_default().parse()?;
    let model = value("--served-model-name").unwrap_or_else(|| "bench".into());
    let load = value("--ready-after-ms").unwrap_or_default().parse().unwrap_or(0);
    let load = Duration::from_millis(load);
    serve(Mock::new(Style::Mlx, &model), port, load, value("--ready-at"))
}

fn serve(mock: Mock, port: u16, load: Duration, ready_at: Option<String>) -> Outcome<()> {
    end_with_parent();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        tokio::time::sleep(load).await;
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        if let Some(file) = ready_at {
            let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
            std::fs::write(file, now.as_nanos().to_string())?;
        }
        say(&format!("{}\n", listener.local_addr()?.port()))?;
        let mock = Rc::new(mock);
        loop {
            let (stream, _) = listener.accept().await?;
            let mock = mock.clone();
            // A client that leaves ends its task with an error, which is no news here.
            tokio::task::spawn_local(async move { mock.connection(stream).await.ok() });
        }
    })
}

impl Mock {
    fn new(style: Style, model: &str) -> Mock {
        let events = Events::new(style, model);
        let json = |body: &str| {
            let length = body.len();
            format!(
                "HTTP/1.1 200 OK\r\nserver: mock\r\ncontent-type: application/json\r\n\
                 content-length: {length}\r\n\r\n{body}"
            )
            .into_bytes()
        };
        Mock {
            role: frame(&events.role()),
            whole: json(&completion(model)),
            models: json(&format!(
                r#"{{"object":"list","data":[{{"id":"{model}","object":"model","created":1795301968,"owned_by":"local"}}]}}"#
            )),
            events,
        }
    }

    async fn connection(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut connection = Connection::new(stream);
        while let Some(request) = connection.next_request(IDLE).await? {
            match (request.method.as_str(), request.path()) {
                ("POST", _) => match order_of(&request.body) {
                    Some(plan) => self.stream(&mut connection, plan).await?,
                    None => connection.write(&self.whole).await?,
                },
                _ => connection.write(&self.models).await?,
            }
            if !request.keep_alive {
                break;
            }
        }
        Ok(())
    }

    async fn stream(&self, connection: &mut Connection, plan: StreamPlan) -> io::Result<()> {
        connection.write(&[STREAM_HEAD, &self.role].concat()).await?;
        let interval = Duration::from_micros(plan.interval_us);
        let started = Instant::now();
        let blank = frame(&self.events.blank());
        let event_at = frame_prefix(&self.events.blank());
        let mut batch = blank.repeat(plan.batch);
        let mut sent = 0;
        while sent < plan.chunks {
            let count = plan.batch.min(plan.chunks - sent);
            for n in 0..count {
                let event = &mut batch[n * blank.len() + event_at..];
                self.events.stamp(event, sent + n);
            }
            if !interval.is_zero() {
                tokio::time::sleep_until(started + interval * (sent as u32 + 1)).await;
            }
            connection.write(&batch[..count * blank.len()]).await?;
            sent += count;
        }
        let mut ending: Vec<u8> =
            self.events.ending(plan.chunks).iter().flat_map(|event| frame(event)).collect();
        ending.extend_from_slice(b"0\r\n\r\n");
        connection.write(&ending).await
    }
}

fn frame(event: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", event.len()).as_bytes(), event, b"\r\n"].concat()
}

fn frame_prefix(event: &[u8]) -> usize {
    format!("{:x}\r\n", event.len()).len()
}

fn say(text: &str) -> Outcome<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}
