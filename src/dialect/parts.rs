//! A body of multipart/form-data as it arrives, cut into its fields: the same fields that [`Form`](super::form::Form)
//! finds in a whole body, holding back no more than a boundary's length. Knows nothing of what fields mean.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use memchr::memmem::Finder;

use super::form::{FIELDS_MAX, FormError, HEAD_MAX, name};

/// A piece of a form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// A field begins: its delimiter and headers, and where its name stands in them.
    Head { name: String, name_at: Range<usize>, is_file: bool, bytes: Bytes },
    /// Some of its value.
    Value(Bytes),
    /// Its value is whole.
    End,
    /// The last boundary.
    Close(Bytes),
}

/// Cuts one form.
#[derive(Debug)]
pub struct Parts {
    /// With the line end before it.
    delimiter: Finder<'static>,
    buffer: BytesMut,
    at: At,
    fields: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Before any byte, where the boundary has no line end before it.
    Start,
    Preamble,
    /// Behind a boundary.
    Boundary,
    Head,
    Value,
    Over,
}

/// The line end that belongs to a delimiter.
const LINE_END: usize = 2;

impl Parts {
    /// For a body whose parts stand between lines of this boundary (without its dashes).
    pub fn new(boundary: &str) -> Parts {
        let delimiter = Finder::new(&format!("\r\n--{boundary}")).into_owned();
        Parts { delimiter, buffer: BytesMut::new(), at: At::Start, fields: 0 }
    }

    /// Takes the next bytes of the body; [`part`](Self::part) gives what they bring.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.at != At::Over {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// The next part; none: more bytes are needed.
    pub fn part(&mut self) -> Result<Option<Part>, FormError> {
        loop {
            match self.at {
                At::Start => {
                    let bare = self.delimiter.needle().len() - LINE_END;
                    if self.buffer.len() < bare {
                        return Ok(None);
                    }
                    let begins = self.buffer[..bare] == self.delimiter.needle()[LINE_END..];
                    self.at = if begins { At::Boundary } else { At::Preamble };
                    self.skip(if begins { bare } else { 0 });
                }
                At::Preamble => match self.delimiter.find(&self.buffer) {
                    Some(at) => {
                        self.skip(at + self.delimiter.needle().len());
                        self.at = At::Boundary;
                    }
                    None => {
                        self.skip(self.spare());
                        return Ok(None);
                    }
                },
                At::Boundary => match self.boundary()? {
                    None => return Ok(None),
                    Some(At::Over) => {
                        let bare = &self.delimiter.needle()[LINE_END..];
                        self.at = At::Over;
                        self.buffer.clear();
                        return Ok(Some(Part::Close([bare, b"--\r\n"].concat().into())));
                    }
                    Some(at) => self.at = at,
                },
                At::Head => return self.head(),
                At::Value => return Ok(self.value()),
                At::Over => return Ok(None),
            }
        }
    }

    /// Whether the last boundary has come.
    pub fn is_over(&self) -> bool {
        self.at == At::Over
    }

    /// What is missing where the body ends here.
    pub fn missing(&self) -> FormError {
        FormError::Malformed(match self.at {
            At::Start | At::Preamble => "it does not hold its boundary",
            At::Boundary => "a boundary does not end its line",
            At::Head => "a field's headers do not end",
            At::Value | At::Over => "the last boundary is missing",
        })
    }

    /// What follows a boundary: the end, or a field.
    fn boundary(&mut self) -> Result<Option<At>, FormError> {
        if self.buffer.len() < LINE_END {
            return Ok(None);
        }
        if self.buffer.starts_with(b"--") {
            return Ok(Some(At::Over));
        }
        if self.fields == FIELDS_MAX {
            return Err(FormError::TooManyFields);
        }
        let padding = self.buffer.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        match &self.buffer[padding..] {
            [b'\r', b'\n', ..] => {
                self.skip(padding + LINE_END);
                Ok(Some(At::Head))
            }
            [] | [b'\r'] => Ok(None),
            _ => Err(FormError::Malformed("a boundary does not end its line")),
        }
    }

