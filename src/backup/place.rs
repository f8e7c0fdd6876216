//! Which file of a backup goes where, and what of before is kept: a list of moves, decided once all of the
//! backup was verified. Carrying them out is `restoring`'s.

use std::fs;
use std::path::{Path, PathBuf};

use super::restoring::{Move, Restoring};
use super::{BackupError, CONFIG, DATABASE, Manifest, PLUGINS, Places, SECRET, read};

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
/// store before it is used. Interrupted, it is as if it had not begun, or `finish` brings it to its end. The
/// caller holds the data directory's lock. Blocks.
pub fn restore<E: From<BackupError>>(
    file: &Path,
    places: &Places,
    now_ms: i64,
    check: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<Restored, E> {
    let restoring = Restoring::begin(&places.data_dir)?;
    let staged = unpack(file, &restoring, check);
    let manifest = match staged {
        Ok(manifest) => manifest,
        Err(error) => {
            restoring.abandon()?;
            return Err(error);
        }
    };
    let (moves, restored) = plan(restoring.folder(), places, &manifest, now_ms);
    restoring.decide(&moves)?.finish()?;
    Ok(restored)
}

fn unpack<E: From<BackupError>>(
    file: &Path,
    restoring: &Restoring,
    check: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<Manifest, E> {
    let manifest = read(file, restoring.folder())?;
    check(&restoring.folder().join(DATABASE))?;
    Ok(manifest)
}

/// The moves that put everything in its place, in their order, and what they come to.
pub(super) fn plan(
    staged: &Path,
    places: &Places,
    manifest: &Manifest,
    now_ms: i64,
) -> (Vec<Move>, Restored) {
    let keep = places.data_dir.join(format!("before-restore-{now_ms}"));
    let mut moves = Vec::new();
    let set_aside = |path: PathBuf, name: &str, moves: &mut Vec<Move>| {
        if path.exists() {
            moves.push(Move::aside(path, keep.join(name)));
        }
    };
    let mut restored = Restored {
        version: manifest.version.clone(),
        made_at_ms: manifest.made_at_ms,
        files: Vec::new(),
        kept: None,
        config_beside: None,
    };
    for name in SIDE_FILES {
        set_aside(places.data_dir.join(name), name, &mut moves);
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
        set_aside(to.clone(), name, &mut moves);
        moves.push(Move::into_place(from, to));
        restored.files.push(name.clone());
    }
    restored.kept = moves.iter().any(Move::keeps).then_some(keep);
    (moves, restored)
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
