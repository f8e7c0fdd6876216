//! Moves what a process writes from its pipe to the log. It never waits for anything but the pipe,
//! so that a process is never held up by its own log.

use super::lines::LineCutter;
use super::{LogBuffer, RawLine};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc::Sender;

const READ_BYTES: usize = 16 * 1024;

/// Reads until the pipe closes. Lines that the file's writer has no room for are left out there.
pub async fn pump(
    mut pipe: impl AsyncRead + Unpin,
    buffer: std::sync::Arc<LogBuffer>,
    file: Sender<Vec<RawLine>>,
) {
    let mut cutter = LineCutter::default();
    let mut bytes = vec![0; READ_BYTES];
    loop {
        let lines = match pipe.read(&mut bytes).await {
            Ok(0) | Err(_) => break,
            Ok(read) => cutter.feed(&bytes[..read]),
        };
        hand_on(lines, &buffer, &file);
    }
    hand_on(cutter.finish(), &buffer, &file);
}

fn hand_on(lines: Vec<RawLine>, buffer: &LogBuffer, file: &Sender<Vec<RawLine>>) {
    if lines.is_empty() {
        return;
    }
    buffer.append(&lines);
    if file.try_send(lines).is_err() {
        tracing::trace!("A backend writes faster than its log file takes");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tokio::sync::mpsc;

    #[tokio::test]
    async fn a_flood_is_taken_though_nobody_writes_it_down() {
        let buffer = Arc::new(LogBuffer::default());
        let (file, _never_read) = mpsc::channel(1);
        let flood = "some line of a chatty backend\n".repeat(200_000);
        pump(flood.as_bytes(), Arc::clone(&buffer), file).await;
        assert_eq!(buffer.newest(), 200_000);
        assert_eq!(buffer.tail(usize::MAX).len(), super::super::MAX_LINES);
    }
}
