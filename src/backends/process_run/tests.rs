//! Runs of real processes, from the first request to the last file.

use super::super::instance::runs_dir;
use super::super::testing::{SERVER, TestLauncher, backends, spec, spec_with};
use super::super::{
    AcquireError, Asker, Backends, LaunchCommand, LaunchError, LaunchSpec, Launcher, Lease, Progress,
};
use super::*;
use crate::config::Upstream;
use crate::system::process::{carrying, group_members};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::sync::Mutex;

mod faults;

async fn acquire(backends: &Backends, spec: &Arc<LaunchSpec>) -> Result<Lease, AcquireError> {
    let (asker, progress) = (Asker { lane: Arc::from("test"), priority: 0 }, Progress::new());
    let asked = backends.acquire(spec, &asker, &progress);
    timeout(Duration::from_secs(30), asked).await.expect("no answer")
}

/// Everything that runs of this gateway have left below its data directory.
fn left_in(data_dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(runs_dir(data_dir)).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// The failure of a backend that runs the script.
async fn failure_of(script: &str) -> (String, Vec<String>) {
    let data = tempfile::tempdir().unwrap();
    let backends = backends(data.path(), TestLauncher::shell(script));
    let error = acquire(&backends, &spec()).await.expect_err("it became ready");
    assert_eq!(left_in(data.path()), [] as [PathBuf; 0]);
    match error {
        AcquireError::Failed { reason, log_tail, .. } => (reason, log_tail),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_backend_lives_from_its_first_request_to_its_stop_and_leaves_only_its_log() {
    let data = tempfile::tempdir().unwrap();
    let backends = backends(data.path(), TestLauncher::python(SERVER));
    let lease = acquire(&backends, &spec()).await.unwrap();
    let pid = lease.pid().unwrap();
    let shown = &backends.snapshot()[0];
    assert_eq!((shown.state, shown.pid), ("ready", Some(pid)));
    assert_eq!(lease.target().authority.port_u16(), shown.port);
    assert!(lease.start_ms() > 0.0);
    assert_eq!(left_in(data.path()).len(), 2, "a folder and its record");
    drop(lease);
    assert!(backends.stop("qwen").await);
    assert_eq!(group_members(pid), [] as [u32; 0]);
    assert_eq!(left_in(data.path()), [] as [PathBuf; 0]);
    let log = std::fs::read_to_string(data.path().join("logs/qwen.log")).unwrap();
    assert_eq!(log, "loading\n");
}

#[tokio::test]
async fn an_exit_before_the_first_answer_is_a_failure_whatever_the_code() {
    let (reason, log) = failure_of("echo 'no such model' >&2; exit 0").await;
    assert_eq!(reason, "it exited with code 0 before it answered");
    assert_eq!(log, ["no such model"]);
}

#[tokio::test]
async fn a_flood_of_output_neither_holds_the_process_up_nor_fills_the_memory() {
    let (reason, log) = failure_of("yes 'flood flood flood' | head -n 300000; exit 7").await;
    assert_eq!(reason, "it exited with code 7 before it answered");
    assert_eq!(log.len(), FAILURE_LINES);
}

#[tokio::test]
async fn a_process_gets_nothing_of_our_environment() {
    let (_, log) = failure_of("env; exit 1").await;
    let names: Vec<_> = log.iter().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    // A shell adds some of its own.
    let known = ["PATH", "HOME", "TMPDIR", MARK, "PWD", "SHLVL", "_", "OLDPWD"];
    assert!(names.iter().all(|name| known.contains(name)), "{names:?}");
    let tmp = log.iter().find(|line| line.starts_with("TMPDIR=")).unwrap();
    assert!(tmp.contains("/run/qwen-") && tmp.ends_with("/tmp"), "{tmp}");
}

#[tokio::test]
async fn a_program_that_does_not_exist_is_named() {
    let data = tempfile::tempdir().unwrap();
    struct Nothing;
    impl Launcher for Nothing {
        fn prepare<'a>(
            &'a self,
            _: &'a LaunchSpec,
            port: u16,
            dir: &'a Path,
            _: &'a (dyn Fn(String) + Send + Sync),
        ) -> BoxFuture<'a, Result<LaunchCommand, LaunchError>> {
            let mut command = TestLauncher::shell("").command(port, dir);
            command.program = "/no/such/program".into();
            std::future::ready(Ok(command)).boxed()
        }
    }
    let backends = backends(data.path(), Arc::new(Nothing));
    let error = acquire(&backends, &spec()).await.unwrap_err().to_string();
    assert!(error.contains("/no/such/program cannot be run"), "{error}");
    assert_eq!(left_in(data.path()), [] as [PathBuf; 0]);
}

#[tokio::test]
async fn a_start_that_takes_too_long_is_ended() {
    let data = tempfile::tempdir().unwrap();
    let backends = backends(data.path(), TestLauncher::shell("echo still loading; sleep 600"));
    let spec = spec_with(|spec| spec.timeouts.start = Duration::from_millis(300));
    let error = acquire(&backends, &spec).await.unwrap_err();
    let AcquireError::StartTimeout { log_tail, .. } = error else { panic!("{error}") };
    assert_eq!(log_tail, ["still loading"]);
    assert_eq!(left_in(data.path()), [] as [PathBuf; 0]);
}

#[tokio::test]
async fn a_backend_that_is_killed_is_started_again_by_the_next_request() {
    let data = tempfile::tempdir().unwrap();
    let backends = backends(data.path(), TestLauncher::python(SERVER));
    let first = acquire(&backends, &spec()).await.unwrap().pid().unwrap();
    kill(Pid::from_raw(i32::try_from(first).unwrap()), Signal::SIGKILL).unwrap();
    let failed = async {
        while backends.snapshot()[0].state != "failed" {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(Duration::from_secs(10), failed).await.expect("its death was not noticed");
    let error = backends.snapshot()[0].error.clone().unwrap();
    assert_eq!(error, "it was ended by SIGKILL while it was in use");
    let second = acquire(&backends, &spec()).await.unwrap().pid().unwrap();
    assert_ne!(first, second);
    backends.shutdown(Duration::ZERO).await;
    assert_eq!(group_members(second), [] as [u32; 0]);
    assert_eq!(left_in(data.path()), [] as [PathBuf; 0]);
}

/// Takes the first port it is asked to prepare for.
struct Thief {
    inner: Arc<TestLauncher>,
    loot: Mutex<Option<TcpListener>>,
}

impl Launcher for Thief {
    fn prepare<'a>(
        &'a self,
        spec: &'a LaunchSpec,
        port: u16,
        dir: &'a Path,
        report: &'a (dyn Fn(String) + Send + Sync),
    ) -> BoxFuture<'a, Result<LaunchCommand, LaunchError>> {
        let mut loot = self.loot.lock().unwrap();
        if loot.is_none() {
            *loot = Some(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap());
        }
        self.inner.prepare(spec, port, dir, report)
    }
}

#[tokio::test]
async fn a_port_that_somebody_takes_is_replaced() {
    let data = tempfile::tempdir().unwrap();
    let inner = TestLauncher::python(SERVER);
    let thief = Thief { inner: Arc::clone(&inner), loot: Mutex::default() };
    let backends = backends(data.path(), Arc::new(thief));
    let lease = acquire(&backends, &spec()).await.unwrap();
    let ports = inner.ports.lock().unwrap().clone();
    assert_eq!(ports.len(), 2);
    assert_eq!(lease.target().authority.port_u16(), Some(ports[1]));
    drop(lease);
    backends.shutdown(Duration::ZERO).await;
}

/// Prepares for ever.
struct Slow;

impl Launcher for Slow {
    fn prepare<'a>(
        &'a self,
        _: &'a LaunchSpec,
        _: u16,
        _: &'a Path,
        report: &'a (dyn Fn(String) + Send + Sync),
    ) -> BoxFuture<'a, Result<LaunchCommand, LaunchError>> {
        report("installing".to_owned());
        std::future::pending().boxed()
    }
}

