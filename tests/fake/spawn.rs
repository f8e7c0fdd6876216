//! The tests' side of the fake server: finds (and where needed builds) the program, starts it, asks it
//! what it has seen. Not part of the program. Use it with
//! `#[path = "../fake/spawn.rs"] mod fake;` (from tests/it/main.rs).
#![allow(dead_code, reason = "each test uses what it needs")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use serde_json::Value;

const ANSWER_TIMEOUT: Duration = Duration::from_secs(40);

/// The path of `fake_mlx_server`. `cargo test` and `cargo nextest run` build it as an example before
/// any test runs; with a filter such as `--test it` cargo does not, and a missing or outdated one is
/// built here.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| example("fake_mlx_server", "tests/fake"))
}

/// The path of an example whose sources lie in that folder, built when it is missing or outdated.
pub fn example(name: &str, sources: &str) -> PathBuf {
    let this = std::env::current_exe().expect("a test knows its own path");
    // target/<profile>/deps/it-0123 -> target/<profile>
    let profile_dir = this.parent().and_then(Path::parent).expect("tests lie in deps");
    let program = profile_dir.join("examples").join(name);
    if modified(&program) < newest_source(sources) {
        build(profile_dir, name);
    }
    assert!(program.exists(), "{} was not built", program.display());
    program
}

/// A fake server of the test's own, for `engine = "url"`; ends with the value.
pub struct FakeServer {
    child: Child,
    pub authority: String,
}

impl FakeServer {
    /// Returns when it listens. `flags` as in tests/fake/README.md.
    pub fn start(flags: &[&str]) -> FakeServer {
        let mut child = Command::new(program())
            .args(["launch", "--port", "0", "--served-model-name", "fake"])
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("fake_mlx_server starts");
        let stdout = child.stdout.take().expect("stdout is piped");
        let mut lines = BufReader::new(stdout).lines();
        let authority = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| {
                let (_, rest) = line.split_once("Uvicorn running on http://")?;
                rest.split(' ').next().map(str::to_owned)
            })
            .expect("fake_mlx_server says where it listens");
        // Somebody has to read on, or it blocks when the pipe is full.
        std::thread::spawn(move || lines.map_while(Result::ok).count());
        FakeServer { child, authority }
    }

    /// What `url` of a profile takes.
    pub fn url(&self) -> String {
        format!("http://{}/v1", self.authority)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its exit code; waits for its end.
    pub fn exit_code(mut self) -> Option<i32> {
        self.child.wait().expect("it can be waited for").code()
    }

    pub fn seen(&self, query: &str) -> Value {
        seen(&self.authority, query)
    }

    pub fn open_gate(&self) {
        open_gate(&self.authority);
    }
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// What the fake at `authority` has seen. `query` waits: `cancelled=1&wait-ms=5000`; panics when
/// what it waits for is not reached.
pub fn seen(authority: &str, query: &str) -> Value {
    let answer = exchange(authority, &format!("GET /__seen?{query}"), "");
    let seen: Value = serde_json::from_str(&answer).expect("the report is JSON");
    assert!(query.is_empty() || seen["reached"] == true, "not reached: {query}, seen: {seen}");
    seen
}

/// Lets the streams go on that wait at `#gate-after`.
pub fn open_gate(authority: &str) {
    exchange(authority, "POST /__gate", "open");
}

/// The same for one that was told to stop, and so takes no connections.
pub fn open_gate_of_stopping(pid: u32) {
    signal(pid, nix::sys::signal::Signal::SIGUSR1);
}

pub fn signal(pid: u32, signal: nix::sys::signal::Signal) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).expect("a pid is small"));
    nix::sys::signal::kill(pid, signal).expect("the process is there");
}

/// One request on a connection of its own; the body of the answer.
pub fn exchange(authority: &str, start: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(authority).expect("the fake listens");
    stream.set_read_timeout(Some(ANSWER_TIMEOUT)).expect("a time-out can be set");
    let length = body.len();
    write!(
        stream,
        "{start} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
    .expect("the request is sent");
    let mut answer = Vec::new();
    // A cut connection is an answer too: what has come until then.
    stream.read_to_end(&mut answer).ok();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()
}

fn build(profile_dir: &Path, name: &str) {
    let profile = profile_dir.file_name().and_then(|name| name.to_str()).unwrap_or("debug");
    let target_dir = profile_dir.parent().expect("a profile lies in a target directory");
    // Set by cargo for tests; build scripts of dependencies that read them would run again, each time in turn with
    // the builds that do not have them.
    let of_tests = std::env::vars_os().map(|(name, _)| name).filter(|name| {
        let name = name.to_string_lossy();
        ["CARGO_MANIFEST_", "CARGO_PKG_"].iter().any(|prefix| name.starts_with(prefix))
    });
    let mut command = Command::new(env!("CARGO"));
    for name in of_tests {
        command.env_remove(name);
    }
    let status = command
        .args(["build", "--quiet", "--example", name])
        .args(["--profile", if profile == "debug" { "dev" } else { profile }])
        .arg("--target-dir")
        .arg(target_dir)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .expect("cargo runs");
    assert!(status.success(), "{name} does not build");
}

fn modified(path: &Path) -> SystemTime {
    let modified = std::fs::metadata(path).and_then(|metadata| metadata.modified());
    modified.unwrap_or(SystemTime::UNIX_EPOCH)
}

fn newest_source(folder: &str) -> SystemTime {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = std::fs::read_dir(sources).expect("the sources of the fake are there");
    let of_program = |path: &PathBuf| !path.ends_with("spawn.rs") && !path.ends_with("README.md");
    let paths = entries.filter_map(Result::ok).map(|entry| entry.path()).filter(of_program);
    paths.map(|path| modified(&path)).max().unwrap_or(SystemTime::UNIX_EPOCH)
}
