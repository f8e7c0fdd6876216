//! Putting what a backup holds into its place. What stood there before is kept in a folder beside it.

use std::fs;
use std::path::{Path, PathBuf};

use super::archive::read;
use super::{BackupError, CONFIG, DATABASE, Manifest, PLUGINS, Places, SECRET};

/// The write-ahead log and its index belong to the store that they lie beside.
const SIDE_FILES: [&str; 2] = ["gateway.db-wal", "gateway.db-shm"];

/// What a restore has done.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Restored {
    /// Of the program that wrote the backup.
    pub version: String,
    pub made_at_ms: i64,
    /// Names of what was put back.
    pub files: Vec<String>,
    /// Where what stood there before lies now; none when nothing did.
    pub kept: Option<PathBuf>,
    /// The configuration file stands as it was, because it differs from the backup's; that one lies here.
    pub config_beside: Option<PathBuf>,
}

/// Puts the backup `file` in place of what is there, once all of it was verified; `check` looks at the
/// store before it is used. The caller holds the data directory's lock. Blocks.
pub fn restore<E: From<BackupError>>(
    file: &Path,
    places: &Places,
    now_ms: i64,
    check: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<Restored, E> {
    let staged =
        tempfile::tempdir_in(&places.data_dir).map_err(|error| BackupError::io(&places.data_dir, error))?;
    let manifest = read(file, staged.path())?;
    check(&staged.path().join(DATABASE))?;
    Ok(put(staged.path(), places, &manifest, now_ms)?)
}

fn put(staged: &Path, places: &Places, manifest: &Manifest, now_ms: i64) -> Result<Restored, BackupError> {
    let keep = places.data_dir.join(format!("before-restore-{now_ms}"));
    let mut restored = Restored {
        version: manifest.version.clone(),
        made_at_ms: manifest.made_at_ms,
        files: Vec::new(),
        kept: None,
        config_beside: None,
    };
    for name in SIDE_FILES {
        set_aside(&places.data_dir.join(name), &keep, name)?;
    }
    for name in manifest.files.keys() {
        let from = staged.join(name);
        let to = match name.as_str() {
            DATABASE | SECRET => places.data_dir.join(name),
            CONFIG => match beside(&from, places) {
                Where::Same => continue,
                Where::Here(path) => path,
                Where::Beside(path) => {
                    restored.config_beside = Some(path.clone());
                    path
                }
            },
            other => match other.strip_prefix(PLUGINS) {
                Some(inside) => places.plugins.join(inside),
                // Of a later version: what it is for is not known here.
                None => continue,
            },
        };
        set_aside(&to, &keep, name)?;
        move_file(&from, &to)?;
        restored.files.push(name.clone());
    }
    restored.kept = keep.exists().then_some(keep);
    Ok(restored)
}

/// Where the backup's configuration goes.
enum Where {
    /// It is there already.
    Same,
    Here(PathBuf),
    /// Another one is in use: that is the person's to decide.
    Beside(PathBuf),
}

fn beside(from: &Path, places: &Places) -> Where {
    let Some(config) = &places.config else {
        return Where::Beside(places.data_dir.join("config.toml.restored"));
    };
    match (fs::read(from), fs::read(config)) {
        (Ok(theirs), Ok(ours)) if theirs == ours => Where::Same,
        (_, Ok(_)) => Where::Beside(config.with_extension("toml.restored")),
        _ => Where::Here(config.clone()),
    }
}

fn set_aside(path: &Path, keep: &Path, name: &str) -> Result<(), BackupError> {
    if path.exists() { move_file(path, &keep.join(name)) } else { Ok(()) }
}

/// Renames, or copies where the two lie on different disks.
fn move_file(from: &Path, to: &Path) -> Result<(), BackupError> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).map_err(|error| BackupError::io(folder, error))?;
    }
    fs::rename(from, to)
        .or_else(|_| fs::copy(from, to).and_then(|_| fs::remove_file(from)))
        .map_err(|error| BackupError::io(to, error))
}
