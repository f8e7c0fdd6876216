//! The search over a made-up machine: folders with scripts in place of interpreters, each of
//! which leaves a trace when it is run.

use super::*;

struct Machine {
    root: tempfile::TempDir,
    host: Vars,
}

impl Machine {
    fn new(path: &[&str]) -> Machine {
        let root = tempfile::tempdir().unwrap();
        let path = std::env::join_paths(path.iter().map(|dir| root.path().join(dir))).unwrap();
        let home = root.path().join("home").into_os_string();
        let host = Vars::from([("PATH".into(), path), ("HOME".into(), home)]);
        Machine { root, host }
    }

    /// A program that notes that it was run, then answers.
    fn program(&self, path: &str, answer: &str) -> PathBuf {
        let path = self.root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let script = format!("#!/bin/sh\n: > '{}.ran'\n{answer}\n", path.display());
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn search(&self) -> Search<'_> {
        Search { host: &self.host, is_macos: false, usual_dirs: Vec::new() }
    }

    fn ran(&self, path: &Path) -> bool {
        PathBuf::from(format!("{}.ran", path.display())).exists()
    }
}

#[tokio::test]
async fn a_named_version_is_preferred_to_a_plain_python3() {
    let machine = Machine::new(&["one", "two"]);
    let plain = machine.program("one/python3", "echo 3.11.9");
    let named = machine.program("two/python3.12", "echo 3.12.1");
    let found = machine.search().python().await.unwrap();
    assert_eq!(found, Python { path: named, version: "3.12.1".into() });
    assert!(!machine.ran(&plain));
}

#[tokio::test]
async fn a_python_of_another_version_or_without_venv_is_passed_over() {
    let machine = Machine::new(&["bin", "more"]);
    machine.program("bin/python3", "echo 3.13.0");
    machine.program("bin/python3.12", "echo no module named ensurepip >&2; exit 1");
    assert_eq!(machine.search().python().await, None);
    let good = machine.program("more/python3", "echo 3.11.2");
    assert_eq!(machine.search().python().await.unwrap().path, good);
}

#[tokio::test]
async fn the_newest_of_pyenvs_interpreters_is_found_without_its_shims() {
    let machine = Machine::new(&["home/.pyenv/shims"]);
    let shim = machine.program("home/.pyenv/shims/python3", "echo 3.12.0");
    machine.program("home/.pyenv/versions/3.12.9/bin/python3", "echo 3.12.9");
    let newest = machine.program("home/.pyenv/versions/3.12.10/bin/python3", "echo 3.12.10");
    machine.program("home/.pyenv/versions/3.13.0/bin/python3", "echo 3.13.0");
    assert_eq!(machine.search().python().await.unwrap().path, newest);
    assert!(!machine.ran(&shim));
}

#[tokio::test]
async fn a_link_to_a_shim_is_not_run_either() {
    let machine = Machine::new(&["bin"]);
    let shim = machine.program("shims/python3", "echo 3.12.0");
    std::fs::create_dir_all(machine.root.path().join("bin")).unwrap();
    std::os::unix::fs::symlink(&shim, machine.root.path().join("bin/python3")).unwrap();
    assert_eq!(machine.search().python().await, None);
    assert!(!machine.ran(&shim));
}

#[test]
fn on_macos_nothing_in_usr_bin_may_run() {
    let host = Vars::from([("PATH".into(), "/usr/bin".into())]);
    let mac = Search { host: &host, is_macos: true, usual_dirs: Vec::new() };
    // `env` stands for the stub: an executable file that every system has there.
    assert!(!mac.may_run(Path::new("/usr/bin/env")));
    let linux = Search { is_macos: false, ..mac.clone() };
    assert!(linux.may_run(Path::new("/usr/bin/env")));
}

#[test]
fn on_macos_a_link_to_the_stub_may_not_run() {
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("python3");
    std::os::unix::fs::symlink("/usr/bin/env", &link).unwrap();
    let host = Vars::new();
    let mac = Search { host: &host, is_macos: true, usual_dirs: Vec::new() };
    assert!(!mac.may_run(&link));
}

#[tokio::test]
async fn uv_is_found_on_the_path_and_in_the_home() {
    let machine = Machine::new(&["bin"]);
    assert_eq!(machine.search().uv().await, None);
    let home = machine.program("home/.local/bin/uv", "echo uv 0.1");
    assert_eq!(machine.search().uv().await, Some(home));
    let first = machine.program("bin/uv", "echo uv 0.2");
    assert_eq!(machine.search().uv().await, Some(first));
}

#[test]
fn a_relative_path_entry_is_not_searched() {
    let host = Vars::from([("PATH".into(), ".:bin".into())]);
    let search = Search { host: &host, is_macos: false, usual_dirs: Vec::new() };
    assert!(search.dirs().is_empty());
}
