//! The archive itself: a zip file with a manifest of hashes. Everything is verified before anything is
//! used.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::{Component, Path, PathBuf};

use sha2::{Digest, Sha256};
use zip::write::SimpleFileOptions;
use zip::{ZipArchive, ZipWriter};

use super::{BackupError, CONFIG, DATABASE, FORMAT, MANIFEST, Manifest, PLUGINS, Places, SECRET};

/// Bytes of one file in a backup. A store of ten million records is far below.
const FILE_MAX: u64 = 64 << 30;
/// Files of one backup.
const FILES_MAX: usize = 10_000;
const PIECE: usize = 1 << 16;

/// Writes an archive of `places` to `out`, with `database` (a copy at rest) as the store. Blocks.
pub fn write<W: Write + Seek>(
    out: W,
    places: &Places,
    database: &Path,
    made_at_ms: i64,
) -> Result<Manifest, BackupError> {
    let mut zip = ZipWriter::new(out);
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let mut manifest = Manifest { format: FORMAT, version, made_at_ms, files: Default::default() };
    let mut wanted = vec![(DATABASE.to_owned(), database.to_owned())];
    wanted.push((SECRET.to_owned(), places.data_dir.join(SECRET)));
    wanted.extend(places.config.iter().map(|config| (CONFIG.to_owned(), config.clone())));
    wanted.extend(plugin_files(&places.plugins)?);
    for (name, path) in wanted {
        let file = match File::open(&path) {
            Ok(file) => file,
            // A gateway that nobody has logged in to has no secret yet.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && name != DATABASE => continue,
            Err(error) => return Err(BackupError::io(&path, error)),
        };
        zip.start_file(&name, options()).map_err(|error| BackupError::foreign(&path, error))?;
        let digest = copy(file, &mut zip).map_err(|error| BackupError::io(&path, error))?;
        manifest.files.insert(name, digest);
    }
    let text = serde_json::to_vec_pretty(&manifest).map_err(|error| BackupError::foreign(database, error))?;
    let written = zip.start_file(MANIFEST, options()).map_err(std::io::Error::other);
    written.and_then(|()| zip.write_all(&text)).map_err(|error| BackupError::io(database, error))?;
    zip.finish().map_err(|error| BackupError::foreign(database, error))?;
    Ok(manifest)
}

/// Unpacks an archive below `into`, each file verified. Blocks.
pub fn read(file: &Path, into: &Path) -> Result<Manifest, BackupError> {
    let open = File::open(file).map_err(|error| BackupError::io(file, error))?;
    let mut zip = ZipArchive::new(open).map_err(|error| BackupError::foreign(file, error))?;
    let manifest = manifest(&mut zip, file)?;
    for (name, digest) in &manifest.files {
        let target = into
            .join(inner(name).ok_or_else(|| BackupError::foreign(file, format!("{name} leads elsewhere")))?);
        if let Some(folder) = target.parent() {
            std::fs::create_dir_all(folder).map_err(|error| BackupError::io(folder, error))?;
        }
        let out = File::create(&target).map_err(|error| BackupError::io(&target, error))?;
        let entry = zip.by_name(name).map_err(|_| BackupError::Damaged { name: name.clone() })?;
        let found =
            copy(entry.take(FILE_MAX), &out).map_err(|_| BackupError::Damaged { name: name.clone() })?;
        out.sync_all().map_err(|error| BackupError::io(&target, error))?;
        if found != *digest {
            return Err(BackupError::Damaged { name: name.clone() });
        }
    }
    Ok(manifest)
}

fn manifest(zip: &mut ZipArchive<File>, file: &Path) -> Result<Manifest, BackupError> {
    let mut text = Vec::new();
    let entry = zip.by_name(MANIFEST).map_err(|error| BackupError::foreign(file, error))?;
    entry.take(PIECE as u64 * 64).read_to_end(&mut text).map_err(|error| BackupError::io(file, error))?;
    let manifest: Manifest =
        serde_json::from_slice(&text).map_err(|error| BackupError::foreign(file, error))?;
    if manifest.format > FORMAT {
        return Err(BackupError::TooNew { found: manifest.format });
    }
    if !manifest.files.contains_key(DATABASE) || manifest.files.len() > FILES_MAX {
        return Err(BackupError::foreign(file, "it holds no store, or far too many files"));
    }
    Ok(manifest)
}

/// The files of every plugin that somebody has added.
fn plugin_files(plugins: &Path) -> Result<Vec<(String, PathBuf)>, BackupError> {
    let mut found = Vec::new();
    let mut folders = vec![plugins.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(BackupError::io(&folder, error)),
        };
        for entry in entries {
            let entry = entry.map_err(|error| BackupError::io(&folder, error))?;
            let kind = entry.file_type().map_err(|error| BackupError::io(&entry.path(), error))?;
            if kind.is_dir() && folder == plugins {
                folders.push(entry.path());
            } else if kind.is_file() && folder != plugins {
                let path = entry.path();
                let inside = path.strip_prefix(plugins).unwrap_or(&path).display().to_string();
                found.push((format!("{PLUGINS}{inside}"), path));
            }
        }
    }
    Ok(found)
}

/// A name that stays within the folder it is unpacked to.
fn inner(name: &str) -> Option<&Path> {
    let path = Path::new(name);
    path.components().all(|part| matches!(part, Component::Normal(_))).then_some(path)
}

/// Copies and gives the hash of what went through.
fn copy(mut from: impl Read, mut to: impl Write) -> std::io::Result<String> {
    let mut digest = Sha256::new();
    let mut piece = vec![0; PIECE];
    loop {
        let read = from.read(&mut piece)?;
        let Some(bytes) = piece.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
        digest.update(bytes);
        to.write_all(bytes)?;
    }
    to.flush()?;
    Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn options() -> SimpleFileOptions {
    SimpleFileOptions::default().large_file(true).unix_permissions(0o600)
}
