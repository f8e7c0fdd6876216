//! The log file of a backend: appended to, rotated at a size, one old file kept. Knows lines only.

use super::RawLine;
use crate::system::private;
use std::io;
use std::path::{Path, PathBuf};
use tokio::fs::File;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

/// Bytes after which a log file becomes the old one.
const MAX_FILE_BYTES: u64 = 8 * 1024 * 1024;
/// Batches of lines that may wait for the disk.
const MAX_BATCHES: usize = 64;

/// An open log file.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    file: File,
    bytes: u64,
    max_bytes: u64,
}

impl LogFile {
    pub async fn open(path: &Path) -> io::Result<LogFile> {
        LogFile::open_with(path, MAX_FILE_BYTES).await
    }

    async fn open_with(path: &Path, max_bytes: u64) -> io::Result<LogFile> {
        let of = path.to_owned();
        let open = tokio::task::spawn_blocking(move || {
            of.parent().map_or(Ok(()), private::create_dir)?;
            let file = private::append(&of)?;
            private::restrict(&file)?;
            Ok::<_, io::Error>(file)
        });
        let file = File::from_std(open.await.map_err(io::Error::other)??);
        let bytes = file.metadata().await?.len();
        Ok(LogFile { path: path.to_owned(), file, bytes, max_bytes })
    }

    /// Where to send lines, and where they are taken from.
    pub fn channel() -> (mpsc::Sender<Vec<RawLine>>, mpsc::Receiver<Vec<RawLine>>) {
        mpsc::channel(MAX_BATCHES)
    }

    /// Writes what comes, until nobody sends any more or the disk refuses.
    pub async fn write_all(mut self, mut lines: mpsc::Receiver<Vec<RawLine>>) {
        while let Some(batch) = lines.recv().await {
            if let Err(error) = self.write(&batch).await {
                let path = self.path.display();
                tracing::warn!(%error, file.path = %path, "A backend's log file cannot be written; its log goes on in memory");
                return;
            }
        }
    }

    async fn write(&mut self, lines: &[RawLine]) -> io::Result<()> {
        let mut text = String::new();
        for line in lines.iter().filter(|line| !line.transient) {
            text.push_str(&line.text);
            text.push('\n');
        }
        let bytes = u64::try_from(text.len()).unwrap_or(u64::MAX);
        if self.bytes > 0 && self.bytes.saturating_add(bytes) > self.max_bytes {
            self.rotate().await?;
        }
        self.file.write_all(text.as_bytes()).await?;
        self.file.flush().await?;
        self.bytes = self.bytes.saturating_add(bytes);
        Ok(())
    }

    async fn rotate(&mut self) -> io::Result<()> {
        tokio::fs::rename(&self.path, old_path(&self.path)).await?;
        *self = LogFile::open_with(&self.path, self.max_bytes).await?;
        Ok(())
    }
}

/// Where the lines before the newest ones are.
pub fn old_path(path: &Path) -> PathBuf {
    path.with_added_extension("1")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn line(text: &str, transient: bool) -> RawLine {
        RawLine { text: Arc::from(text), transient }
    }

    #[tokio::test]
    async fn a_full_file_becomes_the_old_one_and_no_more_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("logs/qwen.log");
        let file = LogFile::open_with(&path, 20).await.unwrap();
        let (sender, receiver) = LogFile::channel();
        for i in 0..9 {
            sender.send(vec![line(&format!("line {i}"), false)]).await.unwrap();
        }
        sender.send(vec![line("50%", true), line("end", false)]).await.unwrap();
        drop(sender);
        file.write_all(receiver).await;
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "line 8\nend\n");
        assert_eq!(std::fs::read_to_string(old_path(&path)).unwrap(), "line 6\nline 7\n");
        assert_eq!(std::fs::read_dir(dir.path().join("logs")).unwrap().count(), 2);
    }

    #[tokio::test]
    async fn a_new_run_writes_on_where_the_last_one_ended() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("qwen.log");
        for text in ["first", "second"] {
            let file = LogFile::open(&path).await.unwrap();
            let (sender, receiver) = LogFile::channel();
            sender.send(vec![line(text, false)]).await.unwrap();
            drop(sender);
            file.write_all(receiver).await;
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "first\nsecond\n");
    }

    #[tokio::test]
    async fn a_file_that_is_open_to_others_is_closed_when_it_is_opened() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("backend.log");
        std::fs::write(&path, "before\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        LogFile::open(&path).await.unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
