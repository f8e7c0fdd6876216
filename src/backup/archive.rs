//! The archive itself: a zip file with a manifest of hashes. An archive may come from anyone: it is read by its names,
//! sizes and kinds first, and nothing is unpacked of one that holds anything but the files of a backup.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use zip::write::SimpleFileOptions;
use zip::{ZipArchive, ZipWriter};

use super::item::Item;
use super::{BackupError, CONFIG, DATABASE, FORMAT, MANIFEST, Manifest, PLUGINS, Places, SECRET};
use crate::system::{disk, files, private};

/// Files of one backup.
const FILES_MAX: usize = 10_000;
/// Bytes of all files but the store.
const OTHERS_MAX: u64 = 4 << 30;
const MANIFEST_MAX: u64 = 8 << 20;
/// Bytes that a disk keeps free after a backup was unpacked.
const RESERVE: u64 = 64 << 20;
const PIECE: usize = 1 << 16;
/// How the names of plugins begin that are being added, see `tools::registry::change`.
const UNFINISHED: &[u8] = b".new-";
/// The kind in a Unix mode, and the kind of a regular file.
const KIND: u32 = 0o170_000;
const REGULAR: u32 = 0o100_000;
/// The last record of a zip file: its bytes, how it begins, and where it says how many entries there are.
const END_BYTES: i64 = 22;
const END_MARK: [u8; 4] = *b"PK\x05\x06";
const END_COUNT: usize = 10;

/// Writes an archive of `places` to `out`, with `database` (a copy at rest) as the store. Blocks.
pub fn write<W: Write + Seek>(
    out: W,
    places: &Places,
    database: &Path,
    made_at_ms: i64,
) -> Result<Manifest, BackupError> {
    let mut zip = ZipWriter::new(out);
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let Found { files: plugins, folders, left_out } = plugin_files(&places.plugins)?;
    let mut manifest =
        Manifest { format: FORMAT, version, made_at_ms, files: Default::default(), folders, left_out };
    let mut wanted = vec![(DATABASE.to_owned(), database.to_owned())];
    wanted.push((SECRET.to_owned(), places.data_dir.join(SECRET)));
    wanted.extend(places.config.iter().map(|config| (CONFIG.to_owned(), config.clone())));
    wanted.extend(plugins);
    for (name, path) in wanted {
        let item = Item::of_entry(&name).ok_or_else(|| BackupError::Name { path: path.clone() })?;
        let file = match files::open(&path) {
            Ok(file) => file,
            // A gateway without a log-in so far has no secret yet.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && name != DATABASE => continue,
            Err(error) => return Err(BackupError::io(&path, error)),
        };
        let too_large = || BackupError::TooLarge { name: path.display().to_string(), limit: item.limit() };
        if file.metadata().map_err(|error| BackupError::io(&path, error))?.len() > item.limit() {
            return Err(too_large());
        }
        zip.start_file(&name, options()).map_err(|error| BackupError::foreign(&path, error))?;
        let (digest, bytes) =
            copy(file.take(item.limit() + 1), &mut zip).map_err(|error| BackupError::io(&path, error))?;
        if bytes > item.limit() {
            return Err(too_large());
        }
        manifest.files.insert(name, digest);
    }
    let text = serde_json::to_vec_pretty(&manifest).map_err(|error| BackupError::foreign(database, error))?;
    let written = zip.start_file(MANIFEST, options()).map_err(std::io::Error::other);
    written.and_then(|()| zip.write_all(&text)).map_err(|error| BackupError::io(database, error))?;
    zip.finish().map_err(|error| BackupError::foreign(database, error))?;
    Ok(manifest)
}

/// Unpacks an archive below `into`, each file verified. Nothing is written for an archive that holds anything else than
/// a backup does. Blocks.
pub fn read(file: &Path, into: &Path) -> Result<Manifest, BackupError> {
    let mut zip = open(file)?;
    let manifest = manifest(&mut zip, file)?;
    let needed = check(&mut zip, &manifest, file)?;
    room(needed, disk::free_bytes(into))?;
    for (name, digest) in &manifest.files {
        unpack(&mut zip, name, digest, into)?;
    }
    for name in &manifest.folders {
        let folder = Item::of_entry(name).map(|item| item.unpacked(into));
        let folder = folder.ok_or_else(|| BackupError::Damaged { name: name.clone() })?;
        private::create_dir(&folder).map_err(|error| BackupError::io(&folder, error))?;
    }
    Ok(manifest)
}

