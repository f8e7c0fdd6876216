//! Reads files whose path or content somebody else chose: regular files only, and never more than a limit. Opening does
//! not wait for the other end of a FIFO; a folder that does not answer at all is what [`super::offload`] is for.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Why a file that can be opened is not read. Callers get it as the inner error of an [`io::Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("it is not a regular file")]
    NotRegular,
    #[error("it is larger than {0} bytes")]
    TooLarge(u64),
}

impl From<Refusal> for io::Error {
    fn from(refusal: Refusal) -> io::Error {
        let kind = match refusal {
            Refusal::NotRegular => io::ErrorKind::InvalidInput,
            Refusal::TooLarge(_) => io::ErrorKind::FileTooLarge,
        };
        io::Error::new(kind, refusal)
    }
}

/// Opens a regular file for reading. Links are followed; folders, devices, sockets and FIFOs are refused. The caller
/// bounds how much it reads, see [`read`].
#[expect(
    clippy::disallowed_methods,
    reason = "a file that exists is opened to read it, in the one place for it"
)]
pub fn open(path: &Path) -> io::Result<File> {
    // std adds O_CLOEXEC. O_NOCTTY: opening a terminal must not make it this process's own.
    let flags = nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(Refusal::NotRegular.into()) }
}

/// Reads a regular file of at most `limit` bytes. A larger one is refused before it is read, and one that grows
/// meanwhile after `limit` bytes.
pub fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let file = open(path)?;
    let length = file.metadata()?.len();
    if length > limit {
        return Err(Refusal::TooLarge(limit).into());
    }
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit { Err(Refusal::TooLarge(limit).into()) } else { Ok(bytes) }
}

/// Reads a regular file of at most `limit` bytes that is UTF-8.
pub fn read_to_string(path: &Path, limit: u64) -> io::Result<String> {
    let text = String::from_utf8(read(path, limit)?);
    text.map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text"))
}

#[cfg(test)]
pub mod testing {
    //! Paths that have the name of a file and are none that can be read.

    use std::path::Path;

    /// Names of what [`obstruct`] makes.
    pub const OBSTACLES: [&str; 4] = ["fifo", "device", "sparse", "folder"];

    /// Puts an obstacle in the place of a file.
    pub fn obstruct(path: &Path, obstacle: &str) {
        match obstacle {
            "fifo" => nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap(),
            "device" => std::os::unix::fs::symlink("/dev/zero", path).unwrap(),
            "sparse" => std::fs::File::create(path).unwrap().set_len(10 << 30).unwrap(),
            "folder" => std::fs::create_dir(path).unwrap(),
            other => panic!("unknown obstacle {other}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{OBSTACLES, obstruct};
    use super::*;

    #[test]
    fn read_returns_regular_files_up_to_the_limit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "12345").unwrap();
        assert_eq!(read(&path, 5).unwrap(), b"12345");
        assert_eq!(read_to_string(&path, 5).unwrap(), "12345");
        let error = read(&path, 4).unwrap_err();
        assert_eq!(
            (error.kind(), error.to_string()),
            (io::ErrorKind::FileTooLarge, "it is larger than 4 bytes".into())
        );
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert_eq!(read(&link, 5).unwrap(), b"12345");
        assert_eq!(read(&dir.path().join("none"), 5).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn read_refuses_everything_else_at_once() {
        for obstacle in OBSTACLES {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("file");
            obstruct(&path, obstacle);
            let error = read(&path, 1 << 20).unwrap_err();
            let expected =
                if obstacle == "sparse" { Refusal::TooLarge(1 << 20) } else { Refusal::NotRegular };
            assert_eq!(error.to_string(), expected.to_string(), "{obstacle}");
            assert!(open(&path).is_ok() == (obstacle == "sparse"), "{obstacle}");
        }
    }

    #[test]
    fn read_bounds_files_whose_size_is_not_told() {
        // Its metadata says 0 bytes.
        assert!(!read(Path::new("/proc/self/status"), 1 << 20).unwrap().is_empty());
        assert_eq!(read(Path::new("/proc/self/status"), 10).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }
}
