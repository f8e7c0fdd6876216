//! A body in pieces: what was received stays where it lies, what changes is put between.

use std::collections::VecDeque;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};

use crate::bodies::Held;

/// Bytes in order, in any number of pieces; cloning copies no bytes.
#[derive(Debug, Clone, Default)]
pub struct Rope {
    pieces: VecDeque<Bytes>,
    len: usize,
    /// What its bytes take of the bound, until the last clone is dropped.
    held: Option<Arc<Held>>,
}

impl Rope {
    /// Appends a piece.
    pub fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.len += piece.len();
            self.pieces.push_back(piece);
        }
    }

    /// Counts its bytes as that part of the bound.
    pub fn hold(&mut self, held: Option<Arc<Held>>) {
        self.held = held;
    }

    /// Returns the reservation that its bytes count against.
    pub fn reservation(&self) -> Option<Arc<Held>> {
        self.held.clone()
    }

    /// Bytes in all.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds no byte.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends what `from` holds in `range`, without copying.
    pub fn push_range(&mut self, from: &Rope, range: Range<usize>) {
        let mut start = 0;
        for piece in &from.pieces {
            let end = start + piece.len();
            let low = range.start.max(start);
            let high = range.end.min(end);
            if low < high {
                self.push(piece.slice(low - start..high - start));
            }
            if end >= range.end {
                break;
            }
            start = end;
        }
    }

    /// Its pieces, in their order.
    pub fn into_pieces(self) -> VecDeque<Bytes> {
        self.pieces
    }

    /// Copies out a range; for the few small values that are looked at.
    pub fn read(&self, range: Range<usize>) -> Vec<u8> {
        let mut part = Rope::default();
        part.push_range(self, range);
        part.to_vec()
    }

    /// Everything in one piece.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.len);
        for piece in &self.pieces {
            out.extend_from_slice(piece);
        }
        out
    }
}

impl From<Bytes> for Rope {
    fn from(bytes: Bytes) -> Self {
        let mut rope = Rope::default();
        rope.push(bytes);
        rope
    }
}

impl Body for Rope {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let piece = self.pieces.pop_front();
        self.len -= piece.as_ref().map_or(0, Buf::remaining);
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.len as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_cross_pieces() {
        let mut rope = Rope::default();
        for piece in ["ab", "cde", "", "f"] {
            rope.push(Bytes::from(piece));
        }
        assert_eq!(rope.len(), 6);
        for start in 0..=6 {
            for end in start..=6 {
                assert_eq!(rope.read(start..end), &b"abcdef"[start..end]);
            }
        }
    }
}
