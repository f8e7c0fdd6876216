//! One file that holds what a gateway knows: its store, the secret that signs its sessions, its configuration
//! file and the plugins that were added. Writing and reading that file, verified by its hashes; knows
//! neither how the store is copied nor who asks.

mod archive;
mod item;
mod place;
mod restoring;
mod workspace;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use archive::{read, read_manifest, write};
pub use place::{Restored, restore};
pub use restoring::{RESTORING, finish};
pub use workspace::{sweep, workspace};

/// Versions of the format that this program reads.
pub const FORMAT: u32 = 1;
/// Names in the data directory, and in the archive.
pub const DATABASE: &str = "gateway.db";
/// The file that signs sessions, by its name in the data directory and in a backup.
pub const SECRET: &str = "session.key";
const CONFIG: &str = "config.toml";
const PLUGINS: &str = "plugins/";
const MANIFEST: &str = "manifest.json";

/// What an archive says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub format: u32,
    /// Of the program that wrote it.
    pub version: String,
    /// Milliseconds since 1970, UTC.
    pub made_at_ms: i64,
    /// SHA-256 of each file, in hexadecimal.
    pub files: BTreeMap<String, String>,
    /// Folders in the plugin directory that are empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub folders: Vec<String>,
    /// What is in the plugin directory and not in the backup: links and files that are not regular.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
}

/// Where the things lie that belong into a backup.
#[derive(Debug, Clone)]
pub struct Places {
    pub data_dir: PathBuf,
    pub config: Option<PathBuf>,
    pub plugins: PathBuf,
}

/// Why a backup could not be made or restored; where it says so, nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{path} is no backup of mlx-gateway: {reason}")]
    Foreign { path: PathBuf, reason: String },
    #[error(
        "the backup was written by a newer program (format {found}, known is {FORMAT}); use that version to restore it"
    )]
    TooNew { found: u32 },
    #[error("{name} in the backup is damaged: its hash or size is not the one in the manifest")]
    Damaged { name: String },
    #[error("{name} is larger than the {limit} bytes that a backup takes of it")]
    TooLarge { name: String, limit: u64 },
    #[error(
        "the backup needs {needed} bytes, and the disk of the data directory has {free} free; make room, then restore again"
    )]
    NoRoom { needed: u64, free: u64 },
    #[error(
        "{path} has more than the {limit} files that a backup holds; keep the sources and the build output of plugins \
         elsewhere"
    )]
    TooMany { path: PathBuf, limit: usize },
    #[error("{path} has a name that a backup cannot hold; rename it")]
    Name { path: PathBuf },
    #[error("{path} is in the way of a file of the backup; move it away, then restore again")]
    Obstructed { path: PathBuf },
    #[error(
        "a restore was interrupted and cannot be finished, because its journal {path} cannot be used ({reason}); the \
         files to restore are beside the journal, the files from before in before-restore-…. Move the folder of the \
         journal away to start without it, then restore again"
    )]
    Journal { path: PathBuf, reason: String },
}

impl BackupError {
    fn io(path: &Path, source: std::io::Error) -> BackupError {
        BackupError::Io { path: path.to_owned(), source }
    }

    fn foreign(path: &Path, reason: impl ToString) -> BackupError {
        BackupError::Foreign { path: path.to_owned(), reason: reason.to_string() }
    }
}

#[cfg(test)]
mod tests;