/// Reads the manifest of an archive and nothing else. Blocks.
pub fn read_manifest(file: &Path) -> Result<Manifest, BackupError> {
    manifest(&mut open(file)?, file)
}

fn open(file: &Path) -> Result<ZipArchive<File>, BackupError> {
    let mut open = files::open(file).map_err(|error| BackupError::io(file, error))?;
    count(&mut open).and_then(within).map_err(|reason| BackupError::foreign(file, reason))?;
    ZipArchive::new(open).map_err(|error| BackupError::foreign(file, error))
}

/// The number of entries that the archive claims, from its last record. The zip reader makes room for them all.
fn count(file: &mut File) -> Result<usize, String> {
    let mut end = [0; END_BYTES as usize];
    let read = file
        .seek(SeekFrom::End(-END_BYTES))
        .and_then(|_| file.read_exact(&mut end))
        .and_then(|()| file.rewind());
    let count = end.get(END_COUNT..END_COUNT + 2).and_then(|bytes| bytes.try_into().ok());
    match (read, count) {
        (Ok(()), Some(count)) if end.starts_with(&END_MARK) => Ok(usize::from(u16::from_le_bytes(count))),
        _ => Err("it does not end as a zip file does".into()),
    }
}

/// Whether a disk has room for so many bytes. Own backups of repetitive text compress as well as bombs do, so the bound
/// of the store is the disk and no ratio.
pub(super) fn room(needed: u64, free: Option<u64>) -> Result<(), BackupError> {
    match free {
        Some(free) if needed > free.saturating_sub(RESERVE) => Err(BackupError::NoRoom { needed, free }),
        _ => Ok(()),
    }
}

fn within(entries: usize) -> Result<(), String> {
    // The manifest is one more.
    if entries <= FILES_MAX + 1 {
        return Ok(());
    }
    Err(format!("it has {entries} entries, at most {FILES_MAX} files belong into one"))
}

fn manifest(zip: &mut ZipArchive<File>, file: &Path) -> Result<Manifest, BackupError> {
    let mut text = Vec::new();
    let entry = zip.by_name(MANIFEST).map_err(|error| BackupError::foreign(file, error))?;
    entry.take(MANIFEST_MAX).read_to_end(&mut text).map_err(|error| BackupError::foreign(file, error))?;
    let manifest: Manifest =
        serde_json::from_slice(&text).map_err(|error| BackupError::foreign(file, error))?;
    if manifest.format > FORMAT {
        return Err(BackupError::TooNew { found: manifest.format });
    }
    if !manifest.files.contains_key(DATABASE) {
        return Err(BackupError::foreign(file, "it holds no store"));
    }
    Ok(manifest)
}

/// Looks at every entry before one is unpacked. Returns the bytes that they take.
fn check(zip: &mut ZipArchive<File>, manifest: &Manifest, file: &Path) -> Result<u64, BackupError> {
    let foreign = |reason: String| BackupError::foreign(file, reason);
    within(zip.len()).map_err(foreign)?;
    if zip.has_duplicate_names() {
        return Err(foreign("it has two entries of one name".into()));
    }
    let listed = |name: &str| name == MANIFEST || manifest.files.contains_key(name);
    let unlisted = zip.file_names().find(|name| !name.as_ref().is_ok_and(|name| listed(name)));
    if let Some(name) = unlisted {
        let name = name.unwrap_or_default().into_owned();
        return Err(foreign(format!("its manifest does not list {name:?}")));
    }
    if zip.len() != manifest.files.len() + 1 {
        return Err(foreign("its entries are not those of its manifest".into()));
    }
    let (mut all, mut others) = (0_u64, 0_u64);
    for name in manifest.files.keys() {
        let item = Item::of_entry(name)
            .ok_or_else(|| foreign(format!("it holds {name:?}, which is no file of a backup")))?;
        let index = zip.index_for_name(name).ok_or_else(|| foreign(format!("{name:?} is missing in it")))?;
        let entry = zip.by_index_raw(index).map_err(|error| BackupError::foreign(file, error))?;
        let kind = entry.unix_mode().unwrap_or_default() & KIND;
        if (kind != 0 && kind != REGULAR) || entry.encrypted() {
            return Err(foreign(format!("{name:?} in it is a link, a folder or encrypted")));
        }
        let size = entry.size();
        if size > item.limit() {
            return Err(BackupError::TooLarge { name: name.clone(), limit: item.limit() });
        }
        all = all.saturating_add(size);
        if item != Item::Store {
            others = others.saturating_add(size);
        }
    }
    let is_folder = |name: &String| {
        let is_plugins = matches!(Item::of_entry(name), Some(Item::Plugin(_)));
        is_plugins && !manifest.files.contains_key(name)
    };
    if let Some(name) = manifest.folders.iter().find(|name| !is_folder(name)) {
        return Err(foreign(format!("it holds {name:?}, which is no folder of a backup")));
    }
    within(manifest.files.len() + manifest.folders.len()).map_err(foreign)?;
    if others > OTHERS_MAX {
        return Err(BackupError::TooLarge { name: "the files beside the store".into(), limit: OTHERS_MAX });
    }
    Ok(all)
}

