//! Finds the comments in an event stream, which decoders of events pass over: there the gateway says
//! what a request waits for. Pure; sees bytes, knows no events.

/// Bytes of a comment that are kept.
const MAX_COMMENT: usize = 200;

/// Reads along, however the stream is cut into pieces.
#[derive(Debug, Default)]
pub struct Comments {
    line: Line,
    kept: Vec<u8>,
}

/// What the line is that is being read.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Line {
    #[default]
    Unbegun,
    Comment,
    Other,
}

impl Comments {
    /// Tells of the last comment that ended in this piece; the ones before it are old news.
    pub fn read(&mut self, piece: &[u8]) -> Option<String> {
        let mut last = None;
        for &byte in piece {
            match (self.line, byte) {
                (Line::Comment, b'\r' | b'\n') => {
                    last = Some(String::from_utf8_lossy(self.kept.trim_ascii()).into_owned());
                    self.kept.clear();
                    self.line = Line::Unbegun;
                }
                (_, b'\r' | b'\n') => self.line = Line::Unbegun,
                (Line::Unbegun, b':') => self.line = Line::Comment,
                (Line::Unbegun, _) => self.line = Line::Other,
                (Line::Comment, byte) if self.kept.len() < MAX_COMMENT => self.kept.push(byte),
                _ => {}
            }
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &[u8] = b": queued 2\n\ndata: {\"a\": 1}\n:loading qwen 12s\r\n\r\ndata: x\n\n: prefill";

    fn comments(size: usize) -> Vec<String> {
        let mut comments = Comments::default();
        STREAM.chunks(size).filter_map(|piece| comments.read(piece)).collect()
    }

    #[test]
    fn comments_are_found_however_the_stream_is_cut() {
        for size in 1..8 {
            assert_eq!(comments(size), ["queued 2", "loading qwen 12s"], "pieces of {size}");
        }
    }

    #[test]
    fn of_several_comments_the_last_is_told() {
        assert_eq!(comments(STREAM.len()), ["loading qwen 12s"]);
    }

    #[test]
    fn a_comment_without_end_takes_no_room() {
        let mut comments = Comments::default();
        comments.read(b":");
        for _ in 0..100 {
            comments.read(&[b'x'; 100]);
        }
        assert_eq!(comments.read(b"\n").map(|comment| comment.len()), Some(MAX_COMMENT));
    }
}
