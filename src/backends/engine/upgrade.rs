//! Owns the proof that a new installation answers: one server of it, one token of the demo model.
//! Nothing is switched here.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::process::Child;

use super::fetch::{Fetch, FetchError};
use super::{Command, Step};
use crate::system::{files, private};

/// The first start of an installation is its slowest.
const READY_LIMIT: Duration = Duration::from_secs(180);
const ANSWER_LIMIT: Duration = Duration::from_secs(120);
const ASK_AGAIN: Duration = Duration::from_millis(200);
/// Bytes of a server's log.
const LOG_MAX: u64 = 64 << 20;
const MAX_ANSWER_BYTES: usize = 1024 * 1024;

/// A port that was free a moment ago.
pub async fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0").await?.local_addr()?.port())
}

/// Launches the command, waits until it answers and asks for one token. The server is gone when
/// this returns.
pub async fn prove(
    command: &Command,
    port: u16,
    report: &(dyn Fn(Step) + Send + Sync),
) -> Result<(), String> {
    report(Step::Proving);
    let log = command.working_dir.join("proof.log");
    let mut server = Server::start(command, &log).map_err(|error| error.to_string())?;
    let proof = server.answer_once(command, port).await;
    server.end().await;
    proof.map_err(|reason| match last_lines(&log) {
        Some(lines) => format!("{reason}; its log ends with: {lines}"),
        None => reason,
    })
}

/// A server in a process group of its own, which is killed with it.
struct Server {
    child: Child,
}

impl Server {
    fn start(command: &Command, log: &Path) -> std::io::Result<Server> {
        let log = private::create(log)?;
        let child = tokio::process::Command::new(&command.program)
            .args(&command.args)
            .env_clear()
            .envs(command.env.iter().map(|(name, value)| (name, value)))
            .current_dir(&command.working_dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        Ok(Server { child })
    }

    async fn answer_once(&mut self, command: &Command, port: u16) -> Result<(), String> {
        let fetch = Fetch::new().map_err(|error| error.to_string())?;
        let base = format!("http://127.0.0.1:{port}");
        self.wait_until_ready(&fetch, command, &base).await?;
        let body = json!({
            "model": command.request_model,
            "max_tokens": 1,
            "messages": [{"role": "user", "content": "hi"}],
        });
        let url = format!("{base}/v1/chat/completions");
        let answer = fetch.post_json(&url, &body, MAX_ANSWER_BYTES, ANSWER_LIMIT).await;
        let (status, bytes) = answer.map_err(|error| error.to_string())?;
        if status.is_success() && has_choice(&bytes) {
            return Ok(());
        }
        Err(format!("it answered {status}: {}", String::from_utf8_lossy(&bytes)))
    }

    async fn wait_until_ready(&mut self, fetch: &Fetch, command: &Command, base: &str) -> Result<(), String> {
        let deadline = Instant::now() + READY_LIMIT;
        let mut last: Option<FetchError> = None;
        while Instant::now() < deadline {
            // Exit code 0 is a failure too: it is what a failed load ends with.
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("it ended with {status} before it was ready"));
            }
            for path in &command.readiness.paths {
                match fetch.get(&format!("{base}{path}"), MAX_ANSWER_BYTES, ASK_AGAIN * 10).await {
                    Ok(_) => return Ok(()),
                    Err(error) => last = Some(error),
                }
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
        let last = last.map(|error| format!(": {error}")).unwrap_or_default();
        Err(format!("it was not ready within {} s{last}", READY_LIMIT.as_secs()))
    }

    /// A proof needs no graceful end.
    async fn end(&mut self) {
        self.kill_group();
        if let Err(error) = self.child.wait().await {
            tracing::warn!(error = %error, "Could not wait for a server that was tried out.");
        }
    }

    fn kill_group(&self) {
        let Some(pid) = self.child.id().and_then(|pid| i32::try_from(pid).ok()) else { return };
        if let Err(error) = killpg(Pid::from_raw(pid), Signal::SIGKILL) {
            tracing::debug!(backend.pid = pid, error = %error, "A process group was gone already.");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Given up half-way, its helpers would go on.
        self.kill_group();
    }
}

fn has_choice(bytes: &[u8]) -> bool {
    serde_json::from_slice::<Value>(bytes)
        .ok()
        .and_then(|answer| answer.pointer("/choices/0/message").cloned())
        .is_some()
}

fn last_lines(log: &Path) -> Option<String> {
    let bytes = files::read(log, LOG_MAX).ok()?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = lines[lines.len().saturating_sub(5)..].join(" | ");
    (!last.is_empty()).then_some(last)
}
