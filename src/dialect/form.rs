//! A body of multipart/form-data: where its fields lie, by byte ranges. Copies nothing but names, and knows
//! nothing of what fields mean.

use std::ops::Range;

use memchr::memmem;

/// Fields of one form.
pub(super) const FIELDS_MAX: usize = 64;
/// Bytes of the headers of one field.
pub(super) const HEAD_MAX: usize = 8 << 10;
/// Characters of a boundary, as RFC 2046 has it.
const BOUNDARY_MAX: usize = 70;

/// A form's fields, in its order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Form {
    pub fields: Vec<Field>,
}

/// A field, by where it stands in the body (bytes).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    pub name: String,
    /// Where the name stands.
    pub name_at: Range<usize>,
    pub value: Range<usize>,
    /// From its delimiter to the next one.
    pub whole: Range<usize>,
    pub is_file: bool,
}

/// Why a body is not a form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    #[error("send the fields as multipart/form-data, with a boundary in the content type")]
    NoForm,
    #[error("the body is not valid multipart/form-data: {0}")]
    Malformed(&'static str),
    #[error("the form has more than {FIELDS_MAX} fields")]
    TooManyFields,
}

/// The boundary that a content type names.
pub fn boundary(content_type: &str) -> Result<&str, FormError> {
    let (kind, parameters) = content_type.split_once(';').ok_or(FormError::NoForm)?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return Err(FormError::NoForm);
    }
    let named = parameters.split(';').filter_map(|parameter| parameter.split_once('='));
    let mut named = named.filter(|(name, _)| name.trim().eq_ignore_ascii_case("boundary"));
    let boundary = named.next().map(|(_, value)| value.trim().trim_matches('"')).ok_or(FormError::NoForm)?;
    match boundary.len() {
        1..=BOUNDARY_MAX => Ok(boundary),
        _ => Err(FormError::NoForm),
    }
}

impl Form {
    /// Finds the fields of a whole body.
    pub fn read(body: &[u8], boundary: &str) -> Result<Form, FormError> {
        let broken = FormError::Malformed;
        let delimiter = format!("\r\n--{boundary}").into_bytes();
        let finder = memmem::Finder::new(&delimiter);
        let bare = &delimiter[2..];
        let mut at = match body.starts_with(bare) {
            true => 0,
            false => finder.find(body).ok_or(broken("it does not hold its boundary"))? + 2,
        };
        let mut form = Form::default();
        loop {
            let rest = body.get(at + bare.len()..).unwrap_or_default();
            if rest.starts_with(b"--") {
                return Ok(form);
            }
            if form.fields.len() == FIELDS_MAX {
                return Err(FormError::TooManyFields);
            }
            let padding = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
            if !rest.get(padding..).is_some_and(|rest| rest.starts_with(b"\r\n")) {
                return Err(broken("a boundary does not end its line"));
            }
            let head = at + bare.len() + padding + 2;
            let within = &body[head..body.len().min(head + HEAD_MAX)];
            let head_len = memmem::find(within, b"\r\n\r\n").ok_or(broken("a field's headers do not end"))?;
            let value = head + head_len + 4;
            // Of an empty value the delimiter begins with the end of the headers' last line.
            let length = finder.find(&body[value..]).ok_or(broken("the last boundary is missing"))?;
            let next = value + length + 2;
            let (name_at, is_file) =
                name(&body[head..head + head_len]).ok_or(broken("a field has no name"))?;
            let name_at = head + name_at.start..head + name_at.end;
            let name = std::str::from_utf8(&body[name_at.clone()]);
            let name = name.map_err(|_| broken("a field's name is not UTF-8"))?.to_owned();
            form.fields.push(Field { name, name_at, value: value..value + length, whole: at..next, is_file });
            at = next;
        }
    }
}

