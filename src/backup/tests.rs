//! What goes in comes out, and what is not whole is refused before anything is touched.

use std::fs;
use std::io::Cursor;
use std::path::Path;

use super::{BackupError, Places, restore, write};

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
