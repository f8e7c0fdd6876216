//! A file that begins anew when it is full, with a bounded number of earlier ones beside it: `gateway.log`,
//! `gateway.log.1` (the newest of them), `gateway.log.2`. What cannot be written goes to standard error.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::LogFile;
use crate::system::private;

/// One writer; each `write` is a whole line, and never cut.
pub(super) struct Rotating {
    settings: LogFile,
    file: File,
    bytes: u64,
}

impl Rotating {
    /// Goes on with the file that is there.
    pub(super) fn open(settings: LogFile) -> io::Result<Rotating> {
        if let Some(folder) = settings.path.parent() {
            private::create_dir(folder)?;
        }
        let file = private::append(&settings.path)?;
        if settings.is_private {
            private::restrict(&file)?;
        }
        let bytes = file.metadata()?.len();
        Ok(Rotating { settings, file, bytes })
    }

    /// Gives every earlier file the next name, over the oldest, and begins a new one.
    fn rotate(&mut self) -> io::Result<()> {
        let path = &self.settings.path;
        for number in (1..self.settings.keep).rev() {
            rename(&numbered(path, number), &numbered(path, number + 1))?;
        }
        if self.settings.keep > 0 {
            rename(path, &numbered(path, 1))?;
        } else {
            fs::remove_file(path)?;
        }
        self.file = private::append(path)?;
        self.bytes = 0;
        Ok(())
    }

    fn put(&mut self, line: &[u8]) -> io::Result<()> {
        if self.bytes > 0 && self.bytes + line.len() as u64 > self.settings.max_size {
            self.rotate()?;
        }
        self.file.write_all(line)?;
        self.bytes += line.len() as u64;
        Ok(())
    }
}

impl Write for Rotating {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // A full disk must not silence the gateway.
        match self.put(line) {
            Ok(()) => Ok(line.len()),
            Err(_) => io::stderr().write(line),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

/// One that is not there yet needs no other name.
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        renamed => renamed,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn settings(folder: &Path, keep: u32) -> LogFile {
        LogFile { path: folder.join("logs/gateway.log"), max_size: 20, keep, is_private: true }
    }

    fn read(folder: &Path, name: &str) -> Option<String> {
        fs::read_to_string(folder.join("logs").join(name)).ok()
    }

    #[test]
    fn a_full_file_begins_anew_and_the_oldest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = Rotating::open(settings(folder.path(), 2)).unwrap();
        for number in 0..7 {
            log.write_all(format!("line {number}..\n").as_bytes()).unwrap();
        }
        let now = ["gateway.log", "gateway.log.1", "gateway.log.2", "gateway.log.3"]
            .map(|name| read(folder.path(), name));
        let lines = |numbers: &[u32]| {
            Some(numbers.iter().map(|number| format!("line {number}..\n")).collect::<String>())
        };
        assert_eq!(now, [lines(&[6]), lines(&[4, 5]), lines(&[2, 3]), None]);
        let mode = fs::metadata(folder.path().join("logs/gateway.log")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "what is logged is its owner's");
    }

    #[test]
    fn the_next_start_goes_on_where_the_last_one_ended() {
        let folder = tempfile::tempdir().unwrap();
        Rotating::open(settings(folder.path(), 0)).unwrap().write_all(b"fifteen bytes..").unwrap();
        let mut log = Rotating::open(settings(folder.path(), 0)).unwrap();
        log.write_all(b"more\n").unwrap();
        assert_eq!(read(folder.path(), "gateway.log").unwrap(), "fifteen bytes..more\n");
        log.write_all(b"and more\n").unwrap();
        assert_eq!(read(folder.path(), "gateway.log").unwrap(), "and more\n", "none is kept");
        assert_eq!(read(folder.path(), "gateway.log.1"), None);
    }

    #[test]
    fn a_line_longer_than_the_file_may_be_is_written_whole() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = Rotating::open(settings(folder.path(), 1)).unwrap();
        let long = "x".repeat(100);
        log.write_all(long.as_bytes()).unwrap();
        assert_eq!(read(folder.path(), "gateway.log").unwrap(), long);
        log.write_all(b"next\n").unwrap();
        assert_eq!(read(folder.path(), "gateway.log").unwrap(), "next\n");
    }

    #[test]
    fn what_cannot_be_written_to_the_file_is_no_error_to_whoever_logs() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = Rotating::open(settings(folder.path(), 1)).unwrap();
        // The folder is gone, so the full file cannot be given another name, nor a new one be made.
        log.write_all(&[b'x'; 20]).unwrap();
        fs::remove_dir_all(folder.path().join("logs")).unwrap();
        assert!(log.write(b"told on standard error\n").is_ok());
    }

    #[test]
    fn a_log_of_the_data_directory_that_is_open_to_others_is_closed_and_another_is_left() {
        for (is_private, expected) in [(true, 0o600), (false, 0o644)] {
            let folder = tempfile::tempdir().unwrap();
            let settings = LogFile { is_private, ..settings(folder.path(), 2) };
            let path = settings.path.clone();
            fs::create_dir(path.parent().unwrap()).unwrap();
            fs::write(&path, "before\n").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
            drop(Rotating::open(settings).unwrap());
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, expected);
        }
    }
}