/// Where a field's name stands in its headers, and whether it is a file.
pub(super) fn name(head: &[u8]) -> Option<(Range<usize>, bool)> {
    const WANTED: &[u8] = b"content-disposition:";
    let mut start = 0;
    for line in head.split(|byte| *byte == b'\n') {
        let is_it = line.get(..WANTED.len()).is_some_and(|key| key.eq_ignore_ascii_case(WANTED));
        if is_it {
            let is_file = memmem::find(line, b"filename").is_some();
            let found = memmem::find_iter(line, b"name=\"");
            // Not the end of "filename".
            let mut found =
                found.filter(|at| line[..*at].last().is_some_and(|before| b" ;\t".contains(before)));
            let from = found.next()? + b"name=\"".len();
            let length = line[from..].iter().position(|byte| *byte == b'"')?;
            return Some((start + from..start + from + length, is_file));
        }
        start += line.len() + 1;
    }
    None
}

#[cfg(test)]
pub mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A form of these fields, those with a `@` before their name files.
    pub fn form(fields: &[(&str, &str)]) -> Vec<u8> {
        let mut out = String::new();
        for (name, value) in fields {
            let (name, file) = match name.strip_prefix('@') {
                Some(name) => (name, "; filename=\"a name=b.wav\"\r\nContent-Type: audio/wav"),
                None => (*name, ""),
            };
            out +=
                &format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n{value}\r\n");
        }
        (out + "--B--\r\n").into_bytes()
    }

    #[test]
    fn fields_are_found_in_any_order_and_files_told_apart() {
        let body = form(&[("@file", "RIFF\r\n--\0data"), ("model", "w"), ("prompt", "")]);
        let form = Form::read(&body, "B").unwrap();
        let seen: Vec<_> = form
            .fields
            .iter()
            .map(|field| (field.name.as_str(), &body[field.value.clone()], field.is_file))
            .collect();
        assert_eq!(
            seen,
            [("file", &b"RIFF\r\n--\0data"[..], true), ("model", b"w", false), ("prompt", b"", false)]
        );
        assert_eq!(&body[form.fields[1].name_at.clone()], b"model");
        let whole: Vec<u8> =
            form.fields.iter().flat_map(|field| body[field.whole.clone()].iter().copied()).collect();
        assert_eq!([whole, b"--B--\r\n".to_vec()].concat(), body);
        let before = [b"preamble\r\n".to_vec(), body].concat();
        assert_eq!(Form::read(&before, "B").unwrap().fields.len(), 3);
    }

    #[test]
    fn what_is_no_form_is_said() {
        for (kind, found) in [
            ("multipart/form-data; boundary=abc", Some("abc")),
            ("Multipart/Form-Data; charset=x; Boundary=\"a b\"", Some("a b")),
            ("multipart/form-data", None),
            ("application/json; boundary=x", None),
            ("multipart/form-data; boundary=", None),
        ] {
            assert_eq!(boundary(kind).ok(), found, "{kind}");
        }
        for (body, words) in [
            ("", "does not hold"),
            ("--B", "end its line"),
            ("--B\r\nContent-Disposition: form-data; name=\"a\"\r\n", "headers do not end"),
            ("--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nx", "last boundary"),
            ("--B\r\nContent-Type: x; name=\"a\"\r\n\r\nx\r\n--B--", "no name"),
            ("--B\r\nContent-Disposition: form-data; filename=\"a\"\r\n\r\nx\r\n--B--", "no name"),
        ] {
            let told = Form::read(body.as_bytes(), "B").unwrap_err().to_string();
            assert!(told.contains(words), "{body:?}: {told}");
        }
        let many: Vec<(&str, &str)> = vec![("a", "b"); FIELDS_MAX + 1];
        assert_eq!(Form::read(&form(&many), "B").unwrap_err(), FormError::TooManyFields);
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(pieces in prop::collection::vec(
            prop_oneof![
                Just("--B".to_owned()), Just("\r\n".to_owned()), Just("\r\n\r\n".to_owned()), Just("--".to_owned()),
                Just("Content-Disposition: form-data; name=\"".to_owned()), Just("\"".to_owned()), ".{0,6}",
            ],
            0..24,
        )) {
            let body = pieces.concat();
            if let Ok(form) = Form::read(body.as_bytes(), "B") {
                for field in form.fields {
                    prop_assert!(field.value.end <= field.whole.end && field.whole.end <= body.len());
                }
            }
        }
    }
}
