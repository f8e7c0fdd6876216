//! Server-sent events at the level of bytes: where events end and what their data is. Copies
//! nothing where an event has one data line, as all of OpenAI's have.

use std::borrow::Cow;

use memchr::{memchr, memmem};

/// Offset just behind the last complete event of `bytes`, looking no further back than `from`.
pub fn last_boundary(bytes: &[u8], from: usize) -> Option<usize> {
    // Servers write whole events.
    if bytes.ends_with(b"\n\n") && bytes.len() > from {
        return Some(bytes.len());
    }
    // The blank line may have begun up to three bytes before what is new.
    let from = from.saturating_sub(3).min(bytes.len());
    let tail = &bytes[from..];
    let unix = memmem::rfind(tail, b"\n\n").map(|at| at + 2);
    let dos = memmem::rfind(tail, b"\n\r\n").map(|at| at + 3);
    unix.max(dos).map(|at| from + at)
}

/// The data of each event in a run of complete events; events without data are passed over.
pub fn events(bytes: &[u8]) -> Events<'_> {
    Events { rest: bytes }
}

/// See [`events`].
#[derive(Debug)]
pub struct Events<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Events<'a> {
    type Item = Cow<'a, [u8]>;

    fn next(&mut self) -> Option<Cow<'a, [u8]>> {
        let mut data: Option<Cow<'a, [u8]>> = None;
        while !self.rest.is_empty() {
            let end = memchr(b'\n', self.rest).unwrap_or(self.rest.len());
            let line = self.rest[..end].strip_suffix(b"\r").unwrap_or(&self.rest[..end]);
            self.rest = self.rest.get(end + 1..).unwrap_or_default();
            if line.is_empty() {
                if data.is_some() {
                    return data;
                }
            } else if let Some(value) = line.strip_prefix(b"data:") {
                let value = value.strip_prefix(b" ").unwrap_or(value);
                data = Some(match data {
                    None => Cow::Borrowed(value),
                    Some(before) => [&before, &b"\n"[..], value].concat().into(),
                });
            }
        }
        data
    }
}

/// The data that ends a stream.
pub const DONE: &[u8] = b"[DONE]";
/// The event that ends a stream.
pub const DONE_EVENT: &[u8] = b"data: [DONE]\n\n";

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<String> {
        events(text.as_bytes()).map(|data| String::from_utf8(data.into_owned()).unwrap()).collect()
    }

    #[test]
    fn events_are_told_apart() {
        assert_eq!(all("data: a\n\ndata:b\n\n"), ["a", "b"]);
        assert_eq!(all("data: a\r\n\r\n: note\r\n\r\nevent: x\r\ndata:  b\r\n\r\n"), ["a", " b"]);
        assert_eq!(all("data: a\ndata: b\n\n"), ["a\nb"]);
        assert_eq!(all(": only a comment\n\n"), [""; 0]);
    }

    #[test]
    fn boundaries_are_found_also_across_old_and_new_bytes() {
        let text = b"data: a\n\ndata: b\r\n\r\ndata";
        assert_eq!(last_boundary(text, 0), Some(20));
        assert_eq!(last_boundary(&text[..12], 0), Some(9));
        for from in 0..=9 {
            assert_eq!(last_boundary(&text[..9], from.min(9)), Some(9), "{from}");
        }
        assert_eq!(last_boundary(b"data: x\n", 0), None);
    }
}
