//! The real thing, once: a set is installed from its lock, the demo model made, and what `prepare`
//! gives answers when it is spawned. The data directory stays with the build, so that only the
//! first run installs.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use mlx_gateway::backends::engine::{Arrival, Command, Engines, EnginesDeps, ModelFetcher, Step};
use mlx_gateway::config::{self, EngineKind, LaunchSettings, ModelRef};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A first start on a busy machine.
const READY_LIMIT: Duration = Duration::from_secs(180);

fn data_dir() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("real-engine")
}

/// The demo model is made here, not fetched.
struct NoModels;

impl ModelFetcher for NoModels {
    fn find(&self, _id: &str) -> Option<PathBuf> {
        None
    }

    fn fetch<'a>(
        &'a self,
        _id: &'a str,
        _report: &'a (dyn Fn(Arrival) + Send + Sync),
    ) -> BoxFuture<'a, Result<PathBuf, String>> {
        Box::pin(std::future::ready(Err("no model is fetched here".to_owned())))
    }
}

fn engines(data_dir: &Path) -> Engines {
    Engines::new(EnginesDeps {
        data_dir: data_dir.to_owned(),
        config: config::Engines::default(),
        hub: config::Hub {
            endpoint: "http://127.0.0.1:9".to_owned(),
            token: None,
            token_file: None,
            folders: vec![],
        },
        models: Arc::new(NoModels),
        budget_bytes: 4 * 1024 * 1024 * 1024,
        environment: std::env::vars_os().collect(),
    })
}

fn demo(engine: EngineKind) -> LaunchSettings {
    LaunchSettings {
        engine,
        model: Some(ModelRef::Demo),
        command: Vec::new(),
        upstream: None,
        model_type: None,
        context_length: None,
        structured: false,
        extra_args: Vec::new(),
        env: Default::default(),
        trust_remote_code: false,
        memory: None,
    }
}

/// A server in a group of its own, which ends with the test.
struct Server(Child);

impl Server {
    fn spawn(command: &Command) -> Server {
        let log = std::fs::File::create(command.working_dir.join("server.log")).unwrap();
        let child = std::process::Command::new(&command.program)
            .args(&command.args)
            .env_clear()
            .envs(command.env.iter().cloned())
            .current_dir(&command.working_dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .process_group(0)
            .spawn()
            .unwrap();
        Server(child)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        killpg(Pid::from_raw(self.0.id() as i32), Signal::SIGKILL).unwrap();
        self.0.wait().unwrap();
    }
}

async fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

/// The whole answer, or nothing while there is no server.
async fn http(port: u16, method: &str, path: &str, body: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    let request = format!(
        "{method} {path} HTTP/1.0\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    Some(answer)
}

async fn until_ready(server: &mut Server, command: &Command, port: u16) {
    let deadline = Instant::now() + READY_LIMIT;
    loop {
        assert!(server.0.try_wait().unwrap().is_none(), "{}", log(command));
        let answer = http(port, "GET", command.readiness.paths[0], "").await;
        if answer.is_some_and(|answer| answer.contains(" 200 ")) {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "waited {READY_LIMIT:?} for the server to be ready:\n{}",
            log(command)
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn log(command: &Command) -> String {
    std::fs::read_to_string(command.working_dir.join("server.log")).unwrap_or_default()
}

async fn answers(engine: EngineKind) {
    let engines = engines(&data_dir());
    let steps = Mutex::new(Vec::new());
    let report = |step: Step| steps.lock().unwrap().push(step.to_string());
    let instance = tempfile::tempdir().unwrap();
    let port = free_port().await;
    let command = engines.prepare(&demo(engine), "demo", port, instance.path(), &report).await.unwrap();
    let status = engines.list().await.unwrap().remove(0);
    assert_eq!(status.current, status.available, "{:?}", steps.lock().unwrap());

    // Nothing is left to do the second time.
    steps.lock().unwrap().clear();
    let again = engines.prepare(&demo(engine), "demo", port, instance.path(), &report).await;
    assert_eq!(again.unwrap(), command);
    assert_eq!(*steps.lock().unwrap(), Vec::<String>::new());

    let mut server = Server::spawn(&command);
    until_ready(&mut server, &command, port).await;
    let model = command.request_model.as_deref().unwrap();
    let body =
        format!(r#"{{"model":"{model}","max_tokens":80,"messages":[{{"role":"user","content":"hi"}}]}}"#);
    let answer = http(port, "POST", "/v1/chat/completions", &body).await.unwrap();
    assert!(answer.contains("always says exactly these words."), "{answer}\n{}", log(&command));
    assert!(!answer.contains("<think>"), "the reasoning parser was not the right one: {answer}");
}

#[tokio::test]
async fn a_prepared_mlx_openai_server_answers() {
    answers(EngineKind::MlxOpenaiServer).await;
}

#[tokio::test]
async fn a_prepared_mlx_lm_server_answers() {
    answers(EngineKind::MlxLm).await;
}
