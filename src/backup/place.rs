//! Decides which file of a verified backup goes where and which files of before are set aside: a list of moves.
//! `restoring` carries them out.

use std::fs;
use std::path::{Path, PathBuf};

use super::item::Item;
use super::restoring::{Journal, Kind, Move, Restoring, is_there, kept};
use super::{BackupError, DATABASE, Manifest, Places, read};
use crate::system::files;

/// What a restore has done.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Restored {
    /// Of the program that wrote the backup.
    pub version: String,
    pub made_at_ms: i64,
    /// Names of the files that were restored.
    pub files: Vec<String>,
    /// The folder of the files that were there before, if there were any.
    pub kept: Option<PathBuf>,
    /// The backup's configuration file, when another one is in use or none is.
    pub config_beside: Option<PathBuf>,
    /// Whether a configuration file is in use here.
    pub config_in_use: bool,
    /// What the backup does not hold of the plugin directory: links and files that are not regular.
    pub left_out: Vec<String>,
}

/// Puts the backup `file` in place, once all of it was verified; `check` looks at the store before it is used. An
/// interrupted restore has changed nothing, or `finish` finishes it. The caller holds the data directory's lock.
/// Blocks.
pub fn restore<E: From<BackupError>>(
    file: &Path,
    places: &Places,
    now_ms: i64,
    check: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<Restored, E> {
    let restoring = Restoring::begin(places)?;
    match prepare(file, &restoring, places, now_ms, check) {
        Ok((journal, restored)) => {
            restoring.decide(places, journal)?.finish()?;
            Ok(restored)
        }
        Err(error) => {
            restoring.abandon()?;
            Err(error)
        }
    }
}

fn prepare<E: From<BackupError>>(
    file: &Path,
    restoring: &Restoring,
    places: &Places,
    now_ms: i64,
    check: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<(Journal, Restored), E> {
    let unpacked = restoring.unpacked();
    let manifest = read(file, &unpacked)?;
    check(&unpacked.join(DATABASE))?;
    Ok(plan(&unpacked, places, &manifest, now_ms)?)
}

/// The moves that put everything in its place, and their outcome.
pub(super) fn plan(
    unpacked: &Path,
    places: &Places,
    manifest: &Manifest,
    now_ms: i64,
) -> Result<(Journal, Restored), BackupError> {
    let mut items: Vec<Item> = manifest.files.keys().filter_map(|name| Item::of_entry(name)).collect();
    // The configuration says where the plugins are, so it changes last.
    items.sort_by_key(|item| *item == Item::Config);
    let (mut moves, mut files, mut config_beside) = (Vec::new(), Vec::new(), None);
    for item in [Item::StoreLog, Item::StoreIndex] {
        set_aside(item, places, &mut moves);
    }
    for item in items {
        files.push(item.name());
        let item = match item {
            Item::Config => match config(unpacked, places) {
                Some(item) => item,
                None => {
                    files.pop();
                    continue;
                }
            },
            other => other,
        };
        if item == Item::ConfigCopy {
            config_beside = Some(item.place(places));
        }
        unobstructed(&item, places)?;
        set_aside(item.clone(), places, &mut moves);
        moves.push(Move { item, kind: Kind::IntoPlace });
    }
    for item in manifest.folders.iter().filter_map(|name| Item::of_entry(name)) {
        let place = item.place(places);
        if fs::symlink_metadata(&place).is_ok_and(|found| found.is_dir()) {
            continue;
        }
        unobstructed(&item, places)?;
        set_aside(item.clone(), places, &mut moves);
        moves.push(Move { item, kind: Kind::IntoPlace });
    }
    let keeps = moves.iter().any(|one| one.kind == Kind::Aside);
    let restored = Restored {
        version: manifest.version.clone(),
        made_at_ms: manifest.made_at_ms,
        files,
        kept: keeps.then(|| kept(places, now_ms)),
        config_beside,
        config_in_use: places.config.is_some(),
        left_out: manifest.left_out.clone(),
    };
    Ok((Journal::new(now_ms, moves), restored))
}

fn set_aside(item: Item, places: &Places, moves: &mut Vec<Move>) {
    if is_there(&item.place(places)) {
        moves.push(Move { item, kind: Kind::Aside });
    }
}

/// Where the backup's configuration goes; nowhere when it is there already. Another one that is in use stays, which is
/// the operator's to decide.
fn config(unpacked: &Path, places: &Places) -> Option<Item> {
    let Some(config) = &places.config else { return Some(Item::ConfigCopy) };
    let read = |path: &Path| files::read(path, Item::Config.limit());
    match (read(&Item::Config.unpacked(unpacked)), read(config)) {
        (Ok(theirs), Ok(ours)) if theirs == ours => None,
        (_, Err(error)) if error.kind() == std::io::ErrorKind::NotFound => Some(Item::Config),
        _ => Some(Item::ConfigCopy),
    }
}

/// Refuses a file whose place is a folder, or is reached through a file or a link.
fn unobstructed(item: &Item, places: &Places) -> Result<(), BackupError> {
    let place = item.place(places);
    let kind = |path: &Path| fs::symlink_metadata(path).map(|found| found.file_type());
    let blocked = |path: &Path| Err(BackupError::Obstructed { path: path.to_owned() });
    if kind(&place).is_ok_and(|kind| kind.is_dir()) {
        return blocked(&place);
    }
    if let Item::Plugin(_) = item {
        let above = place.ancestors().skip(1).take_while(|path| *path != places.plugins);
        for folder in above {
            if kind(folder).is_ok_and(|kind| !kind.is_dir()) {
                return blocked(folder);
            }
        }
    }
    Ok(())
}