/// Unpacks one entry that was checked: as many bytes as it claims, with the hash of the manifest.
fn unpack(zip: &mut ZipArchive<File>, name: &str, digest: &str, into: &Path) -> Result<(), BackupError> {
    let damaged = || BackupError::Damaged { name: name.to_owned() };
    let target = Item::of_entry(name).ok_or_else(damaged)?.unpacked(into);
    let failed = |error| BackupError::io(&target, error);
    target.parent().map_or(Ok(()), private::create_dir).map_err(failed)?;
    let out = private::create_new(&target).map_err(failed)?;
    let entry = zip.by_name(name).map_err(|_| damaged())?;
    let size = entry.size();
    let mut checked = Checked { entry: entry.take(size + 1), broken: false };
    let copied = copy(&mut checked, &out);
    let (found, bytes) = match copied {
        Ok(copied) => copied,
        Err(_) if checked.broken => return Err(damaged()),
        Err(error) => return Err(failed(error)),
    };
    out.sync_all().map_err(failed)?;
    if bytes == size && found == digest { Ok(()) } else { Err(damaged()) }
}

/// Tells an archive that cannot be read from a disk that cannot be written.
struct Checked<R> {
    entry: R,
    broken: bool,
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        self.entry.read(into).inspect_err(|_| self.broken = true)
    }
}

/// The plugin directory: its files by name, its empty folders, and what is neither a file nor a folder.
#[derive(Default)]
struct Found {
    files: Vec<(String, PathBuf)>,
    folders: Vec<String>,
    left_out: Vec<String>,
}

impl Found {
    fn count(&self) -> usize {
        self.files.len() + self.folders.len() + self.left_out.len()
    }
}

/// Searches the plugin directory, as deep as plugins have folders.
fn plugin_files(plugins: &Path) -> Result<Found, BackupError> {
    let mut found = Found::default();
    let mut folders = vec![plugins.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(BackupError::io(&folder, error)),
        };
        let mut is_empty = true;
        for entry in entries {
            let entry = entry.map_err(|error| BackupError::io(&folder, error))?;
            let path = entry.path();
            let kind = entry.file_type().map_err(|error| BackupError::io(&path, error))?;
            if folder == plugins && entry.file_name().as_encoded_bytes().starts_with(UNFINISHED) {
                continue;
            }
            is_empty = false;
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() {
                found.files.push((entry_name(plugins, &path)?, path));
            } else {
                found.left_out.push(entry_name(plugins, &path)?);
            }
            // The store, its secret and the configuration are files too.
            if found.count() + 3 > FILES_MAX {
                return Err(BackupError::TooMany { path: plugins.to_owned(), limit: FILES_MAX });
            }
        }
        if is_empty && folder != plugins {
            found.folders.push(entry_name(plugins, &folder)?);
        }
    }
    found.folders.sort();
    found.left_out.sort();
    Ok(found)
}

/// The name in an archive of a path in the plugin directory.
fn entry_name(plugins: &Path, path: &Path) -> Result<String, BackupError> {
    let inside = path.strip_prefix(plugins).unwrap_or(path).to_str();
    let name = inside.map(|inside| format!("{PLUGINS}{inside}"));
    let fits = name.filter(|name| Item::of_entry(name).is_some());
    fits.ok_or_else(|| BackupError::Name { path: path.to_owned() })
}

/// Copies; returns the hash and the number of the bytes.
fn copy(mut from: impl Read, mut to: impl Write) -> std::io::Result<(String, u64)> {
    let mut digest = Sha256::new();
    let mut piece = vec![0; PIECE];
    let mut bytes = 0;
    loop {
        let read = from.read(&mut piece)?;
        let Some(piece) = piece.get(..read).filter(|piece| !piece.is_empty()) else { break };
        bytes += read as u64;
        digest.update(piece);
        to.write_all(piece)?;
    }
    to.flush()?;
    Ok((digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect(), bytes))
}

fn options() -> SimpleFileOptions {
    SimpleFileOptions::default().large_file(true).unix_permissions(0o600)
}
