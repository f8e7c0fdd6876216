//! Installing with a made-up uv.

use super::super::testing::{Machine, NEW, OLD};
use super::*;

fn files(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

async fn install(managed: &Managed, lock: &Lock, report: Report<'_>) -> Result<Installed, EngineError> {
    let turn = managed.turn(report).await?;
    managed.install(lock, &turn, report).await
}

#[tokio::test]
async fn an_installation_is_complete_with_its_mark_and_made_once() {
    let machine = Machine::new();
    let managed = machine.managed();
    let installed = install(&managed, &NEW, &|_| {}).await.unwrap();
    assert_eq!(installed.version, "1.8.1");
    assert_eq!(files(&installed.dir), ["installed.json", "launch-help.txt", "venv", "venv.lock.txt"]);
    assert!(managed.capabilities(&installed).unwrap().knows("--prompt-cache-dir"));
    let shim = installed.venv.root.join("lib/python3.12/site-packages/torch.py");
    assert!(std::fs::read_to_string(shim).unwrap().contains("Stand-in for PyTorch"));
    assert_eq!(install(&managed, &NEW, &|_| {}).await.unwrap(), installed);
    assert_eq!(machine.asked().len(), 2, "one `uv venv`, one `uv pip`");
}

#[tokio::test]
async fn an_interrupted_installation_is_done_anew() {
    let machine = Machine::new();
    let managed = machine.managed();
    machine.set("bin/no-network", true);
    let error = install(&managed, &NEW, &|_| {}).await.unwrap_err().to_string();
    assert!(error.contains("no network") && error.contains("index has to be reachable"), "{error}");
    assert_eq!(managed.installed(&NEW.id()), None);
    std::fs::write(managed.dir(&NEW.id()).join("venv/left-over"), "").unwrap();

    machine.set("bin/no-network", false);
    let installed = install(&managed, &NEW, &|_| {}).await.unwrap();
    assert!(!installed.venv.root.join("left-over").exists());
}

#[tokio::test]
async fn an_installation_whose_interpreter_went_away_is_done_anew() {
    let machine = Machine::new();
    let managed = machine.managed();
    let installed = install(&managed, &NEW, &|_| {}).await.unwrap();
    std::fs::remove_file(installed.venv.python()).unwrap();
    std::os::unix::fs::symlink("/gone", installed.venv.python()).unwrap();
    assert_eq!(managed.installed(&NEW.id()), None);
    assert_eq!(install(&managed, &NEW, &|_| {}).await.unwrap(), installed);
    assert_eq!(machine.asked().len(), 4);
}

#[tokio::test]
async fn an_installation_that_was_moved_is_done_anew() {
    let machine = Machine::new();
    let managed = machine.managed();
    let before = install(&managed, &NEW, &|_| {}).await.unwrap();
    let moved = Managed { root: machine.managed().root.with_file_name("elsewhere"), ..machine.managed() };
    std::fs::rename(&managed.root, &moved.root).unwrap();
    assert_eq!(moved.installed(&NEW.id()), None);
    let after = install(&moved, &NEW, &|_| {}).await.unwrap();
    assert_ne!(after.dir, before.dir);
    assert_eq!(machine.asked().len(), 4);
}

#[tokio::test]
async fn a_link_that_goes_away_takes_no_installation_with_it() {
    let machine = Machine::new();
    let managed = machine.managed();
    std::fs::create_dir_all(&managed.root).unwrap();
    let link = managed.root.with_file_name("link");
    std::os::unix::fs::symlink(&managed.root, &link).unwrap();
    let linked = Managed { root: link.clone(), ..machine.managed() };
    let installed = install(&linked, &NEW, &|_| {}).await.unwrap();
    std::fs::remove_file(link).unwrap();
    assert_eq!(managed.installed(&NEW.id()), Some(installed));
}

#[tokio::test]
async fn two_that_need_an_installation_share_it() {
    let machine = Machine::new();
    let (one, other) = (machine.managed(), machine.managed());
    let (first, second) = tokio::join!(install(&one, &NEW, &|_| {}), install(&other, &NEW, &|_| {}));
    assert_eq!(first.unwrap(), second.unwrap());
    assert_eq!(machine.asked().len(), 2);
}

#[tokio::test]
async fn what_no_set_refers_to_any_more_is_removed() {
    let machine = Machine::new();
    let managed = machine.managed();
    const OLDER: Lock = Lock { text: "mlx-openai-server==1.6.3 \\\n", ..OLD };
    for lock in [OLDER, OLD, NEW] {
        let turn = managed.turn(&|_| {}).await.unwrap();
        let installed = managed.install(&lock, &turn, &|_| {}).await.unwrap();
        managed.switch("text", &installed.id, &turn).unwrap();
        managed.remove_forgotten(&turn);
    }
    assert_eq!(managed.current("text").unwrap().id, NEW.id());
    assert!(managed.installed(&OLD.id()).is_some());
    assert!(!managed.dir(&OLDER.id()).exists());
}

#[tokio::test]
async fn progress_names_what_is_installed_and_by_whom() {
    let machine = Machine::new();
    let steps = std::sync::Mutex::new(Vec::new());
    machine.set("bin/no-network", true);
    let report = |step: Step| steps.lock().unwrap().push(step.to_string());
    install(&machine.managed(), &NEW, &report).await.unwrap_err();
    assert_eq!(
        *steps.lock().unwrap(),
        ["installing mlx-openai-server 1.8.1 (1 packages) with uv: no network"]
    );
}
