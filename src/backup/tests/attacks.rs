//! Archives and journals made by an attacker: each is refused, and nothing on the machine has changed,
//! also when the restore is killed.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Cursor, Write};

use serde_json::json;
use sha2::{Digest, Sha256};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::machine::{Machine, archive, fine, full};
use crate::backup::archive::room;
use crate::backup::restoring::Restoring;
use crate::backup::{BackupError, finish, read, restore};

/// An archive made by hand.
#[derive(Default)]
struct Forgery {
    entries: Vec<(String, Vec<u8>)>,
    /// Entries of the manifest that differ from the true ones.
    listed: BTreeMap<String, String>,
    unlisted: Vec<String>,
    link: Option<(&'static str, &'static str)>,
    folder: Option<&'static str>,
    mode: u32,
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Forgery {
    /// A good backup and more.
    fn with(entries: &[(&str, &[u8])]) -> Forgery {
        let mut all = vec![("gateway.db".to_owned(), b"a store".to_vec())];
        all.extend(entries.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec())));
        Forgery { entries: all, mode: 0o666, ..Forgery::default() }
    }

    fn bytes(&self) -> Vec<u8> {
        let options = SimpleFileOptions::default().unix_permissions(self.mode);
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        let mut files: BTreeMap<String, String> = BTreeMap::new();
        for (name, bytes) in &self.entries {
            zip.start_file(name, options).unwrap();
            zip.write_all(bytes).unwrap();
            files.insert(name.clone(), hex(bytes));
        }
        if let Some((name, target)) = self.link {
            zip.add_symlink(name, target, options).unwrap();
            files.insert(name.to_owned(), hex(target.as_bytes()));
        }
        if let Some(name) = self.folder {
            zip.add_directory(name, options).unwrap();
            files.insert(name.to_owned(), hex(b""));
        }
        files.extend(self.listed.clone());
        files.retain(|name, _| !self.unlisted.contains(name));
        let manifest = json!({"format": 1, "version": "0", "made_at_ms": 7, "files": files});
        zip.start_file("manifest.json", options).unwrap();
        zip.write_all(manifest.to_string().as_bytes()).unwrap();
        zip.finish().unwrap().into_inner()
    }
}

/// `bytes` with every `from` replaced, which has the same length.
fn patched(mut bytes: Vec<u8>, from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let places: Vec<usize> =
        (0..bytes.len() - from.len()).filter(|at| bytes[*at..].starts_with(from)).collect();
    assert!(!places.is_empty());
    for at in places {
        bytes[at..at + to.len()].copy_from_slice(to);
    }
    bytes
}

/// Says in the directory of the archive that the entry unpacks to so many bytes.
fn claiming(mut bytes: Vec<u8>, name: &str, size: u32) -> Vec<u8> {
    const HEADER: &[u8] = b"PK\x01\x02";
    let at = (0..bytes.len())
        .find(|at| bytes[*at..].starts_with(HEADER) && bytes[at + 46..].starts_with(name.as_bytes()))
        .unwrap();
    bytes[at + 24..at + 28].copy_from_slice(&size.to_le_bytes());
    bytes
}

/// A machine in use, with files around its folders that are none of a restore's business.
fn victim() -> Machine {
    let machine = Machine::new();
    for name in [
        "data/gateway.db",
        "data/gateway.db-wal",
        "data/session.key",
        "data/gateway.lock",
        "data/logs/x.log",
        "plugins/mine/mine.wasm",
        "home/.ssh/authorized_keys",
    ] {
        machine.put(name, "old");
    }
    machine.put("config.toml", "# mine");
    machine
}

/// The journal of the format that earlier programs read, with paths in it.
fn journal_of_paths(machine: &Machine) -> Vec<u8> {
    let at = |name: &str| machine.dir.path().join(name);
    let moves = json!([
        {"from": at("data/restoring/evil"), "to": at("home/.ssh/authorized_keys"), "kind": "into_place"},
        {"from": at("home/.ssh/authorized_keys"), "to": at("stolen"), "kind": "aside"},
    ]);
    moves.to_string().into_bytes()
}

