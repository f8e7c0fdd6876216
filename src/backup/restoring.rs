//! A restore in progress: a folder in the data directory with the unpacked files and, once they are verified, a journal
//! of the moves that put them in place. Without a journal nothing has changed; with one the restore is decided, and the
//! next process that takes the data directory finishes it. The journal is outside of the folder that archives are
//! unpacked to and holds names of [`Item`]s, no paths.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::item::Item;
use super::{BackupError, Places};
use crate::system::{files, private};

/// In the data directory.
pub const RESTORING: &str = "restoring";
/// In that folder.
const UNPACKED: &str = "files";
const JOURNAL: &str = "moves.json";
const JOURNAL_MAX: u64 = 16 << 20;
const JOURNAL_FORMAT: u32 = 2;

/// The moves of a restore, in their order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Journal {
    format: u32,
    /// Names the folder of what was there before.
    began_at_ms: i64,
    moves: Vec<Move>,
}

/// One rename. Whether it was made is seen from the two places.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Move {
    pub item: Item,
    pub kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// Sets aside the file that was there before.
    Aside,
    /// Puts the unpacked file in its place.
    IntoPlace,
}

/// The folder of a restore that is not decided.
pub(super) struct Restoring {
    folder: PathBuf,
}

/// A restore that takes place.
pub(super) struct Decided {
    folder: PathBuf,
    places: Places,
    journal: Journal,
}

/// Finishes an interrupted restore, or removes one that had changed nothing yet; true: there was one to finish. The
/// caller holds the data directory's lock. Blocks.
pub fn finish(places: &Places) -> Result<bool, BackupError> {
    let folder = places.data_dir.join(RESTORING);
    let path = folder.join(JOURNAL);
    match Journal::read(&path) {
        Ok(Some(journal)) => {
            Decided { folder, places: places.clone(), journal }.finish()?;
            Ok(true)
        }
        Ok(None) => {
            Restoring { folder }.abandon()?;
            Ok(false)
        }
        Err(reason) => Err(BackupError::Journal { path, reason }),
    }
}

/// The folder of what was there before.
pub(super) fn kept(places: &Places, began_at_ms: i64) -> PathBuf {
    places.data_dir.join(format!("before-restore-{began_at_ms}"))
}

impl Journal {
    pub(super) fn new(began_at_ms: i64, moves: Vec<Move>) -> Journal {
        Journal { format: JOURNAL_FORMAT, began_at_ms, moves }
    }

    fn read(path: &Path) -> Result<Option<Journal>, String> {
        let mut text = Vec::new();
        let read = files::open(path).and_then(|file| file.take(JOURNAL_MAX).read_to_end(&mut text));
        match read {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(|error| error.to_string())?,
        };
        let journal: Journal = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
        if journal.format != JOURNAL_FORMAT {
            return Err(format!("its format is {}, this program reads {JOURNAL_FORMAT}", journal.format));
        }
        Ok(Some(journal))
    }

    fn write(&self, path: &Path) -> io::Result<()> {
        let text = serde_json::to_vec(self)?;
        if text.len() as u64 >= JOURNAL_MAX {
            return Err(io::Error::other("the names of its files are too long"));
        }
        private::replace(path, &text)
    }
}

impl Restoring {
    pub(super) fn begin(places: &Places) -> Result<Restoring, BackupError> {
        finish(places)?;
        let restoring = Restoring { folder: places.data_dir.join(RESTORING) };
        let unpacked = restoring.unpacked();
        private::create_dir(&unpacked).map_err(|error| BackupError::io(&unpacked, error))?;
        Ok(restoring)
    }

    /// The folder that an archive is unpacked to.
    pub(super) fn unpacked(&self) -> PathBuf {
        self.folder.join(UNPACKED)
    }

    /// Removes all of it.
    pub(super) fn abandon(self) -> Result<(), BackupError> {
        match fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(BackupError::io(&self.folder, error))
            }
            _ => Ok(()),
        }
    }

    /// Writes the journal, once the unpacked files and their names are on the disk.
    pub(super) fn decide(self, places: &Places, journal: Journal) -> Result<Decided, BackupError> {
        let (folder, unpacked) = (self.folder.clone(), self.unpacked());
        let above = |file: PathBuf| file.ancestors().skip(1).map(Path::to_owned).collect::<Vec<_>>();
        let folders: BTreeSet<PathBuf> = journal
            .moves
            .iter()
            .flat_map(|one| above(one.item.unpacked(&unpacked)))
            .filter(|path| path.starts_with(&folder) && path.is_dir())
            .collect();
        for folder in &folders {
            private::sync_dir(folder).map_err(|error| BackupError::io(folder, error))?;
        }
        let path = folder.join(JOURNAL);
        journal.write(&path).map_err(|error| BackupError::io(&path, error))?;
        Ok(Decided { folder, places: places.clone(), journal })
    }
}

impl Decided {
    /// Makes the moves that are not made yet, then removes the journal and its folder.
    pub(super) fn finish(self) -> Result<(), BackupError> {
        (0..self.moves()).try_for_each(|number| self.make(number))?;
        let journal = self.folder.join(JOURNAL);
        fs::remove_file(&journal).map_err(|error| BackupError::io(&journal, error))?;
        Restoring { folder: self.folder }.abandon()
    }

    pub(super) fn moves(&self) -> usize {
        self.journal.moves.len()
    }

    /// Makes one move, unless it was made.
    pub(super) fn make(&self, number: usize) -> Result<(), BackupError> {
        let Some(Move { item, kind }) = self.journal.moves.get(number) else { return Ok(()) };
        let place = item.place(&self.places);
        let (from, to) = match kind {
            Kind::Aside => {
                let kept = kept(&self.places, self.journal.began_at_ms).join(item.name());
                if is_there(&kept) {
                    // The place is filled again.
                    return Ok(());
                }
                (place, kept)
            }
            Kind::IntoPlace => (item.unpacked(&self.folder.join(UNPACKED)), place),
        };
        if !is_there(&from) {
            return Ok(());
        }
        let moved = to.parent().map_or(Ok(()), private::create_dir).and_then(|()| rename(&from, &to));
        moved.map_err(|error| BackupError::io(&to, error))
    }
}

/// Whether anything has this name, a link that leads nowhere included.
pub(super) fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// Renames. Between two disks it copies to a name beside the target first, so that a file with the target's name is
/// whole.
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            if from.is_dir() {
                // Only empty folders are moved.
                return private::create_dir(to).and_then(|()| fs::remove_dir(from));
            }
            let part = to.with_added_extension("part");
            let mut copy = private::create(&part)?;
            io::copy(&mut files::open(from)?, &mut copy)?;
            copy.sync_all()?;
            fs::rename(&part, to)?;
            to.parent().map_or(Ok(()), private::sync_dir)?;
            fs::remove_file(from)
        }
        // A rename outlasts a power cut once its folder is written.
        renamed => renamed.and_then(|()| to.parent().map_or(Ok(()), private::sync_dir)),
    }
}
