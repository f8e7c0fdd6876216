//! Installing, upgrading and going back, over a made-up machine.

use super::testing::{Machine, NEW, OLD};
use super::*;

fn ids(engines: &[EngineStatus]) -> Vec<(Option<&str>, Option<&str>)> {
    engines.iter().map(|one| (one.current.as_deref(), one.previous.as_deref())).collect()
}

#[tokio::test]
async fn an_upgrade_proves_itself_and_can_be_taken_back() {
    let machine = Machine::new();
    let before = machine.engines(OLD);
    assert_eq!(before.list().await.unwrap()[0].current, None);
    before.install(&|_| {}).await.unwrap();
    assert!(matches!(before.rollback().await, Err(EngineError::NoPrevious)));

    // The next gateway brings another lock, and goes on with what is installed until it is told.
    let engines = machine.engines(NEW);
    assert!(engines.list().await.unwrap()[0].is_upgradable());
    assert_eq!(engines.install(&|_| {}).await.unwrap().version.as_deref(), Some("1.7.1"));

    let steps = std::sync::Mutex::new(Vec::new());
    let report = |step: Step| steps.lock().unwrap().push(step);
    let changed = engines.upgrade(&report).await.unwrap();
    let (old, new) = (OLD.id(), NEW.id());
    assert_eq!(ids(&changed), [(Some(new.as_str()), Some(old.as_str()))]);
    assert_eq!(steps.lock().unwrap().last(), Some(&Step::Proving));
    assert_eq!(engines.upgrade(&|_| {}).await.unwrap(), [], "nothing is left to upgrade");

    engines.rollback().await.unwrap();
    assert_eq!(ids(&engines.list().await.unwrap()), [(Some(old.as_str()), Some(new.as_str()))]);
    engines.rollback().await.unwrap();
    assert_eq!(ids(&engines.list().await.unwrap()), [(Some(new.as_str()), Some(old.as_str()))]);
}

#[tokio::test]
async fn an_upgrade_that_does_not_answer_changes_nothing() {
    let machine = Machine::new();
    machine.engines(OLD).install(&|_| {}).await.unwrap();
    machine.set("broken", true);
    let engines = machine.engines(NEW);
    let error = engines.upgrade(&|_| {}).await.unwrap_err().to_string();
    assert!(error.contains("1.8.1 did not prove itself"), "{error}");
    assert!(error.contains("ended with exit status: 0"), "code 0 is a failure too: {error}");
    assert!(error.contains("The model could not be loaded"), "{error}");
    assert_eq!(ids(&engines.list().await.unwrap()), [(Some(OLD.id().as_str()), None)]);

    machine.set("broken", false);
    assert_eq!(engines.upgrade(&|_| {}).await.unwrap().len(), 1, "it may be tried again");
}