#[test]
fn an_archive_with_anything_but_a_backups_files_changes_nothing_even_when_killed() {
    let machine = victim();
    let journal = journal_of_paths(&machine);
    let one = |name: &str| Forgery::with(&[(name, b"evil")]).bytes();
    let names = [
        "moves.json",
        "moves.json.new",
        "../moves.json",
        "files/../../moves.json",
        "../../home/.ssh/authorized_keys",
        "/etc/cron.d/evil",
        "plugins/../../../home/.ssh/authorized_keys",
        "plugins//etc/passwd",
        "plugins/a/./../../gateway.lock",
        "plugins\\..\\..\\evil",
        "gateway.db-wal",
        "gateway.lock",
        "logs/evil.log",
        "config.toml.restored",
        "evil",
        "plugins/",
        "plugins/a\nb",
    ];
    let mut attacks: Vec<(String, Vec<u8>)> =
        names.iter().map(|name| ((*name).to_owned(), one(name))).collect();
    attacks.extend([
        ("journal".into(), Forgery::with(&[("moves.json", &journal), ("evil", b"evil")]).bytes()),
        ("link".into(), Forgery { link: Some(("plugins/a/link", "/etc")), ..Forgery::with(&[]) }.bytes()),
        (
            "secret that is a link".into(),
            Forgery { link: Some(("session.key", "/etc/passwd")), ..Forgery::with(&[]) }.bytes(),
        ),
        ("folder".into(), Forgery { folder: Some("plugins/a/"), ..Forgery::with(&[]) }.bytes()),
        (
            "two of one name".into(),
            patched(
                Forgery {
                    unlisted: vec!["session.kez".into()],
                    ..Forgery::with(&[("session.key", b"1"), ("session.kez", b"2")])
                }
                .bytes(),
                b"session.kez",
                b"session.key",
            ),
        ),
        (
            "unlisted".into(),
            Forgery { unlisted: vec!["session.key".into()], ..Forgery::with(&[("session.key", b"1")]) }
                .bytes(),
        ),
        (
            "listed and missing".into(),
            Forgery { listed: [("session.key".into(), hex(b""))].into(), ..Forgery::with(&[]) }.bytes(),
        ),
        ("file below a file".into(), Forgery::with(&[("plugins/a", b"1"), ("plugins/a/b", b"2")]).bytes()),
        (
            "wrong hash".into(),
            Forgery {
                listed: [("session.key".into(), hex(b"2"))].into(),
                ..Forgery::with(&[("session.key", b"1")])
            }
            .bytes(),
        ),
        (
            "hash that is none".into(),
            Forgery { listed: [("gateway.db".into(), "../x".into())].into(), ..Forgery::with(&[]) }.bytes(),
        ),
        ("something behind it".into(), [archive(&full()), b"PK\x05\x06".to_vec()].concat()),
    ]);
    let before = machine.state();
    for (attack, bytes) in attacks {
        let file = machine.backup(&bytes);
        let error = restore(&file, &machine.places(), 9, fine).unwrap_err();
        assert!(
            matches!(
                error,
                BackupError::Damaged { .. } | BackupError::Foreign { .. } | BackupError::Io { .. }
            ),
            "{attack}: {error}"
        );
        // The same, killed after as much as it did.
        let restoring = Restoring::begin(&machine.places()).unwrap();
        read(&file, &restoring.unpacked()).unwrap_err();
        drop(restoring);
        assert!(!finish(&machine.places()).unwrap(), "{attack}");
        fs::remove_file(&file).unwrap();
        assert_eq!(machine.state(), before, "{attack}");
    }
}

#[test]
fn an_archive_that_unpacks_to_more_than_it_may_is_refused_before_it_is_unpacked() {
    let machine = victim();
    let before = machine.state();
    let many: Vec<(String, Vec<u8>)> = (0..20).map(|n| (format!("plugins/a/{n:02}"), vec![0; 10])).collect();
    let many: Vec<(&str, &[u8])> =
        many.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    let all =
        many.iter().fold(Forgery::with(&many).bytes(), |bytes, (name, _)| claiming(bytes, name, 255 << 20));
    let zeroes = vec![0; 1 << 20];
    let mut crowded = archive(&full());
    let end = crowded.len() - 22;
    crowded[end + 8..end + 10].copy_from_slice(&20_000_u16.to_le_bytes());
    crowded[end + 10..end + 12].copy_from_slice(&20_000_u16.to_le_bytes());
    let bombs = [
        (
            claiming(Forgery::with(&[("plugins/a/b", b"x")]).bytes(), "plugins/a/b", 300 << 20),
            "plugins/a/b is larger than the 268435456 bytes",
        ),
        (
            claiming(Forgery::with(&[("session.key", b"x")]).bytes(), "session.key", 1 << 20),
            "session.key is larger",
        ),
        (all, "the files beside the store is larger"),
        // It claims little and unpacks to much: a bomb of 1,000 to 1.
        (
            claiming(Forgery::with(&[("plugins/a/b", &zeroes)]).bytes(), "plugins/a/b", 10),
            "plugins/a/b in the backup",
        ),
        (crowded, "20000 entries"),
    ];
    for (bytes, words) in bombs {
        let file = machine.backup(&bytes);
        let error = restore(&file, &machine.places(), 9, fine).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        fs::remove_file(&file).unwrap();
        assert_eq!(machine.state(), before, "{words}");
    }
    assert!(room(1 << 30, Some(2 << 30)).is_ok() && room(1 << 30, None).is_ok());
    for free in [0, 1 << 29, 1 << 30] {
        let error = room(1 << 30, Some(free)).unwrap_err();
        assert!(error.to_string().contains(&free.to_string()), "{error}");
    }
}

