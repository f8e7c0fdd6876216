//! What happens to a run behind its back: a port that is taken while it loads, a machine that sleeps, a
//! worker that dies.

use super::super::super::BackendsDeps;
use super::super::super::testing::{Unseen, WORKER};
use super::*;
use crate::system::clock::{Clock, SystemClock};
use std::sync::atomic::{AtomicI64, Ordering};
use tokio::time::sleep;

async fn until(what: &str, mut seen: impl FnMut() -> bool) {
    let looking = async {
        while !seen() {
            sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(Duration::from_secs(60), looking).await.unwrap_or_else(|_| panic!("waited in vain for {what}"));
}

/// The ordinary server, that waits for a file before it binds.
fn server_behind(file: &Path) -> String {
    let wait = format!(
        "import os, time\nwhile not os.path.exists({:?}): time.sleep(0.005)\n",
        file.to_str().unwrap()
    );
    format!("{wait}{SERVER}")
}

#[tokio::test]
async fn a_port_that_is_taken_while_the_model_loads_is_replaced() {
    let data = tempfile::tempdir().unwrap();
    let go = data.path().join("go");
    let launcher = TestLauncher::python(&server_behind(&go));
    let backends = backends(data.path(), Arc::clone(&launcher) as Arc<dyn Launcher>);
    let spec = spec();
    let steal = async {
        until("the process", || backends.snapshot().first().is_some_and(|shown| shown.state == "loading"))
            .await;
        let port = launcher.ports.lock().unwrap()[0];
        let thief = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        std::fs::write(&go, "").unwrap();
        thief
    };
    let (lease, thief) = tokio::join!(acquire(&backends, &spec), steal);
    let lease = lease.unwrap();
    let ports = launcher.ports.lock().unwrap().clone();
    assert_eq!((ports.len(), thief.local_addr().unwrap().port()), (2, ports[0]));
    assert_eq!(lease.target().authority.port_u16(), Some(ports[1]));
    drop(lease);
    backends.shutdown(Duration::ZERO).await;
}

/// A wall clock that a test may set ahead.
struct Wall(AtomicI64);

impl Clock for Wall {
    fn unix_ms(&self) -> i64 {
        SystemClock.unix_ms() + self.0.load(Ordering::Relaxed)
    }

    fn now(&self) -> std::time::Instant {
        SystemClock.now()
    }
}

/// Backends of a machine that can be put to sleep.
fn sleepy(data: &Path, launcher: Arc<TestLauncher>) -> (Backends, impl Fn()) {
    let wall = Arc::new(Wall(AtomicI64::new(0)));
    let clock = Arc::clone(&wall);
    let backends = Backends::new(BackendsDeps {
        data_dir: data.to_owned(),
        launcher,
        clock,
        stop_grace: Duration::from_secs(5),
        probe: Arc::new(Unseen),
        store: None,
        budget_bytes: u64::MAX,
        min_stay: Duration::ZERO,
    });
    let an_hour = move || {
        wall.0.fetch_add(3_600_000, Ordering::Relaxed);
    };
    (backends, an_hour)
}

#[tokio::test]
async fn after_a_sleep_a_backend_is_asked_before_it_is_leased_again() {
    let data = tempfile::tempdir().unwrap();
    let asked = data.path().join("asked");
    let noting = SERVER.replace(
        "self.send_response(200)",
        &format!("open({:?}, 'a').write('x')\n        self.send_response(200)", asked.to_str().unwrap()),
    );
    let (backends, sleep_an_hour) = sleepy(data.path(), TestLauncher::python(&noting));
    let spec = spec();
    let first = acquire(&backends, &spec).await.unwrap().pid();
    let questions = || std::fs::read(&asked).unwrap_or_default().len();
    let before = questions();
    assert_eq!(backends.try_acquire(&spec).unwrap().pid(), first, "nothing is asked without a sleep");
    assert_eq!(questions(), before);
    sleep_an_hour();
    assert!(backends.try_acquire(&spec).is_none(), "not on its word of before");
    let leased = acquire(&backends, &spec).await.unwrap();
    assert_eq!((leased.pid(), questions()), (first, before + 1), "asked once, and kept");
    assert!(backends.try_acquire(&spec).is_some());
    drop(leased);
    backends.shutdown(Duration::ZERO).await;
}

#[tokio::test]
async fn one_that_does_not_answer_after_a_sleep_is_replaced_before_it_is_leased() {
    let data = tempfile::tempdir().unwrap();
    let (backends, sleep_an_hour) = sleepy(data.path(), TestLauncher::python(SERVER));
    let spec = spec();
    let first = acquire(&backends, &spec).await.unwrap().pid().unwrap();
    kill(Pid::from_raw(i32::try_from(first).unwrap()), Signal::SIGSTOP).unwrap();
    sleep_an_hour();
    let next = acquire(&backends, &spec).await.unwrap();
    assert_ne!(next.pid(), Some(first));
    assert_eq!(group_members(first), [] as [u32; 0]);
    drop(next);
    backends.shutdown(Duration::ZERO).await;
}

#[tokio::test]
async fn a_server_whose_worker_has_died_is_ended_though_it_answers() {
    let data = tempfile::tempdir().unwrap();
    let with_worker = format!(
        "import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)', {WORKER:?}])\n{SERVER}"
    );
    let backends = backends(data.path(), TestLauncher::python(&with_worker));
    let leader = acquire(&backends, &spec()).await.unwrap().pid().unwrap();
    let worker = group_members(leader).into_iter().find(|pid| *pid != leader).unwrap();
    kill(Pid::from_raw(i32::try_from(worker).unwrap()), Signal::SIGKILL).unwrap();
    until("its end to be noticed", || backends.snapshot()[0].state == "failed").await;
    let error = backends.snapshot()[0].error.clone().unwrap();
    assert_eq!(error, format!("its worker process {worker} ended while the server went on"));
    assert_eq!(group_members(leader), [] as [u32; 0]);
    assert_ne!(acquire(&backends, &spec()).await.unwrap().pid(), Some(leader));
    backends.shutdown(Duration::ZERO).await;
}
