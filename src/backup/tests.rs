//! A backup is restored as it was written, an interrupted restore is finished or has changed nothing.

mod attacks;
mod machine;

use std::fs;
use std::path::Path;

use self::machine::{Machine, archive, fine, full};
use super::place::plan;
use super::restoring::{Decided, Restoring};
use super::{BackupError, Places, finish, read, read_manifest, restore, sweep, workspace, write};

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
fn plugins_are_in_a_backup_however_they_were_put_there() {
    let source = full();
    let names = ["dropped.wasm", "mine/data/words/de.txt", "mine/.config", ".notes", ".hidden/x"];
    let names = names.map(|name| format!("plugins/{name}"));
    for name in &names {
        source.put(name, name);
    }
    // Half written.
    source.put("plugins/.new-x/x.wasm", "");
    let target = Machine::new();
    let restored = restore(&target.backup(&archive(&source)), &target.places(), 9, fine).unwrap();
    for name in &names {
        assert_eq!(target.read(name).as_ref(), Some(name));
    }
    assert_eq!(restored.files.len(), 5 + names.len(), "{:?}", restored.files);
    assert_eq!(target.read("plugins/.new-x/x.wasm"), None);
}

#[test]
fn empty_folders_come_back_and_what_is_no_file_is_named() {
    let source = full();
    let plugins = source.places().plugins;
    fs::create_dir_all(plugins.join("mine/cache/deep")).unwrap();
    fs::create_dir_all(plugins.join(".empty")).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", plugins.join("mine/link")).unwrap();
    nix::unistd::mkfifo(&plugins.join("mine/fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let target = Machine::new();
    let file = target.backup(&archive(&source));
    let left_out = ["plugins/mine/fifo", "plugins/mine/link"];
    assert_eq!(read_manifest(&file).unwrap().left_out, left_out);
    for _ in 0..2 {
        let restored = restore(&file, &target.places(), 9, fine).unwrap();
        assert_eq!(restored.left_out, left_out);
        for folder in ["mine/cache/deep", ".empty"] {
            assert!(target.places().plugins.join(folder).is_dir(), "{folder}");
        }
    }
    assert!(!target.places().plugins.join("mine/link").exists());
}

#[test]
fn restore_says_whether_a_configuration_file_is_in_use() {
    let target = Machine::new();
    let places = Places { config: None, ..target.places() };
    let restored = restore(&target.backup(&archive(&full())), &places, 9, fine).unwrap();
    assert_eq!((restored.config_beside.is_some(), restored.config_in_use), (true, false));
}

#[test]
fn a_backup_that_could_not_be_restored_is_not_written() {
    let source = full();
    let places = source.places();
    let written =
        || write(&mut std::io::Cursor::new(Vec::new()), &places, &places.data_dir.join("gateway.db"), 7);
    source.put("plugins/mine/a\nb", "");
    assert!(matches!(written().unwrap_err(), BackupError::Name { .. }));
    fs::remove_file(source.dir.path().join("plugins/mine/a\nb")).unwrap();
    let large = fs::File::create(source.dir.path().join("plugins/mine/large")).unwrap();
    large.set_len((256 << 20) + 1).unwrap();
    assert!(matches!(written().unwrap_err(), BackupError::TooLarge { .. }));
    large.set_len(0).unwrap();
    for number in 0..10_000 {
        fs::File::create(source.dir.path().join(format!("plugins/mine/{number}"))).unwrap();
    }
    let error = written().unwrap_err();
    assert!(error.to_string().contains("10000 files"), "{error}");
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

/// What a killed `restore` of the backup leaves once its journal is written.
fn decided(file: &Path, places: &Places) -> Decided {
    let restoring = Restoring::begin(places).unwrap();
    let unpacked = restoring.unpacked();
    let manifest = read(file, &unpacked).unwrap();
    let (journal, _) = plan(&unpacked, places, &manifest, 9).unwrap();
    restoring.decide(places, journal).unwrap()
}

#[test]
fn a_restore_that_was_interrupted_after_any_move_is_finished() {
    let mut moves_made = 0;
    loop {
        let (target, file) = target_and_backup();
        let places = target.places();
        let decided = decided(&file, &places);
        let moves = decided.moves();
        // Here the process dies.
        (0..moves_made).for_each(|number| decided.make(number).unwrap());
        drop(decided);
        assert!(finish(&places).unwrap(), "there was a restore to finish");
        assert_restored(&target, &format!("after {moves_made} of {moves} moves"));
        assert!(!finish(&places).unwrap(), "it has ended");
        if moves_made == moves {
            assert_eq!(moves_made, 9);
            return;
        }
        moves_made += 1;
    }
}

#[test]
fn a_restore_that_was_interrupted_while_it_ended_has_ended() {
    let (target, file) = target_and_backup();
    let places = target.places();
    let decided = decided(&file, &places);
    (0..decided.moves()).for_each(|number| decided.make(number).unwrap());
    drop(decided);
    fs::remove_file(target.dir.path().join("data/restoring/moves.json")).unwrap();
    assert!(!finish(&places).unwrap());
    assert_restored(&target, "without its journal");
}

#[test]
fn a_move_to_another_disk_that_was_cut_off_before_its_original_was_gone_is_not_made_twice() {
    let (target, file) = target_and_backup();
    let places = target.places();
    drop(decided(&file, &places));
    // Copied aside, and still there; half copied into its place.
    target.put("data/before-restore-9/gateway.db", "old");
    target.put("data/gateway.db.part", "a st");
    assert!(finish(&places).unwrap());
    assert_restored(&target, "after a copy");
}

#[test]
fn a_restore_that_was_interrupted_before_it_was_decided_has_changed_nothing() {
    let whole = ["gateway.db", "session.key", "config.toml", "plugins/mine/mine.wasm"];
    // Before anything, after each file, within a file, and while the journal is written.
    for files in 0..=whole.len() + 1 {
        let (target, _) = target_and_backup();
        let places = target.places();
        let before = target.state();
        drop(Restoring::begin(&places).unwrap());
        for name in whole.iter().take(files) {
            target.put(&format!("data/restoring/files/{name}"), "a st");
        }
        if files > whole.len() {
            target.put("data/restoring/moves.json.new", "{\"format\":2,");
        }
        assert!(!finish(&places).unwrap());
        assert_eq!(target.state(), before, "after {files} files: its secrets are gone too");
    }
}

#[test]
fn everything_restored_is_for_its_owner_alone() {
    let (target, file) = target_and_backup();
    restore(&file, &target.places(), 9, fine).unwrap();
    for name in ["data/gateway.db", "data/session.key", "config.toml.restored", "plugins/mine/plugin.toml"] {
        assert_eq!(target.mode(name), 0o600, "{name}");
    }
    let empty = Machine::new();
    restore(&empty.backup(&archive(&full())), &empty.places(), 9, fine).unwrap();
    for name in ["config.toml", "plugins/mine/mine.wasm"] {
        assert_eq!(empty.mode(name), 0o600, "{name}");
    }
    for folder in ["plugins", "plugins/mine"] {
        assert_eq!(empty.mode(folder), 0o700, "{folder}");
    }
    assert_eq!(target.mode("data/before-restore-9"), 0o700);
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
