//! Owns the running of short-lived helpers (pip, uv, a version query): bounded in time and
//! output, ended with their caller. Must not know what they are run for.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::Child;

use super::env::Vars;

/// Of a helper's output, so much is kept for whoever wants to read it.
const MAX_STDOUT_BYTES: usize = 1024 * 1024;
/// Lines shown of a failed helper.
const TAIL_LINES: usize = 12;
/// A longer line is cut.
const MAX_LINE_BYTES: u64 = 16 * 1024;

/// A helper to run.
pub struct Tool<'a> {
    pub program: &'a Path,
    pub args: Vec<OsString>,
    /// Complete; nothing is inherited.
    pub env: &'a Vars,
    pub stdin: Input<'a>,
    pub time_limit: Duration,
}

/// What a helper reads.
pub enum Input<'a> {
    Nothing,
    Text(&'a str),
    /// A file that stays open as long as the helper lives, whatever becomes of the gateway: a lock
    /// held by it is not given up while a helper still writes.
    Held(&'a std::fs::File),
}

#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    #[error("could not start {}: {source}", program.display())]
    Start { program: PathBuf, source: std::io::Error },
    #[error("{} ended with {status}: {}", program.display(), tail.join(" | "))]
    Failed { program: PathBuf, status: ExitStatus, tail: Vec<String> },
    #[error("{} did not end within {} s", program.display(), limit.as_secs())]
    TimedOut { program: PathBuf, limit: Duration },
}

impl<'a> Tool<'a> {
    pub fn new(program: &'a Path, env: &'a Vars, time_limit: Duration) -> Tool<'a> {
        Tool { program, args: Vec::new(), env, stdin: Input::Nothing, time_limit }
    }

    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    pub fn stdin(mut self, stdin: Input<'a>) -> Self {
        self.stdin = stdin;
        self
    }

    /// Runs it to its end and returns its standard output; each line of both outputs is shown to
    /// `on_line` as it comes. Dropped before the end, the helper is killed.
    pub async fn run(self, on_line: &(dyn Fn(&str) + Send + Sync)) -> Result<String, ToolError> {
        let (program, limit) = (self.program.to_owned(), self.time_limit);
        match tokio::time::timeout(limit, self.run_unlimited(on_line)).await {
            Ok(result) => result,
            Err(_elapsed) => Err(ToolError::TimedOut { program, limit }),
        }
    }

    async fn run_unlimited(self, on_line: &(dyn Fn(&str) + Send + Sync)) -> Result<String, ToolError> {
        let start = |source| ToolError::Start { program: self.program.to_owned(), source };
        let mut child = self.spawn().map_err(start)?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let feed = async {
            if let (Input::Text(text), Some(mut stdin)) = (&self.stdin, stdin) {
                // A helper that ends without reading says why itself.
                if let Err(error) = stdin.write_all(text.as_bytes()).await {
                    tracing::debug!(error = %error, "A helper did not read its input.");
                }
            }
        };
        let (_, (kept, out_tail), (_, err_tail), status) =
            tokio::join!(feed, read_lines(stdout, on_line), read_lines(stderr, on_line), child.wait());
        let status = status.map_err(start)?;
        if status.success() {
            return Ok(kept);
        }
        let tail = out_tail.into_iter().chain(err_tail).collect::<Vec<_>>();
        let tail = tail[tail.len().saturating_sub(TAIL_LINES)..].to_vec();
        Err(ToolError::Failed { program: self.program.to_owned(), status, tail })
    }

    fn spawn(&self) -> std::io::Result<Child> {
        let stdin = match self.stdin {
            Input::Nothing => Stdio::null(),
            Input::Text(_) => Stdio::piped(),
            Input::Held(file) => Stdio::from(file.try_clone()?),
        };
        tokio::process::Command::new(self.program)
            .args(&self.args)
            .env_clear()
            .envs(self.env)
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
    }
}

/// Reads to the end; gives back the beginning, whole, and the last lines.
async fn read_lines(
    stream: Option<impl AsyncRead + Unpin>,
    on_line: &(dyn Fn(&str) + Send + Sync),
) -> (String, VecDeque<String>) {
    let (mut kept, mut tail) = (String::new(), VecDeque::new());
    let Some(stream) = stream else { return (kept, tail) };
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut reader).take(MAX_LINE_BYTES).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return (kept, tail),
            Ok(_) => {}
        }
        let text = String::from_utf8_lossy(&line);
        if kept.len() + text.len() <= MAX_STDOUT_BYTES {
            kept.push_str(&text);
        }
        let shown = text.trim();
        if !shown.is_empty() {
            on_line(shown);
            tail.push_back(shown.to_owned());
            if tail.len() > TAIL_LINES {
                tail.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn shell<'a>(env: &'a Vars, script: &str) -> Tool<'a> {
        Tool::new(Path::new("/bin/sh"), env, Duration::from_secs(20)).args(["-c", script])
    }

    #[tokio::test]
    async fn a_helpers_lines_are_shown_as_they_come() {
        let (env, seen) = (Vars::new(), Mutex::new(Vec::new()));
        let show = |line: &str| seen.lock().unwrap().push(line.to_owned());
        let out = shell(&env, "echo one; echo two").run(&show).await.unwrap();
        assert_eq!(out, "one\ntwo\n");
        assert_eq!(*seen.lock().unwrap(), ["one", "two"]);
    }

    #[tokio::test]
    async fn a_failure_tells_the_last_lines() {
        let env = Vars::new();
        let error = shell(&env, "echo no space left >&2; exit 3").run(&|_| {}).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains("no space left") && text.contains('3'), "{text}");
    }

    #[tokio::test]
    async fn a_helper_that_hangs_is_ended() {
        let env = Vars::new();
        let mut tool = shell(&env, "exec sleep 60");
        tool.time_limit = Duration::from_millis(50);
        assert!(matches!(tool.run(&|_| {}).await, Err(ToolError::TimedOut { .. })));
    }

    #[tokio::test]
    async fn a_helper_reads_what_it_is_given() {
        let env = Vars::new();
        let out = shell(&env, "read x; echo got $x").stdin(Input::Text("it\n")).run(&|_| {}).await;
        assert_eq!(out.unwrap(), "got it\n");
    }

    #[tokio::test]
    async fn nothing_of_the_environment_is_inherited() {
        let env = Vars::from([("ONLY".into(), "this".into())]);
        let out = shell(&env, "echo [$ONLY][$HOME]").run(&|_| {}).await.unwrap();
        assert_eq!(out, "[this][]\n");
    }
}