#[tokio::test]
async fn a_preparation_can_be_stopped_and_does_not_count_as_start() {
    let data = tempfile::tempdir().unwrap();
    let backends = backends(data.path(), Arc::new(Slow));
    let spec = spec_with(|spec| spec.timeouts.start = Duration::ZERO);
    let (asked, ()) = tokio::join!(acquire(&backends, &spec), async {
        while backends.snapshot().first().is_none_or(|b| b.step.as_deref() != Some("installing")) {
            tokio::task::yield_now().await;
        }
        assert!(backends.stop("qwen").await);
    });
    assert!(matches!(asked, Err(AcquireError::Unavailable { .. })), "{asked:?}");
    assert_eq!(left_in(data.path()), [] as [PathBuf; 0]);
}

#[tokio::test]
async fn a_server_elsewhere_is_ready_without_a_process_and_never_idle() {
    let data = tempfile::tempdir().unwrap();
    let backends = backends(data.path(), Arc::new(Slow));
    let spec = spec_with(|spec| {
        spec.settings.engine = EngineKind::Url;
        let url = "http://10.0.0.2:10242/v1".into();
        spec.settings.upstream = Some(Upstream { url, api_key: None });
    });
    let lease = acquire(&backends, &spec).await.unwrap();
    assert_eq!(lease.target().authority.as_str(), "10.0.0.2:10242");
    assert_eq!(lease.pid(), None);
    assert!(backends.try_acquire(&spec).is_some());
    drop(lease);
    backends.shutdown(Duration::ZERO).await;
    assert!(!data.path().join("run").exists());
}

#[tokio::test]
async fn dropped_handles_end_the_process() {
    let data = tempfile::tempdir().unwrap();
    let backends = backends(data.path(), TestLauncher::python(SERVER));
    drop(acquire(&backends, &spec()).await.unwrap());
    let dir = left_in(data.path()).into_iter().find(|path| path.is_dir()).unwrap();
    let mark = dir.to_str().unwrap();
    assert_eq!(carrying(MARK, mark).len(), 1);
    drop(backends);
    let gone = async {
        while !carrying(MARK, mark).is_empty() || !left_in(data.path()).is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(10), gone).await.expect("it lives on");
}
