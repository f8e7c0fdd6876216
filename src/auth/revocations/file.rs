//! The file of withdrawals that the store has not written. It has its full size from the first start on and is
//! overwritten in place, so that a full disk does not stop it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::codec::{SLOT, Slot, decode, encode};
use crate::store::withdrawals::Withdrawal;
use crate::system::private;

/// Its name in the data directory.
const NAME: &str = "revocations";
/// Two slots, written in turn: the one that is valid stays untouched while the other is written.
const SLOTS: u64 = 2;

/// The file, opened when it can be.
pub struct RevocationFile {
    path: PathBuf,
    open: Option<File>,
    generation: u64,
}

impl RevocationFile {
    /// Opens or allocates the file, and reads what it holds. A file that cannot be allocated now is allocated when it
    /// is first needed. Fails when what it holds cannot be read.
    pub fn open(data_dir: &Path) -> io::Result<(RevocationFile, Vec<Withdrawal>)> {
        let mut file = RevocationFile { path: data_dir.join(NAME), open: None, generation: 0 };
        if let Err(error) = file.allocated() {
            if file.path.metadata().is_ok_and(|found| found.len() > 0) {
                return Err(error);
            }
            tracing::warn!(
                path = %file.path.display(), %error,
                "Cannot allocate the file that keeps revocations while the store cannot be written"
            );
            return Ok((file, Vec::new()));
        }
        let held = file.read()?;
        file.generation = held.as_ref().map_or(0, |slot| slot.generation);
        Ok((file, held.map(|slot| slot.withdrawals).unwrap_or_default()))
    }

    /// Replaces what the file holds. Returns how many of the withdrawals, from the first on, it has room for.
    pub fn write(&mut self, withdrawals: &[Withdrawal]) -> io::Result<usize> {
        let generation = self.generation + 1;
        let (slot, fit) = encode(generation, withdrawals.iter());
        let file = self.allocated()?;
        file.write_all_at(&slot, generation % SLOTS * SLOT as u64)?;
        file.sync_all()?;
        self.generation = generation;
        Ok(fit)
    }

    /// The newest slot that is whole.
    fn read(&mut self) -> io::Result<Option<Slot>> {
        let mut bytes = vec![0; SLOT * 2];
        self.allocated()?.read_exact_at(&mut bytes, 0)?;
        let found = bytes.chunks(SLOT).filter_map(decode).max_by_key(|slot| slot.generation);
        if found.is_none() && bytes.iter().any(|byte| *byte != 0) && !is_first_write(&bytes) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is damaged"));
        }
        Ok(found)
    }

    fn allocated(&mut self) -> io::Result<&File> {
        if self.open.is_none() {
            let file = private::read_write(&self.path)?;
            private::restrict(&file)?;
            let (length, size) = (file.metadata()?.len(), SLOTS * SLOT as u64);
            if length < size {
                // Zeros rather than a longer size alone: a hole has no room on the disk.
                let missing = usize::try_from(size - length).unwrap_or_default();
                file.write_all_at(&vec![0; missing], length)?;
                file.sync_all()?;
                self.path.parent().map_or(Ok(()), private::sync_dir)?;
            }
            self.open = Some(file);
        }
        self.open.as_ref().ok_or_else(|| io::Error::other("it is not open"))
    }
}

/// Whether only the slot of the first generation was begun: nothing had been kept before.
fn is_first_write(bytes: &[u8]) -> bool {
    bytes.get(..SLOT).is_some_and(|slot| slot.iter().all(|byte| *byte == 0))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn key(id: &str) -> Withdrawal {
        Withdrawal::Key { id: id.into(), at: 1 }
    }

    #[test]
    fn open_returns_what_the_last_write_kept() {
        let dir = tempfile::tempdir().unwrap();
        let (mut file, held) = RevocationFile::open(dir.path()).unwrap();
        assert_eq!(held, []);
        let found = std::fs::metadata(&file.path).unwrap();
        assert_eq!((found.len(), found.permissions().mode() & 0o777), (64 << 10, 0o600));
        for count in [1, 3, 2] {
            let all: Vec<_> = (0..count).map(|n| key(&n.to_string())).collect();
            assert_eq!(file.write(&all).unwrap(), count);
            assert_eq!(RevocationFile::open(dir.path()).unwrap().1, all);
        }
        file.write(&[]).unwrap();
        assert_eq!(RevocationFile::open(dir.path()).unwrap().1, []);
        assert_eq!(std::fs::metadata(&file.path).unwrap().len(), 64 << 10);
    }

    #[test]
    fn open_returns_the_write_before_one_that_was_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let (mut file, _) = RevocationFile::open(dir.path()).unwrap();
        file.write(&[key("a")]).unwrap();
        file.write(&[key("a"), key("b")]).unwrap();
        let whole = std::fs::read(&file.path).unwrap();
        // The second write went to the first slot.
        let mut torn = whole.clone();
        torn[60] ^= 1;
        std::fs::write(&file.path, &torn).unwrap();
        let (mut again, held) = RevocationFile::open(dir.path()).unwrap();
        assert_eq!(held, [key("a")]);
        again.write(&[key("c")]).unwrap();
        assert_eq!(RevocationFile::open(dir.path()).unwrap().1, [key("c")]);

        std::fs::write(&file.path, vec![1; 64 << 10]).unwrap();
        let error = RevocationFile::open(dir.path()).map(drop).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn open_reads_a_first_write_that_was_cut_off_as_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (mut file, _) = RevocationFile::open(dir.path()).unwrap();
        file.write(&[key("a")]).unwrap();
        let mut torn = std::fs::read(&file.path).unwrap();
        torn[SLOT + 60] ^= 1;
        std::fs::write(&file.path, &torn).unwrap();
        assert_eq!(RevocationFile::open(dir.path()).unwrap().1, []);
        std::fs::write(&file.path, &torn[..100]).unwrap();
        assert_eq!(RevocationFile::open(dir.path()).unwrap().1, [], "allocated in part");
    }
}
