//! What goes in comes out, and what is not whole is refused before anything is touched.

use std::fs;
use std::io::Cursor;
use std::path::Path;

use super::place::plan;
use super::restoring::Restoring;
use super::{BackupError, Places, finish, read, restore, sweep, workspace, write};

struct Machine {
    dir: tempfile::TempDir,
}

impl Machine {
    fn new() -> Machine {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("data")).unwrap();
        Machine { dir }
    }

    fn places(&self) -> Places {
        let at = |name: &str| self.dir.path().join(name);
        Places { data_dir: at("data"), config: Some(at("config.toml")), plugins: at("plugins") }
    }

    fn put(&self, name: &str, text: &str) {
        let path = self.dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn read(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.dir.path().join(name)).ok()
    }
}

fn full() -> Machine {
    let machine = Machine::new();
    machine.put("data/gateway.db", "a store");
    machine.put("data/session.key", "a secret");
    machine.put("config.toml", "# a configuration");
    machine.put("plugins/mine/plugin.toml", "name = \"mine\"");
    machine.put("plugins/mine/mine.wasm", "code");
    machine
}

fn archive(machine: &Machine) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    write(&mut out, &machine.places(), &machine.dir.path().join("data/gateway.db"), 7).unwrap();
    out.into_inner()
}

fn fine(_store: &Path) -> Result<(), BackupError> {
    Ok(())
}

#[test]
fn all_of_it_comes_back_to_an_empty_machine() {
    let target = Machine::new();
    target.put("backup", "");
    let file = target.dir.path().join("backup");
    fs::write(&file, archive(&full())).unwrap();
    let restored = restore(&file, &target.places(), 9, fine).unwrap();
    assert_eq!((restored.made_at_ms, restored.files.len(), restored.kept), (7, 5, None));
    assert_eq!(target.read("data/gateway.db").unwrap(), "a store");
    assert_eq!(target.read("data/session.key").unwrap(), "a secret");
    assert_eq!(target.read("config.toml").unwrap(), "# a configuration");
    assert_eq!(target.read("plugins/mine/mine.wasm").unwrap(), "code");
}

#[test]
fn what_was_there_before_is_kept_and_the_configuration_in_use_stays() {
    let target = Machine::new();
    for (name, text) in
        [("data/gateway.db", "old"), ("data/gateway.db-wal", "old"), ("config.toml", "# mine")]
    {
        target.put(name, text);
    }
    let file = target.dir.path().join("backup");
    fs::write(&file, archive(&full())).unwrap();
    let restored = restore(&file, &target.places(), 9, fine).unwrap();
    assert_eq!(restored.kept.unwrap(), target.dir.path().join("data/before-restore-9"));
    assert_eq!(target.read("data/before-restore-9/gateway.db").unwrap(), "old");
    assert_eq!(target.read("data/before-restore-9/gateway.db-wal").unwrap(), "old");
    assert_eq!(target.read("data/gateway.db-wal"), None, "it belongs to the store of before");
    assert_eq!(target.read("config.toml").unwrap(), "# mine");
    assert_eq!(target.read("config.toml.restored").unwrap(), "# a configuration");
}

#[test]
fn a_damaged_or_foreign_file_changes_nothing() {
    let target = Machine::new();
    target.put("data/gateway.db", "old");
    let file = target.dir.path().join("backup");
    let whole = archive(&full());
    let at = whole.windows(7).position(|bytes| bytes == b"a store");
    // Small files are stored deflated, so the bytes are looked for by the entry's own place.
    let at = at.unwrap_or(60);
    let mut damaged = whole.clone();
    damaged[at] ^= 0xFF;
    for bytes in [damaged, whole[..whole.len() / 2].to_vec(), b"not a zip file".to_vec()] {
        fs::write(&file, bytes).unwrap();
        let error = restore(&file, &target.places(), 9, fine).unwrap_err();
        assert!(matches!(error, BackupError::Damaged { .. } | BackupError::Foreign { .. }), "{error}");
        assert_eq!(target.read("data/gateway.db").unwrap(), "old");
    }
}

#[test]
fn a_store_that_does_not_pass_its_check_is_not_used() {
    let target = Machine::new();
    target.put("data/gateway.db", "old");
    let file = target.dir.path().join("backup");
    fs::write(&file, archive(&full())).unwrap();
    let refused = |store: &Path| -> Result<(), BackupError> {
        assert_eq!(fs::read_to_string(store).unwrap(), "a store");
        Err(BackupError::TooNew { found: 2 })
    };
    assert!(restore(&file, &target.places(), 9, refused).is_err());
    assert_eq!(target.read("data/gateway.db").unwrap(), "old");
    let left: Vec<_> = fs::read_dir(target.dir.path().join("data")).unwrap().collect();
    assert_eq!(left.len(), 1, "nothing is left of the attempt");
}

