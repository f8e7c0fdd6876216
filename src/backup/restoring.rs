//! A restore under way: a folder in the data directory with what the backup held, and, once that is verified, a
//! journal of the moves that put it in place. Before the journal is there nothing has changed; from then on the
//! restore is decided, and whoever next has the data directory brings it to its end. Knows no file by name.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::BackupError;

/// In the data directory.
const FOLDER: &str = "restoring";
/// In the folder.
const JOURNAL: &str = "moves.json";

/// One file's way. Each is done by one rename, and can be told to be done by what lies where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Move {
    from: PathBuf,
    to: PathBuf,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    /// What was there before, out of the way: done once it is there, for `from` is filled again.
    Aside,
    /// What is restored: done once it is gone from the folder.
    IntoPlace,
}

/// The folder of a restore that nothing is decided about.
pub(super) struct Restoring {
    folder: PathBuf,
}

/// A restore that will be.
pub(super) struct Decided {
    folder: PathBuf,
    moves: Vec<Move>,
}

/// Brings a restore that was interrupted to its end, or clears away one that had changed nothing yet; true: there
/// was one to end. The caller holds the data directory's lock, and has not opened the store. Blocks.
pub fn finish(data_dir: &Path) -> Result<bool, BackupError> {
    let folder = data_dir.join(FOLDER);
    match fs::read(folder.join(JOURNAL)) {
        Ok(text) => {
            let moves = serde_json::from_slice(&text).map_err(|error| BackupError::Journal {
                path: folder.join(JOURNAL),
                reason: error.to_string(),
            })?;
            Decided { folder, moves }.finish()?;
            Ok(true)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Restoring { folder }.abandon()?;
            Ok(false)
        }
        Err(error) => Err(BackupError::io(&folder, error)),
    }
}

impl Restoring {
    pub(super) fn begin(data_dir: &Path) -> Result<Restoring, BackupError> {
        finish(data_dir)?;
        let folder = data_dir.join(FOLDER);
        let made = fs::DirBuilder::new().mode(0o700).create(&folder);
        made.map_err(|error| BackupError::io(&folder, error))?;
        Ok(Restoring { folder })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Nothing of it is left.
    pub(super) fn abandon(self) -> Result<(), BackupError> {
        match fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(BackupError::io(&self.folder, error))
            }
            _ => Ok(()),
        }
    }

    /// Writes down what will be done. The journal has its name only once all of it is on the disk.
    pub(super) fn decide(self, moves: &[Move]) -> Result<Decided, BackupError> {
        let (part, journal) = (self.folder.join("moves.part"), self.folder.join(JOURNAL));
        let text = serde_json::to_vec(moves).map_err(|error| BackupError::foreign(&journal, error))?;
        let written = File::create(&part).and_then(|mut file| {
            file.write_all(&text)?;
            file.sync_all()
        });
        let named = written.and_then(|()| fs::rename(&part, &journal)).and_then(|()| sync(&self.folder));
        named.map_err(|error| BackupError::io(&journal, error))?;
        Ok(Decided { folder: self.folder, moves: moves.to_vec() })
    }
}

impl Decided {
    /// Makes the moves that are not made yet, then forgets them.
    pub(super) fn finish(self) -> Result<(), BackupError> {
        for step in &self.moves {
            step.make()?;
        }
        let journal = self.folder.join(JOURNAL);
        fs::remove_file(&journal).map_err(|error| BackupError::io(&journal, error))?;
        Restoring { folder: self.folder }.abandon()
    }
}

impl Move {
    pub(super) fn aside(from: PathBuf, to: PathBuf) -> Move {
        Move { from, to, kind: Kind::Aside }
    }

    pub(super) fn into_place(from: PathBuf, to: PathBuf) -> Move {
        Move { from, to, kind: Kind::IntoPlace }
    }

    /// Whether it keeps what was there before.
    pub(super) fn keeps(&self) -> bool {
        self.kind == Kind::Aside
    }

    pub(super) fn make(&self) -> Result<(), BackupError> {
        let done = match self.kind {
            Kind::Aside => self.to.exists(),
            Kind::IntoPlace => !self.from.exists(),
        };
        if done {
            return Ok(());
        }
        let moved = self.to.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| self.rename());
        moved.map_err(|error| BackupError::io(&self.to, error))
    }

    /// Renames; where the two lie on different disks, copies to a name beside the target first, so that what
    /// has the target's name is whole.
    fn rename(&self) -> std::io::Result<()> {
        let across = |error: &std::io::Error| error.kind() == std::io::ErrorKind::CrossesDevices;
        match fs::rename(&self.from, &self.to) {
            Err(error) if across(&error) => {
                let mut part = self.to.clone().into_os_string();
                part.push(".part");
                fs::copy(&self.from, &part)?;
                File::open(&part)?.sync_all()?;
                fs::rename(&part, &self.to)?;
                self.to.parent().map_or(Ok(()), sync)?;
                fs::remove_file(&self.from)
            }
            renamed => renamed.and_then(|()| self.to.parent().map_or(Ok(()), sync)),
        }
    }
}

/// A rename outlasts a power cut once its folder is written.
fn sync(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}
