//! What the tests of supervision share: specs, and real processes to supervise.

use super::admission::Admission;
use super::gauge::Gauge;
use super::needs::Needs;
use super::pins::Pins;
use super::run::Runner;
use super::{Backends, BackendsDeps, LaunchCommand, LaunchError, LaunchSpec, Launcher, Parts, Readiness};
use crate::config::{EngineKind, KeepAlive, LaunchSettings, Queue, Timeouts};
use crate::system::clock::SystemClock;
use crate::system::{Machine, Probe, Tree};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A server that answers every GET with 200, on the port in its first argument.
pub const SERVER: &str = r#"
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()
    def log_message(self, *args):
        pass
print("loading", flush=True)
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"#;

/// What marks a child of a test's server as its worker.
pub const WORKER: &str = "the-worker";

/// Launches one program, whatever the spec says.
pub struct TestLauncher {
    program: &'static str,
    /// `{port}` is replaced.
    args: Vec<String>,
    /// The ports it was asked to prepare for.
    pub ports: Mutex<Vec<u16>>,
}

impl TestLauncher {
    pub fn python(script: &str) -> Arc<TestLauncher> {
        TestLauncher::new("python3", &["-c", script, "{port}"])
    }

    pub fn shell(script: &str) -> Arc<TestLauncher> {
        TestLauncher::new("sh", &["-c", script, "sh", "{port}"])
    }

    fn new(program: &'static str, args: &[&str]) -> Arc<TestLauncher> {
        let args = args.iter().map(ToString::to_string).collect();
        Arc::new(TestLauncher { program, args, ports: Mutex::default() })
    }

    pub fn command(&self, port: u16, dir: &Path) -> LaunchCommand {
        let arg = |arg: &String| arg.replace("{port}", &port.to_string()).into();
        let passed = ["PATH", "HOME"].map(|name| (name.into(), std::env::var_os(name)));
        LaunchCommand {
            program: self.program.into(),
            args: self.args.iter().map(arg).collect(),
            env: passed.into_iter().filter_map(|(name, value)| Some((name, value?))).collect(),
            working_dir: dir.to_owned(),
            readiness: Readiness { paths: vec!["/health".into()], first_token: None },
            worker_mark: Some(WORKER),
        }
    }
}

impl Launcher for TestLauncher {
    fn prepare<'a>(
        &'a self,
        _spec: &'a LaunchSpec,
        port: u16,
        instance_dir: &'a Path,
        _report: &'a (dyn Fn(String) + Send + Sync),
    ) -> BoxFuture<'a, Result<LaunchCommand, LaunchError>> {
        self.ports.lock().unwrap().push(port);
        std::future::ready(Ok(self.command(port, instance_dir))).boxed()
    }
}

pub fn backends(data_dir: &Path, launcher: Arc<dyn Launcher>) -> Backends {
    Backends::new(BackendsDeps {
        data_dir: data_dir.to_owned(),
        launcher,
        clock: Arc::new(SystemClock),
        stop_grace: Duration::from_secs(5),
        probe: Arc::new(Unseen),
        store: None,
        budget_bytes: u64::MAX,
        min_stay: Duration::ZERO,
    })
}

/// Sees nothing.
pub struct Unseen;

impl Probe for Unseen {
    fn trees(&self, roots: &[u32]) -> Vec<Option<Tree>> {
        vec![None; roots.len()]
    }

    fn machine(&self) -> Machine {
        Machine::default()
    }
}

/// Backends whose runs are scripted, with a budget.
pub fn scripted(runner: Arc<dyn Runner>, stop_grace: Duration, budget: u64, min_stay: Duration) -> Backends {
    let gauge = Arc::new(Gauge::new(Arc::new(Unseen)));
    let admission = Admission::new(budget, min_stay, Arc::clone(&gauge));
    let needs = Arc::new(Needs::new(TestLauncher::shell(""), None));
    Backends::assemble(Parts {
        runner,
        needs,
        pins: Pins::new(None),
        gauge,
        admission,
        clock: Arc::new(SystemClock),
        stop_grace,
    })
}

/// A spec of the engine `command`, changed as a test needs it.
pub fn spec_with(change: impl FnOnce(&mut LaunchSpec)) -> Arc<LaunchSpec> {
    let settings = LaunchSettings {
        engine: EngineKind::Command,
        model: None,
        command: vec![],
        upstream: None,
        model_type: None,
        context_length: None,
        structured: false,
        extra_args: vec![],
        env: BTreeMap::new(),
        trust_remote_code: false,
        memory: None,
    };
    let mut spec = LaunchSpec {
        id: "qwen".into(),
        settings,
        served_name: "qwen".into(),
        keep_alive: KeepAlive::Forever,
        pinned: false,
        preload: false,
        auto_download: false,
        max_concurrent: 2,
        queue: Queue { size: 3, timeout: Duration::from_secs(60) },
        timeouts: Timeouts {
            start: Duration::from_secs(60),
            first_token: Duration::from_secs(60),
            idle: Duration::from_secs(60),
            total: Duration::from_secs(60),
        },
        profiles: vec!["qwen".into()],
    };
    change(&mut spec);
    Arc::new(spec)
}

pub fn spec() -> Arc<LaunchSpec> {
    spec_with(|_| {})
}
