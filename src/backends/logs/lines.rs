//! Cuts what comes out of a pipe into lines of bounded length. Knows no pipe.

use super::{MAX_LINE_BYTES, RawLine, ansi};
use memchr::memchr2;
use std::sync::Arc;

/// Raw bytes kept of a line before its colours are taken out; they can be most of it.
const MAX_RAW_BYTES: usize = 2 * MAX_LINE_BYTES;

/// Gathers bytes until a line is whole.
#[derive(Debug, Default)]
pub struct LineCutter {
    open: Vec<u8>,
    cut_off: bool,
    /// The newest byte was a carriage return: a line feed now belongs to it.
    after_return: Option<RawLine>,
}

impl LineCutter {
    /// Takes the next bytes and gives the lines that are whole with them.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Vec<RawLine> {
        let mut lines = Vec::new();
        while !bytes.is_empty() {
            if let Some(mut line) = self.after_return.take() {
                line.transient = bytes[0] != b'\n';
                if !line.transient {
                    bytes = &bytes[1..];
                }
                push(&mut lines, line);
                continue;
            }
            let Some(end) = memchr2(b'\n', b'\r', bytes) else {
                self.gather(bytes);
                break;
            };
            self.gather(&bytes[..end]);
            let line = self.close();
            match bytes[end] {
                b'\r' => self.after_return = Some(line),
                _ => push(&mut lines, line),
            }
            bytes = &bytes[end + 1..];
        }
        lines
    }

    /// What is left when nothing comes any more.
    pub fn finish(&mut self) -> Vec<RawLine> {
        let mut lines = Vec::from_iter(self.after_return.take());
        if !self.open.is_empty() {
            lines.push(self.close());
        }
        lines
    }

    fn gather(&mut self, bytes: &[u8]) {
        let room = MAX_RAW_BYTES.saturating_sub(self.open.len());
        self.cut_off |= bytes.len() > room;
        self.open.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn close(&mut self) -> RawLine {
        let mut text = ansi::clean(&self.open);
        let end = text.floor_char_boundary(MAX_LINE_BYTES);
        if self.cut_off || end < text.len() {
            text.truncate(end);
            text.push('…');
        }
        self.open.clear();
        self.cut_off = false;
        RawLine { text: Arc::from(text), transient: false }
    }
}

/// An empty redraw says nothing; an empty line may be meant.
fn push(lines: &mut Vec<RawLine>, line: RawLine) {
    if !(line.transient && line.text.is_empty()) {
        lines.push(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut(chunks: &[&[u8]]) -> Vec<(String, bool)> {
        let mut cutter = LineCutter::default();
        let mut lines: Vec<RawLine> = chunks.iter().flat_map(|chunk| cutter.feed(chunk)).collect();
        lines.extend(cutter.finish());
        lines.into_iter().map(|line| (line.text.to_string(), line.transient)).collect()
    }

    fn whole(text: &str) -> (String, bool) {
        (text.to_owned(), false)
    }

    #[test]
    fn lines_end_as_unix_and_windows_end_them_and_the_last_needs_no_end() {
        assert_eq!(cut(&[b"a\nb\r", b"\nc"]), [whole("a"), whole("b"), whole("c")]);
        assert_eq!(cut(&[b"a\n\nb\n"]), [whole("a"), whole(""), whole("b")]);
    }

    #[test]
    fn a_redrawn_line_is_transient() {
        let bar = |text: &str| (text.to_owned(), true);
        assert_eq!(cut(&[b"\r10%\r20%\r100%\n"]), [bar("10%"), bar("20%"), whole("100%")]);
    }

    #[test]
    fn an_endless_line_is_cut_off() {
        let long = vec![b'x'; 1_000_000];
        let lines = cut(&[&long, b"y\nnext\n"]);
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0].0.len(), MAX_LINE_BYTES + '…'.len_utf8());
        assert_eq!(lines[1], whole("next"));
    }

    proptest! {
        #[test]
        fn the_lines_do_not_depend_on_how_the_bytes_come(
            bytes in prop::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), any::<u8>()], 0..300),
            size in 1usize..20,
        ) {
            let chunks: Vec<&[u8]> = bytes.chunks(size).collect();
            prop_assert_eq!(cut(&chunks), cut(&[&bytes]));
        }
    }
}
