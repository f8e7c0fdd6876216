//! The part-wise way of making a form fit for its engine, for a body that goes on while it arrives. What it can only be
//! told at the end is told there.

use std::ops::Range;

use bytes::Bytes;

use super::form::{
    READ, READ_OF_OURS, Seen, TEXT_MAX, checked, is_known, left_out, no_text, plain_name, prepared, text,
    twice, wants_stream,
};
use super::{BadRequest, Prepared, Scanned, Target};
use crate::dialect::operation::Operation;
use crate::dialect::parts::Part;
use crate::dialect::quirks::Fields;
use crate::dialect::rope::Rope;

/// What is done with each part of a form.
#[derive(Debug, Clone)]
pub struct Rewrite {
    operation: Operation,
    known: Option<Fields>,
    served_name: String,
    seen: Seen,
    field: Option<Current>,
    warnings: Vec<String>,
}

/// The field whose value is arriving.
#[derive(Debug, Clone)]
struct Current {
    name: String,
    goes_on: bool,
    /// Its value, of one that is read.
    text: Option<Vec<u8>>,
}

/// What a form turned out to be once it had all come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FormEnd {
    /// The answer is to be text.
    pub plain: bool,
    pub warnings: Vec<String>,
}

impl Rewrite {
    fn new(operation: Operation, known: Option<Fields>, served_name: &str) -> Rewrite {
        let (seen, served_name) = (Seen::default(), served_name.to_owned());
        Rewrite { operation, known, served_name, seen, field: None, warnings: Vec::new() }
    }

    /// What the engine gets of a part.
    pub fn part(&mut self, part: &Part, out: &mut Rope) -> Result<(), BadRequest> {
        match part {
            Part::Head { name, name_at, is_file, bytes } => {
                self.begin(name, name_at, *is_file, bytes, out)?;
            }
            Part::Value(bytes) => {
                if let Some(field) = &mut self.field {
                    if let Some(text) = field.text.as_mut().filter(|text| text.len() <= TEXT_MAX) {
                        text.extend_from_slice(bytes);
                    }
                    if field.goes_on && field.name != "model" {
                        out.push(bytes.clone());
                    }
                }
            }
            Part::End => {
                let Some(field) = self.field.take() else { return Ok(()) };
                if field.goes_on && field.name == "model" {
                    out.push(self.served_name.clone().into());
                }
                if field.goes_on {
                    out.push(Bytes::from_static(b"\r\n"));
                }
                if let Some(value) = field.text {
                    let value = text(&field.name, value)?;
                    self.seen.texts.push((field.name, value));
                }
            }
            Part::Close(bytes) => out.push(bytes.clone()),
        }
        Ok(())
    }

    fn begin(
        &mut self,
        sent: &str,
        name_at: &Range<usize>,
        is_file: bool,
        bytes: &Bytes,
        out: &mut Rope,
    ) -> Result<(), BadRequest> {
        let name = plain_name(sent, self.known.is_some());
        let goes_on = is_known(name, self.known);
        if goes_on && name.len() == sent.len() {
            out.push(bytes.clone());
        } else if goes_on {
            out.push(bytes.slice(..name_at.start));
            out.push(name.to_owned().into());
            out.push(bytes.slice(name_at.end..));
        } else {
            self.warnings.push(left_out(sent));
        }
        let read = READ.contains(&name) || (self.known.is_some() && READ_OF_OURS.contains(&name));
        if read && self.seen.fields.iter().any(|(known, _)| known == name) {
            return Err(twice(name));
        }
        if read && is_file {
            return Err(no_text(name));
        }
        self.seen.fields.push((sent.to_owned(), is_file));
        self.field = Some(Current { name: name.to_owned(), goes_on, text: read.then(Vec::new) });
        Ok(())
    }

    /// What can only be told now that all has come.
    pub fn end(self) -> Result<FormEnd, BadRequest> {
        if let Some(word) = self.seen.text("stream") {
            wants_stream(word)?;
        }
        let plain = match self.known {
            Some(_) => checked(&self.seen, self.operation, true)?,
            None => false,
        };
        Ok(FormEnd { plain, warnings: self.warnings })
    }
}

/// A form whose body is still arriving: what has come of it, and what is to be done with the rest.
pub fn prepare(request: &Scanned, parts: &[Part], target: Target<'_>) -> Result<Prepared, BadRequest> {
    let known = target.quirks.fields_of(target.operation);
    let mut rest = Rewrite::new(target.operation, known, target.served_name);
    let mut body = Rope::default();
    for part in parts {
        rest.part(part, &mut body)?;
    }
    let plain = match known {
        Some(_) => Some(checked(&rest.seen, target.operation, false)?),
        None => None,
    };
    let warnings = std::mem::take(&mut rest.warnings);
    let prepared = prepared(body, request.wants_stream()?, warnings, plain, target.operation);
    Ok(Prepared { rest: Some(rest), ..prepared })
}