#[test]
fn an_entry_that_unpacks_to_more_than_it_claims_is_cut_there() {
    let machine = Machine::new();
    let zeroes = vec![0; 1 << 20];
    let bytes = claiming(Forgery::with(&[("plugins/a/b", &zeroes)]).bytes(), "plugins/a/b", 10);
    let into = machine.dir.path().join("into");
    read(&machine.backup(&bytes), &into).unwrap_err();
    assert!(fs::metadata(into.join("plugins/a/b")).unwrap().len() <= 11);
}

#[test]
fn modes_of_an_archive_are_not_taken_over() {
    let machine = Machine::new();
    let forged =
        Forgery { mode: 0o4777, ..Forgery::with(&[("session.key", b"s"), ("plugins/a/b/c.wasm", b"code")]) };
    restore(&machine.backup(&forged.bytes()), &machine.places(), 9, fine).unwrap();
    for name in ["data/gateway.db", "data/session.key", "plugins/a/b/c.wasm"] {
        assert_eq!(machine.mode(name), 0o600, "{name}");
    }
}

#[test]
fn a_journal_with_anything_but_known_names_moves_nothing() {
    let machine = victim();
    let moves = |item: &str, kind: &str| {
        let journal = json!({"format": 2, "began_at_ms": 9, "moves": [{"item": item, "kind": kind}]});
        journal.to_string().into_bytes()
    };
    let mut journals =
        vec![journal_of_paths(&machine), b"".to_vec(), b"[{".to_vec(), b"{}".to_vec(), b"null".to_vec()];
    for item in [
        "../../home/.ssh/authorized_keys",
        "/etc/passwd",
        "home",
        "gateway.lock",
        "plugins/../../data/gateway.db",
        "plugins/",
        "",
    ] {
        journals.extend([moves(item, "into_place"), moves(item, "aside")]);
    }
    journals.extend([
        moves("gateway.db", "elsewhere"),
        json!({"format": 1, "began_at_ms": 9, "moves": []}).to_string().into_bytes(),
        json!({"format": 2, "began_at_ms": "../x", "moves": []}).to_string().into_bytes(),
        json!({"format": 2, "began_at_ms": 9, "moves": [], "to": "/"}).to_string().into_bytes(),
        json!({"format": 2, "began_at_ms": 9, "moves": [{"item": "gateway.db", "kind": "aside", "to": "/"}]})
            .to_string()
            .into_bytes(),
    ]);
    machine.put("data/restoring/files/gateway.db", "evil");
    for journal in journals {
        fs::write(machine.dir.path().join("data/restoring/moves.json"), &journal).unwrap();
        let before = machine.state();
        let error = finish(&machine.places()).unwrap_err();
        assert!(error.to_string().contains("restoring/moves.json"), "{error}");
        assert_eq!(machine.state(), before, "it stays for the operator to look at");
    }
}

#[test]
fn a_file_whose_place_is_a_folder_or_behind_a_link_is_refused_before_anything_changes() {
    let bytes = Forgery::with(&[("plugins/a/b", b"evil")]).bytes();
    type Place = fn(&Machine);
    let obstacles: [(&str, Place); 4] = [
        ("plugins/a/b", |machine| machine.put("plugins/a/b/c", "")),
        ("plugins/a", |machine| machine.put("plugins/a", "")),
        ("plugins/a", |machine| {
            machine.put("plugins/x", "");
            std::os::unix::fs::symlink(machine.dir.path().join("home"), machine.dir.path().join("plugins/a"))
                .unwrap();
        }),
        ("data/gateway.db", |machine| {
            fs::remove_file(machine.dir.path().join("data/gateway.db")).unwrap();
            machine.put("data/gateway.db/x", "");
        }),
    ];
    for (name, place) in obstacles {
        let machine = victim();
        place(&machine);
        let file = machine.backup(&bytes);
        let before = machine.state();
        let error = restore(&file, &machine.places(), 9, fine).unwrap_err();
        assert!(
            matches!(&error, BackupError::Obstructed { path } if *path == machine.dir.path().join(name)),
            "{name}: {error}"
        );
        assert_eq!(machine.state(), before, "{name}");
    }
}