    fn head(&mut self) -> Result<Option<Part>, FormError> {
        let within = &self.buffer[..self.buffer.len().min(HEAD_MAX)];
        let Some(length) = memchr::memmem::find(within, b"\r\n\r\n") else {
            return if within.len() < HEAD_MAX {
                Ok(None)
            } else {
                Err(FormError::Malformed("a field's headers do not end"))
            };
        };
        let (at, is_file) =
            name(&self.buffer[..length]).ok_or(FormError::Malformed("a field has no name"))?;
        let head = self.buffer.split_to(length + 4);
        let told = std::str::from_utf8(&head[at.clone()]);
        let name = told.map_err(|_| FormError::Malformed("a field's name is not UTF-8"))?.to_owned();
        let bare = &self.delimiter.needle()[LINE_END..];
        let before = bare.len() + LINE_END;
        let bytes: Bytes = [bare, b"\r\n", &head].concat().into();
        self.fields += 1;
        self.at = At::Value;
        Ok(Some(Part::Head { name, name_at: before + at.start..before + at.end, is_file, bytes }))
    }

    fn value(&mut self) -> Option<Part> {
        let (length, whole) = match self.delimiter.find(&self.buffer) {
            Some(at) => (at, true),
            None => (self.spare(), false),
        };
        if length > 0 {
            return Some(Part::Value(self.buffer.split_to(length).freeze()));
        }
        whole.then(|| {
            self.skip(self.delimiter.needle().len());
            self.at = At::Boundary;
            Part::End
        })
    }

    /// Bytes in which no delimiter can begin.
    fn spare(&self) -> usize {
        (self.buffer.len() + 1).saturating_sub(self.delimiter.needle().len())
    }

    fn skip(&mut self, bytes: usize) {
        drop(self.buffer.split_to(bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::form::Form;
    use crate::dialect::form::tests::form;

    /// The fields of a body that comes in pieces of that size: name, value, whether it is a file.
    fn cut(body: &[u8], size: usize) -> Result<Vec<(String, Vec<u8>, bool)>, FormError> {
        let (mut parts, mut fields) = (Parts::new("B"), Vec::new());
        for piece in body.chunks(size) {
            parts.feed(piece);
            while let Some(part) = parts.part()? {
                match part {
                    Part::Head { name, name_at, is_file, bytes } => {
                        assert_eq!(&bytes[name_at], name.as_bytes());
                        fields.push((name, Vec::new(), is_file));
                    }
                    Part::Value(bytes) => fields.last_mut().unwrap().1.extend_from_slice(&bytes),
                    Part::End | Part::Close(_) => {}
                }
            }
        }
        if parts.is_over() { Ok(fields) } else { Err(parts.missing()) }
    }

    #[test]
    fn fields_are_those_of_the_whole_body_however_it_comes() {
        let body = form(&[("@file", "RIFF\r\n--\0data\r\n-"), ("model", "w"), ("prompt", "")]);
        let padded = [b"preamble\r\n".to_vec(), body.clone()].concat();
        for body in [body, padded] {
            let whole = Form::read(&body, "B").unwrap();
            let whole: Vec<_> = whole
                .fields
                .iter()
                .map(|field| (field.name.clone(), body[field.value.clone()].to_vec(), field.is_file))
                .collect();
            for size in 1..body.len() + 1 {
                assert_eq!(cut(&body, size).as_ref(), Ok(&whole), "pieces of {size}");
            }
        }
    }

    #[test]
    fn what_is_no_form_is_said_as_of_a_whole_body() {
        for body in [
            "",
            "--B",
            "--Bx\r\n",
            "--B\r\nContent-Disposition: form-data; name=\"a\"\r\n",
            "--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nx",
            "--B\r\nContent-Type: x; name=\"a\"\r\n\r\nx\r\n--B--",
        ] {
            let whole = Form::read(body.as_bytes(), "B").unwrap_err();
            assert_eq!(cut(body.as_bytes(), 3), Err(whole), "{body:?}");
        }
        assert_eq!(cut(&[b' '; 9], 1), Err(FormError::Malformed("it does not hold its boundary")));
    }

    #[test]
    fn little_is_held_of_a_long_value() {
        let mut parts = Parts::new("B");
        parts.feed(b"--B\r\nContent-Disposition: form-data; name=\"f\"\r\n\r\n");
        for _ in 0..100 {
            parts.feed(&[b'x'; 1000]);
            while parts.part().unwrap().is_some() {}
            assert!(parts.buffer.len() < 5);
        }
    }
}
