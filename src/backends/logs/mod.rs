//! What backends write: the newest lines in memory for everybody who asks, all of them in a rotated
//! file. Knows nothing of what the lines mean, and never makes the writing process wait.

mod ansi;
mod file;
mod lines;
mod pump;

pub use file::{LogFile, old_path};
pub use lines::LineCutter;
pub use pump::pump;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// Lines kept in memory of each backend.
pub const MAX_LINES: usize = 1_000;
/// Bytes kept of one line; what goes beyond is cut off.
pub const MAX_LINE_BYTES: usize = 4_096;

/// One line without its colours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Counts up from 1 over all runs of the backend.
    pub number: u64,
    pub text: Arc<str>,
}

/// A line as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawLine {
    pub text: Arc<str>,
    /// It ended in a carriage return, as progress bars do: the next line takes its place.
    pub transient: bool,
}

/// The newest lines of one backend.
#[derive(Debug)]
pub struct LogBuffer {
    ring: Mutex<Ring>,
    /// The number of the newest line.
    newest: watch::Sender<u64>,
}

/// Reads a backend's log: what is there, then what comes.
#[derive(Debug)]
pub struct LogReader {
    buffer: Arc<LogBuffer>,
    newest: watch::Receiver<u64>,
    next: u64,
}

/// Lines that came since the last look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogBatch {
    /// Lines that were gone before this reader came to them.
    pub skipped: u64,
    pub lines: Vec<LogLine>,
}

#[derive(Debug, Default)]
struct Ring {
    lines: VecDeque<LogLine>,
    last: u64,
    last_is_transient: bool,
}

impl Default for LogBuffer {
    fn default() -> Self {
        LogBuffer { ring: Mutex::default(), newest: watch::Sender::new(0) }
    }
}

impl LogBuffer {
    /// Adds lines, forgetting the oldest beyond the bound.
    pub fn append(&self, lines: &[RawLine]) {
        if lines.is_empty() {
            return;
        }
        let newest = {
            let mut ring = self.lock();
            lines.iter().for_each(|line| ring.push(line));
            ring.last
        };
        self.newest.send_replace(newest);
    }

    /// The newest `count` lines, oldest first.
    pub fn tail(&self, count: usize) -> Vec<String> {
        self.tail_since(0, count)
    }

    /// The newest `count` lines after the line `number`, oldest first.
    pub fn tail_since(&self, number: u64, count: usize) -> Vec<String> {
        let ring = self.lock();
        let newest = ring.lines.iter().rev().take_while(|line| line.number > number).take(count);
        let mut lines: Vec<String> = newest.map(|line| line.text.to_string()).collect();
        lines.reverse();
        lines
    }

    /// The number of the newest line; 0 before the first.
    pub fn newest(&self) -> u64 {
        self.lock().last
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LogReader {
    pub(super) fn new(buffer: Arc<LogBuffer>) -> LogReader {
        let newest = buffer.newest.subscribe();
        LogReader { buffer, newest, next: 1 }
    }

    /// Leaves out all but the newest `count` of the lines that are there.
    pub fn skip_to_last(&mut self, count: usize) {
        let ring = self.buffer.lock();
        let first = ring.lines.len().saturating_sub(count);
        self.next = ring.lines.get(first).map_or(ring.last + 1, |line| line.number);
    }

    /// The lines that are there and were not read yet.
    pub fn read(&mut self) -> LogBatch {
        self.newest.mark_unchanged();
        let ring = self.buffer.lock();
        let oldest = ring.lines.front().map_or(ring.last + 1, |line| line.number);
        let skipped = oldest.saturating_sub(self.next);
        let lines = ring.lines.iter().filter(|line| line.number >= self.next).cloned().collect();
        self.next = ring.last + 1;
        LogBatch { skipped, lines }
    }

    /// Waits for lines that were not read yet.
    pub async fn follow(&mut self) -> LogBatch {
        loop {
            let batch = self.read();
            if !batch.lines.is_empty() {
                return batch;
            }
            // This reader holds the buffer, so there is always somebody who could write.
            if self.newest.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

impl Ring {
    fn push(&mut self, line: &RawLine) {
        if self.last_is_transient || self.lines.len() == MAX_LINES {
            if self.last_is_transient {
                self.lines.pop_back()
            } else {
                self.lines.pop_front()
            };
        }
        self.last += 1;
        self.last_is_transient = line.transient;
        self.lines.push_back(LogLine { number: self.last, text: Arc::clone(&line.text) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(texts: &[&str]) -> Vec<RawLine> {
        texts.iter().map(|t| RawLine { text: Arc::from(*t), transient: false }).collect()
    }

    fn texts(batch: &LogBatch) -> Vec<&str> {
        batch.lines.iter().map(|line| &*line.text).collect()
    }

    #[test]
    fn only_the_newest_lines_are_kept_and_a_slow_reader_learns_what_it_missed() {
        let buffer = Arc::new(LogBuffer::default());
        let mut reader = LogReader::new(Arc::clone(&buffer));
        for i in 0..MAX_LINES + 5 {
            buffer.append(&lines(&[&i.to_string()]));
        }
        let batch = reader.read();
        assert_eq!((batch.skipped, batch.lines.len()), (5, MAX_LINES));
        assert_eq!(&*batch.lines[0].text, "5");
        assert_eq!(reader.read(), LogBatch { skipped: 0, lines: vec![] });
    }

    #[test]
    fn the_tail_is_that_of_the_present_run() {
        let buffer = LogBuffer::default();
        buffer.append(&lines(&["old"]));
        let mark = buffer.newest();
        buffer.append(&lines(&["a", "b", "c"]));
        assert_eq!(buffer.tail_since(mark, 2), ["b", "c"]);
        assert_eq!(buffer.tail_since(mark, 9), ["a", "b", "c"]);
    }

    #[test]
    fn a_progress_bar_takes_one_line_however_often_it_is_drawn() {
        let buffer = LogBuffer::default();
        for percent in 0..100 {
            let text = Arc::from(format!("{percent}%"));
            buffer.append(&[RawLine { text, transient: true }]);
        }
        buffer.append(&lines(&["100%", "done"]));
        assert_eq!(buffer.tail(9), ["100%", "done"]);
    }

    #[tokio::test]
    async fn whoever_follows_gets_what_is_there_and_then_what_comes() {
        let buffer = Arc::new(LogBuffer::default());
        buffer.append(&lines(&["a", "b", "c"]));
        let mut reader = LogReader::new(Arc::clone(&buffer));
        reader.skip_to_last(1);
        assert_eq!(texts(&reader.follow().await), ["c"]);
        let (batch, ()) = tokio::join!(reader.follow(), async { buffer.append(&lines(&["d"])) });
        assert_eq!(texts(&batch), ["d"]);
    }
}
