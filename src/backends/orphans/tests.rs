//! What is ended and what is spared, with real processes.

use super::super::testing::{SERVER, TestLauncher, backends, spec};
use super::super::{Asker, Progress, instance::Instance};
use super::*;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

/// Tells `gateway_that_will_be_killed` where its data is; otherwise it has nothing to do.
const KILLED_GATEWAY_DATA: &str = "MLX_GATEWAY_TEST_KILLED_GATEWAY_DATA";

/// A process in a group of its own, ended with the test.
struct Sleeper(Child);

impl Sleeper {
    fn spawn(mark: Option<&Path>) -> Sleeper {
        let mut command = Command::new("sleep");
        command.arg("600").process_group(0);
        if let Some(dir) = mark {
            command.env(MARK, dir);
        }
        Sleeper(command.spawn().unwrap())
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    fn lives(&self) -> bool {
        start_mark(self.pid()).is_some()
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn record(instance: &Instance, pid: u32, started: &str) {
    let started = started.to_owned();
    let record = Record { backend: "qwen".into(), pid, pgid: pid, started };
    record.write(&instance.record_path()).unwrap();
}

fn nothing_is_left_of(data: &Path) -> bool {
    std::fs::read_dir(runs_dir(data)).unwrap().next().is_none()
}

#[test]
fn a_process_with_the_recorded_start_is_ended_and_its_files_go() {
    let data = tempfile::tempdir().unwrap();
    let instance = Instance::create(data.path(), "qwen").unwrap();
    let log = log_path(data.path(), "qwen");
    std::fs::create_dir_all(log.parent().unwrap()).unwrap();
    std::fs::write(&log, "last words\n").unwrap();
    let left = Sleeper::spawn(None);
    record(&instance, left.pid(), &start_mark(left.pid()).unwrap());
    let reaped = reap_orphans(data.path());
    assert_eq!(reaped, Reaped { processes: vec![left.pid()], runs: 1 });
    assert!(!left.lives());
    assert!(nothing_is_left_of(data.path()));
    assert!(!log.exists());
    assert_eq!(std::fs::read_to_string(old_path(&log)).unwrap(), "last words\n");
}

#[test]
fn whoever_got_the_pid_later_is_left_alone() {
    let data = tempfile::tempdir().unwrap();
    let instance = Instance::create(data.path(), "qwen").unwrap();
    let stranger = Sleeper::spawn(None);
    record(&instance, stranger.pid(), "another boot:12345");
    assert_eq!(reap_orphans(data.path()).processes, [] as [u32; 0]);
    assert!(stranger.lives());
    assert!(nothing_is_left_of(data.path()));
}

#[test]
fn a_child_that_outlived_its_leader_is_found_by_the_mark() {
    let data = tempfile::tempdir().unwrap();
    let instance = Instance::create(data.path(), "qwen").unwrap();
    let child = Sleeper::spawn(Some(&instance.dir));
    let other = Sleeper::spawn(Some(&data.path().join("run/qwen-other")));
    // The leader is gone, or the gateway was killed before it wrote a record.
    assert_eq!(reap_orphans(data.path()).processes, [child.pid()]);
    assert!(!child.lives() && other.lives());
}

#[test]
fn nothing_but_runs_is_touched() {
    let data = tempfile::tempdir().unwrap();
    let runs = runs_dir(data.path());
    assert_eq!(reap_orphans(data.path()), Reaped::default());
    std::fs::create_dir(&runs).unwrap();
    let precious = data.path().join("precious");
    std::fs::create_dir(&precious).unwrap();
    std::os::unix::fs::symlink(&precious, runs.join("link")).unwrap();
    std::fs::write(runs.join("notes"), "").unwrap();
    std::fs::write(runs.join("cut-off.json.new"), "{").unwrap();
    std::fs::write(runs.join("broken.json"), "{").unwrap();
    assert_eq!(reap_orphans(data.path()), Reaped { processes: vec![], runs: 2 });
    assert!(precious.exists() && runs.join("link").exists() && runs.join("notes").exists());
    assert_eq!(std::fs::read_dir(&runs).unwrap().count(), 2);
}

#[test]
fn the_next_gateway_ends_what_a_killed_one_left_running() {
    let data = tempfile::tempdir().unwrap();
    let mut gateway = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "backends::orphans::tests::gateway_that_will_be_killed", "--nocapture"])
        .env(KILLED_GATEWAY_DATA, data.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(gateway.stdout.take().unwrap()).lines().map(Result::unwrap);
    let pid = lines.find_map(|line| line.split_once("backend runs as ")?.1.parse().ok());
    let pid: u32 = pid.expect("it never became ready");
    let began = start_mark(pid);
    gateway.kill().unwrap();
    gateway.wait().unwrap();
    assert!(began.is_some() && start_mark(pid) == began, "it ended with its gateway");
    assert!(reap_orphans(data.path()).processes.contains(&pid));
    assert_ne!(start_mark(pid), began);
    assert!(nothing_is_left_of(data.path()));
}

/// Not a test of its own: the gateway that the test above starts and kills.
#[tokio::test]
async fn gateway_that_will_be_killed() {
    let Some(data) = std::env::var_os(KILLED_GATEWAY_DATA) else { return };
    let backends = backends(Path::new(&data), TestLauncher::python(SERVER));
    let asker = Asker { lane: Arc::from("test"), priority: 0 };
    let lease = backends.acquire(&spec(), &asker, &Progress::new()).await.unwrap();
    println!("\nbackend runs as {}", lease.pid().unwrap());
    std::future::pending::<()>().await;
}
