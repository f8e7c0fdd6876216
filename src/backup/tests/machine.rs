//! A machine of a test's own: a data directory, a configuration file, plugins and files that no restore may touch.

use std::collections::BTreeMap;
use std::fs;
use std::io::Cursor;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::backup::{BackupError, Places, write};

pub struct Machine {
    pub dir: tempfile::TempDir,
}

impl Machine {
    pub fn new() -> Machine {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("data")).unwrap();
        Machine { dir }
    }

    pub fn places(&self) -> Places {
        let at = |name: &str| self.dir.path().join(name);
        Places { data_dir: at("data"), config: Some(at("config.toml")), plugins: at("plugins") }
    }

    pub fn put(&self, name: &str, text: &str) {
        let path = self.dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub fn read(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.dir.path().join(name)).ok()
    }

    pub fn mode(&self, name: &str) -> u32 {
        fs::symlink_metadata(self.dir.path().join(name)).unwrap().permissions().mode() & 0o7777
    }

    /// Writes a backup's file, and returns its path.
    pub fn backup(&self, bytes: &[u8]) -> PathBuf {
        let file = self.dir.path().join("backup");
        fs::write(&file, bytes).unwrap();
        file
    }

    /// Everything on the machine, by its path: mode and content.
    pub fn state(&self) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
        let (mut all, mut folders) = (BTreeMap::new(), vec![self.dir.path().to_owned()]);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let found = fs::symlink_metadata(&path).unwrap();
                let content = if found.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
                all.insert(path.clone(), (found.permissions().mode(), content));
                if found.is_dir() {
                    folders.push(path);
                }
            }
        }
        all
    }
}

pub fn full() -> Machine {
    let machine = Machine::new();
    machine.put("data/gateway.db", "a store");
    machine.put("data/session.key", "a secret");
    machine.put("config.toml", "# a configuration");
    machine.put("plugins/mine/plugin.toml", "name = \"mine\"");
    machine.put("plugins/mine/mine.wasm", "code");
    machine
}

pub fn archive(machine: &Machine) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    write(&mut out, &machine.places(), &machine.dir.path().join("data/gateway.db"), 7).unwrap();
    out.into_inner()
}

pub fn fine(_store: &Path) -> Result<(), BackupError> {
    Ok(())
}