/// A field's text out of the parts of a form that have come.
pub fn text_of(parts: &[Part], wanted: &str) -> Result<Option<String>, BadRequest> {
    let (mut found, mut within) = (None, false);
    for part in parts {
        match part {
            Part::Head { name, is_file, .. } if name == wanted => {
                if found.is_some() {
                    return Err(twice(wanted));
                }
                if *is_file {
                    return Err(no_text(wanted));
                }
                (found, within) = (Some(Vec::new()), true);
            }
            Part::Value(bytes) if within => found.get_or_insert_default().extend_from_slice(bytes),
            Part::End => within = false,
            Part::Head { .. } | Part::Value(_) | Part::Close(_) => {}
        }
    }
    found.filter(|_| !within).map(|value| text(wanted, value)).transpose()
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::*;
    use crate::dialect::form::tests::form;
    use crate::dialect::parts::Parts;
    use crate::dialect::quirks::{MLX_OPENAI_SERVER, PASSTHROUGH, Quirks};
    use crate::dialect::request::form::tests::{run, target};

    /// What of a form has come, and what the engine gets of it if all the rest comes too.
    fn in_parts(
        operation: Operation,
        quirks: &'static Quirks,
        fields: &[(&str, &str)],
        size: usize,
        at_once: usize,
    ) -> Result<(Vec<u8>, FormEnd), BadRequest> {
        let body = form(fields);
        let mut parts = Parts::new("B");
        let mut all = Vec::new();
        for piece in body.chunks(size) {
            parts.feed(piece);
            all.extend(std::iter::from_fn(|| parts.part().unwrap()));
        }
        let (come, rest) = all.split_at(at_once.min(all.len()));
        let defaults = Map::new();
        let target = target(operation, quirks, &defaults);
        let prepared = crate::dialect::request::prepare(&Scanned::of_open_form(come.to_vec()), target)?;
        let (mut out, mut rewrite) = (prepared.body, prepared.rest.unwrap());
        for part in rest {
            rewrite.part(part, &mut out)?;
        }
        let mut end = rewrite.end()?;
        end.warnings.splice(0..0, prepared.warnings);
        Ok((out.to_vec(), end))
    }

    #[test]
    fn a_form_that_is_still_arriving_becomes_what_the_whole_one_does() {
        type Case = (Operation, &'static Quirks, &'static [(&'static str, &'static str)]);
        let all: [Case; 3] = [
            (
                Operation::Transcription,
                &MLX_OPENAI_SERVER,
                &[
                    ("model", "m"),
                    ("@file", "RIFF\r\n--\0data"),
                    ("include[]", "logprobs"),
                    ("response_format", "text"),
                ],
            ),
            (
                Operation::ImageEdit,
                &MLX_OPENAI_SERVER,
                &[
                    ("@image[]", "A"),
                    ("model", "m"),
                    ("@image[]", "B"),
                    ("prompt", "bluer"),
                    ("quality", "high"),
                ],
            ),
            (
                Operation::Transcription,
                &PASSTHROUGH,
                &[("@audio[]", "x"), ("model", "m"), ("response_format", "srt")],
            ),
        ];
        for (operation, quirks, fields) in all {
            let (whole, prepared) = run(operation, quirks, fields).unwrap();
            for (size, at_once) in [(1, 0), (7, 3), (1000, 5), (3, 1000)] {
                let (body, end) = in_parts(operation, quirks, fields, size, at_once).unwrap();
                assert_eq!(String::from_utf8_lossy(&body), String::from_utf8_lossy(&whole));
                assert_eq!(
                    (end.plain, &end.warnings),
                    (prepared.transcript == Some(true), &prepared.warnings)
                );
            }
        }
    }

    #[test]
    fn what_turns_out_late_is_refused_all_the_same() {
        let model = ("model", "m");
        for (fields, words) in [
            (vec![model, ("@image", "x"), ("prompt", "x"), ("@mask", "x")], "no mask"),
            (vec![model, ("@image", "x")], "describe the change"),
            (vec![model, ("prompt", "x")], "send the image"),
            (vec![model, ("@image", "x"), ("prompt", "x"), model], "comes twice"),
            (vec![model, ("@image", "x"), ("prompt", "x"), ("stream", "maybe")], "true or false"),
            (vec![model, ("@image", "x"), ("@prompt", "x")], "short text"),
        ] {
            let told = in_parts(Operation::ImageEdit, &MLX_OPENAI_SERVER, &fields, 5, 4).unwrap_err();
            assert!(told.message.contains(words), "{told}");
        }
        let named = |fields: &[(&str, &str)]| {
            let mut parts = Parts::new("B");
            parts.feed(&form(fields));
            let all: Vec<Part> = std::iter::from_fn(|| parts.part().unwrap()).collect();
            text_of(&all, "model").map_err(|error| error.message)
        };
        assert_eq!(named(&[("@file", "x"), model]), Ok(Some("m".to_owned())));
        assert_eq!(named(&[("@file", "x")]), Ok(None));
        assert!(named(&[model, model]).unwrap_err().contains("comes twice"));
    }
}