/// A machine with things of its own, and a backup of another in `backup`.
fn target_and_backup() -> (Machine, std::path::PathBuf) {
    let target = Machine::new();
    for name in ["data/gateway.db", "data/gateway.db-wal", "data/session.key", "plugins/mine/mine.wasm"] {
        target.put(name, "old");
    }
    target.put("config.toml", "# mine");
    let file = target.dir.path().join("backup");
    fs::write(&file, archive(&full())).unwrap();
    (target, file)
}

fn assert_restored(target: &Machine, after: &str) {
    let now = |name: &str| target.read(name);
    assert_eq!(now("data/gateway.db").as_deref(), Some("a store"), "{after}");
    assert_eq!(now("data/gateway.db-wal"), None, "{after}");
    assert_eq!(now("data/session.key").as_deref(), Some("a secret"), "{after}");
    assert_eq!(now("plugins/mine/mine.wasm").as_deref(), Some("code"), "{after}");
    assert_eq!(now("plugins/mine/plugin.toml").as_deref(), Some("name = \"mine\""), "{after}");
    assert_eq!(now("config.toml").as_deref(), Some("# mine"), "{after}");
    for kept in ["gateway.db", "gateway.db-wal", "session.key", "plugins/mine/mine.wasm"] {
        assert_eq!(now(&format!("data/before-restore-9/{kept}")).as_deref(), Some("old"), "{after}: {kept}");
    }
    assert!(!target.dir.path().join("data/restoring").exists(), "{after}: nothing is left of it");
}

#[test]
fn a_restore_that_was_interrupted_after_any_move_is_brought_to_its_end() {
    let mut moves_made = 0;
    loop {
        let (target, file) = target_and_backup();
        let places = target.places();
        let restoring = Restoring::begin(&places.data_dir).unwrap();
        let manifest = read(&file, restoring.folder()).unwrap();
        let (moves, _) = plan(restoring.folder(), &places, &manifest, 9);
        drop(restoring.decide(&moves).unwrap());
        // Here the process dies.
        moves.iter().take(moves_made).for_each(|step| step.make().unwrap());
        assert!(finish(&places.data_dir).unwrap(), "there was a restore to end");
        assert_restored(&target, &format!("after {moves_made} of {} moves", moves.len()));
        assert!(!finish(&places.data_dir).unwrap(), "it has ended");
        if moves_made == moves.len() {
            assert_eq!(moves_made, 9);
            return;
        }
        moves_made += 1;
    }
}

#[test]
fn a_move_to_another_disk_that_was_cut_off_before_its_original_was_gone_is_not_made_twice() {
    let (target, file) = target_and_backup();
    let places = target.places();
    let restoring = Restoring::begin(&places.data_dir).unwrap();
    let manifest = read(&file, restoring.folder()).unwrap();
    let (moves, _) = plan(restoring.folder(), &places, &manifest, 9);
    drop(restoring.decide(&moves).unwrap());
    // Copied aside, and still there; half copied into its place.
    target.put("data/before-restore-9/gateway.db", "old");
    target.put("data/gateway.db.part", "a st");
    assert!(finish(&places.data_dir).unwrap());
    assert_restored(&target, "after a copy");
}

#[test]
fn a_restore_that_was_interrupted_before_it_was_decided_has_changed_nothing() {
    let (target, file) = target_and_backup();
    let places = target.places();
    let restoring = Restoring::begin(&places.data_dir).unwrap();
    read(&file, restoring.folder()).unwrap();
    drop(restoring);
    assert!(!finish(&places.data_dir).unwrap());
    assert_eq!(target.read("data/gateway.db").unwrap(), "old");
    assert!(!target.dir.path().join("data/restoring").exists(), "its secrets are gone");
}

#[test]
fn a_journal_that_cannot_be_read_is_named_and_stays() {
    let target = Machine::new();
    target.put("data/restoring/moves.json", "[{");
    let error = finish(&target.places().data_dir).unwrap_err();
    assert!(error.to_string().contains("restoring/moves.json"), "{error}");
    assert!(target.read("data/restoring/moves.json").is_some());
}

#[test]
fn what_a_killed_backup_left_is_cleared_away() {
    let target = Machine::new();
    let data_dir = target.places().data_dir;
    assert_eq!(sweep(&data_dir).unwrap(), None);
    let left = workspace(&data_dir).unwrap().keep();
    fs::write(left.join("gateway.db"), "secrets").unwrap();
    assert_eq!(sweep(&data_dir).unwrap(), left.parent().map(Path::to_owned));
    assert!(!left.exists());
    drop(workspace(&data_dir).unwrap());
    assert_eq!(sweep(&data_dir).unwrap(), None, "one that ended leaves nothing worth telling");
}
