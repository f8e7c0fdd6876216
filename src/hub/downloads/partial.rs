//! A file on its way into the cache: `<etag>.incomplete` beside the blobs, its hash as far as it has
//! come, and its final name once the hash is right. Blocks; knows no network.
//!
//! The name is the content's own hash, so what an earlier run left needs no notes beside it: it is
//! hashed again and continued. Nothing gets its final name before its hash is right.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use ring::digest;

use super::layout::Layout;
use crate::hub::files::{Digest, RepoFile};

/// Bytes read at once when what is there is hashed.
const READ_BYTES: usize = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub enum PartialError {
    #[error("{}: {source}", path.display())]
    Disk { path: PathBuf, source: io::Error },
    #[error("another program downloads the same file; it is tried again")]
    Busy,
    #[error("the hub sent more bytes of {file} than it had promised")]
    TooLong { file: String },
    #[error("the bytes of {file} have the hash {found}, the hub promised {promised}")]
    WrongHash { file: String, found: String, promised: String },
}

/// One file being written.
pub struct Partial {
    path: PathBuf,
    /// Where it goes when it is whole.
    blob: PathBuf,
    name: String,
    promised: Digest,
    size: u64,
    written: u64,
    file: File,
    hash: digest::Context,
    /// Held while this lives; the Hugging Face tools take the same one.
    _lock: File,
}

impl Partial {
    /// Opens what is there, or makes it. Takes as long as hashing what is there does.
    #[expect(
        clippy::disallowed_methods,
        reason = "other programs share the model cache, so the umask decides"
    )]
    pub fn open(layout: &Layout, wanted: &RepoFile) -> Result<Partial, PartialError> {
        let lock = lock(&layout.lock(wanted.digest.name()))?;
        let path = layout.incomplete(wanted.digest.name());
        let failed = |source| PartialError::Disk { path: path.clone(), source };
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed)?;
        if file.metadata().map_err(failed)?.len() > wanted.size {
            file.set_len(0).map_err(failed)?;
        }
        let mut hash = hash_of(&wanted.digest, wanted.size);
        let written = rehash(&mut file, &mut hash).map_err(failed)?;
        Ok(Partial {
            blob: layout.blob(wanted.digest.name()),
            name: wanted.path.clone(),
            promised: wanted.digest.clone(),
            size: wanted.size,
            path,
            written,
            file,
            hash,
            _lock: lock,
        })
    }

    /// Bytes that are there: the next one to be fetched.
    pub fn written(&self) -> u64 {
        self.written
    }

    pub fn is_whole(&self) -> bool {
        self.written == self.size
    }

    pub fn write(&mut self, bytes: &[u8]) -> Result<(), PartialError> {
        let after = self.written + bytes.len() as u64;
        if after > self.size {
            self.restart()?;
            return Err(PartialError::TooLong { file: self.name.clone() });
        }
        self.file.write_all(bytes).map_err(|source| self.disk(source))?;
        self.hash.update(bytes);
        self.written = after;
        Ok(())
    }

    /// Forgets what is there.
    pub fn restart(&mut self) -> Result<(), PartialError> {
        let emptied = self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0)));
        emptied.map_err(|source| self.disk(source))?;
        self.hash = hash_of(&self.promised, self.size);
        self.written = 0;
        Ok(())
    }

    /// Checks the hash of a whole file and gives it its final name. One with a wrong hash is emptied.
    pub fn finish(&mut self) -> Result<(), PartialError> {
        let found = hex(self.hash.clone().finish().as_ref());
        if found != self.promised.name().to_ascii_lowercase() {
            self.restart()?;
            let promised = self.promised.name().to_owned();
            return Err(PartialError::WrongHash { file: self.name.clone(), found, promised });
        }
        // On the disk before it has its name, so that a power cut leaves no half file under it.
        self.file.sync_all().map_err(|source| self.disk(source))?;
        std::fs::rename(&self.path, &self.blob).map_err(|source| self.disk(source))
    }

    fn disk(&self, source: io::Error) -> PartialError {
        PartialError::Disk { path: self.path.clone(), source }
    }
}

