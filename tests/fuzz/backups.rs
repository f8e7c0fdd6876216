//! Backups that come from anywhere: unpacked within their folder and their bounds, or refused; and journals of restores.

use std::collections::BTreeSet;
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use mlx_gateway::backup::{Places, finish, read, write};

use crate::harness::fuzz;

/// Far above what the seeds unpack to, and what a few changes can make of them.
const UNPACKED_MAX: u64 = 1 << 20;

fn files(folder: &Path) -> Vec<PathBuf> {
    let (mut found, mut left) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = left.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            let kind = fs::symlink_metadata(&path).unwrap().file_type();
            assert!(kind.is_dir() || kind.is_file(), "{}", path.display());
            if kind.is_dir() { left.push(path) } else { found.push(path) }
        }
    }
    found
}

fn places(dir: &Path) -> Places {
    Places { data_dir: dir.join("data"), config: Some(dir.join("config.toml")), plugins: dir.join("plugins") }
}

fn put(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn seed() -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let places = places(dir.path());
    put(&places.data_dir.join("session.key"), b"a secret");
    put(&places.data_dir.join("gateway.db"), &[7; 500]);
    put(&places.plugins.join("mine/plugin.toml"), b"name = \"mine\"");
    put(&dir.path().join("config.toml"), b"# a configuration");
    let mut out = Cursor::new(Vec::new());
    write(&mut out, &places, &places.data_dir.join("gateway.db"), 7).unwrap();
    out.into_inner()
}

#[test]
fn backups_are_unpacked_within_their_folder_and_bounds_or_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (file, into) = (dir.path().join("backup"), dir.path().join("a/into"));
    fuzz(&[&seed()], |bytes, _| {
        fs::write(&file, bytes).unwrap();
        let unpacked = read(&file, &into);
        let all: BTreeSet<PathBuf> = files(dir.path()).into_iter().filter(|path| *path != file).collect();
        assert!(all.iter().all(|path| path.starts_with(&into)), "{all:?}");
        let size: u64 = all.iter().map(|path| fs::metadata(path).unwrap().len()).sum();
        assert!(size <= UNPACKED_MAX, "{size}");
        if let Ok(manifest) = unpacked {
            let listed: BTreeSet<PathBuf> = manifest.files.keys().map(|name| into.join(name)).collect();
            assert_eq!(all, listed);
        }
        if into.exists() {
            fs::remove_dir_all(&into).unwrap();
        }
    });
}

#[test]
fn journals_move_known_files_between_known_places_or_nothing() {
    const JOURNAL: &str = r#"{"format":2,"began_at_ms":9,"moves":[{"item":"gateway.db-wal","kind":"aside"},{"item":"gateway.db","kind":"aside"},{"item":"gateway.db","kind":"into_place"},{"item":"plugins/mine/mine.wasm","kind":"into_place"},{"item":"config.toml.restored","kind":"into_place"}]}"#;
    fuzz(&[JOURNAL.as_bytes()], |bytes, _| {
        let dir = tempfile::tempdir().unwrap();
        let places = places(dir.path());
        let around = [
            dir.path().join("around"),
            places.data_dir.join("gateway.lock"),
            places.plugins.join("own.wasm"),
        ];
        around.iter().for_each(|path| put(path, b"kept"));
        put(&places.data_dir.join("gateway.db"), b"old");
        put(&places.data_dir.join("restoring/files/gateway.db"), b"new");
        put(&places.data_dir.join("restoring/files/plugins/mine/mine.wasm"), b"new");
        put(&places.data_dir.join("restoring/moves.json"), bytes);
        let finished = finish(&places);
        for path in &around {
            assert_eq!(fs::read(path).unwrap(), b"kept", "{}", path.display());
        }
        let restoring = places.data_dir.join("restoring");
        assert_eq!(restoring.exists(), finished.is_err(), "{finished:?}");
        let known = |path: &PathBuf| {
            around.contains(path)
                || path.starts_with(&restoring)
                || path.parent() == Some(&places.data_dir)
                || path.starts_with(places.plugins.join("mine"))
                || path.parent() == Some(dir.path())
                || path
                    .strip_prefix(&places.data_dir)
                    .is_ok_and(|path| path.to_string_lossy().starts_with("before-restore-"))
        };
        assert!(files(dir.path()).iter().all(known), "{:?}", files(dir.path()));
    });
}