#[expect(clippy::disallowed_methods, reason = "other programs share the model cache, so the umask decides")]
fn lock(path: &Path) -> Result<File, PartialError> {
    let failed = |source| PartialError::Disk { path: path.to_owned(), source };
    let lock = File::options().create(true).append(true).open(path).map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(PartialError::Busy),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

fn hash_of(promised: &Digest, size: u64) -> digest::Context {
    match promised {
        Digest::Sha256(_) => digest::Context::new(&digest::SHA256),
        Digest::GitBlob(_) => {
            // Git's own choice; nobody has to be kept from anything by it here.
            let mut hash = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
            hash.update(format!("blob {size}\0").as_bytes());
            hash
        }
    }
}

/// Hashes what is there and leaves the file at its end.
fn rehash(file: &mut File, hash: &mut digest::Context) -> io::Result<u64> {
    let mut buffer = vec![0; READ_BYTES];
    let mut bytes = 0;
    loop {
        let read = file.read(&mut buffer)?;
        let Some(part) = buffer.get(..read).filter(|part| !part.is_empty()) else { return Ok(bytes) };
        hash.update(part);
        bytes += read as u64;
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELLO: &[u8] = b"hello world";
    const SHA256: &str = "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9";
    /// `git hash-object` of the same.
    const OID: &str = "95d09f2b10159347eece71399a7e2e907ea3df4f";

    fn wanted(digest: Digest) -> RepoFile {
        RepoFile { path: "a.bin".into(), size: HELLO.len() as u64, digest }
    }

    fn layout(dir: &tempfile::TempDir) -> Layout {
        let layout = Layout::new(dir.path(), "org/m");
        layout.make().unwrap();
        layout
    }

    #[test]
    fn a_file_is_continued_where_it_stopped_and_named_when_its_hash_is_right() {
        for digest in [Digest::Sha256(SHA256.into()), Digest::GitBlob(OID.into())] {
            let dir = tempfile::tempdir().unwrap();
            let (layout, wanted) = (layout(&dir), wanted(digest));
            let mut first = Partial::open(&layout, &wanted).unwrap();
            first.write(&HELLO[..4]).unwrap();
            drop(first);
            let mut second = Partial::open(&layout, &wanted).unwrap();
            assert_eq!(second.written(), 4);
            second.write(&HELLO[4..]).unwrap();
            assert!(second.is_whole() && !layout.blob(wanted.digest.name()).exists());
            second.finish().unwrap();
            assert_eq!(std::fs::read(layout.blob(wanted.digest.name())).unwrap(), HELLO);
            assert!(!layout.incomplete(wanted.digest.name()).exists());
        }
    }

    #[test]
    fn a_wrong_hash_gets_no_name_and_leaves_nothing_to_continue() {
        let dir = tempfile::tempdir().unwrap();
        let (layout, wanted) = (layout(&dir), wanted(Digest::Sha256(SHA256.into())));
        let mut partial = Partial::open(&layout, &wanted).unwrap();
        partial.write(b"hello xorld").unwrap();
        let error = partial.finish().unwrap_err();
        assert!(matches!(error, PartialError::WrongHash { .. }), "{error}");
        assert!(!layout.blob(SHA256).exists());
        drop(partial);
        assert_eq!(Partial::open(&layout, &wanted).unwrap().written(), 0);
    }

    #[test]
    fn more_than_was_promised_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (layout, wanted) = (layout(&dir), wanted(Digest::Sha256(SHA256.into())));
        let mut partial = Partial::open(&layout, &wanted).unwrap();
        assert!(matches!(partial.write(b"hello world!"), Err(PartialError::TooLong { .. })));
        assert_eq!(partial.written(), 0);
    }

    #[test]
    fn two_writers_of_one_file_are_kept_apart() {
        let dir = tempfile::tempdir().unwrap();
        let (layout, wanted) = (layout(&dir), wanted(Digest::Sha256(SHA256.into())));
        let first = Partial::open(&layout, &wanted).unwrap();
        assert!(matches!(Partial::open(&layout, &wanted), Err(PartialError::Busy)));
        drop(first);
        assert!(Partial::open(&layout, &wanted).is_ok());
    }
}
