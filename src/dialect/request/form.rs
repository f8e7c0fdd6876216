//! Forms made fit for their engine: their model's name, and the fields that it knows. Files stay where they
//! lie.

use std::ops::Range;

use bytes::Bytes;

use super::{BadRequest, Prepared, Scanned, Target};
use crate::dialect::form::Form;
use crate::dialect::operation::Operation;
use crate::dialect::quirks::Fields;
use crate::dialect::rope::Rope;

/// Bytes of a field that is read.
pub(super) const TEXT_MAX: usize = 64 << 10;
/// Fields that are read of every form, and of those for engines of ours.
pub(super) const READ: [&str; 2] = ["model", "stream"];
pub(super) const READ_OF_OURS: [&str; 3] = ["n", "prompt", "response_format"];

/// What of a form is known, be it whole or still arriving.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Names, and which are files.
    pub(super) fields: Vec<(String, bool)>,
    pub(super) texts: Vec<(String, String)>,
}

impl Scanned {
    /// The value of a field that is no file.
    pub fn form_text(&self, name: &str) -> Result<Option<String>, BadRequest> {
        let Some(form) = &self.form else { return Ok(None) };
        let mut named = form.fields.iter().filter(|field| field.name == name);
        let Some(field) = named.next() else { return Ok(None) };
        if named.next().is_some() {
            return Err(twice(name));
        }
        if field.is_file {
            return Err(no_text(name));
        }
        // Longer than it may be, it is cut where that shows.
        let end = field.value.end.min(field.value.start + TEXT_MAX + 1);
        text(name, self.body.read(field.value.start..end)).map(Some)
    }
}

impl Seen {
    fn of(request: &Scanned, form: &Form) -> Result<Seen, BadRequest> {
        let fields = form.fields.iter().map(|field| (field.name.clone(), field.is_file)).collect();
        let mut texts = Vec::new();
        for name in READ.iter().chain(&READ_OF_OURS) {
            texts.extend(request.form_text(name)?.map(|text| ((*name).to_owned(), text)));
        }
        Ok(Seen { fields, texts })
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.texts.iter().find(|(known, _)| known == name).map(|(_, text)| text.as_str())
    }

    fn has_file(&self, name: &str) -> bool {
        self.fields.iter().any(|(field, is_file)| *is_file && field.trim_end_matches("[]") == name)
    }
}

pub fn prepare(request: &Scanned, form: &Form, target: Target<'_>) -> Result<Prepared, BadRequest> {
    let known = target.quirks.fields_of(target.operation);
    let mut warnings = Vec::new();
    let mut changes: Vec<(Range<usize>, Bytes)> = Vec::new();
    for field in &form.fields {
        let name = plain_name(&field.name, known.is_some());
        if !is_known(name, known) {
            warnings.push(left_out(&field.name));
            changes.push((field.whole.clone(), Bytes::new()));
            continue;
        }
        // Lists come as `image[]` from OpenAI's clients, and as several `image` to the engine.
        if name.len() < field.name.len() {
            changes.push((field.name_at.clone(), Bytes::from(name.to_owned())));
        }
        if name == "model" {
            changes.push((field.value.clone(), Bytes::from(target.served_name.to_owned())));
        }
    }
    let plain = match known {
        Some(_) => Some(checked(&Seen::of(request, form)?, target.operation, true)?),
        None => None,
    };
    Ok(prepared(changed(&request.body, &changes), request.wants_stream()?, warnings, plain, target.operation))
}

pub(super) fn prepared(
    body: Rope,
    stream: bool,
    warnings: Vec<String>,
    plain: Option<bool>,
    operation: Operation,
) -> Prepared {
    Prepared {
        body,
        stream,
        include_usage: false,
        max_tokens: None,
        warnings,
        stops: Vec::new(),
        embeddings: None,
        transcript: plain.filter(|_| operation == Operation::Transcription),
        rest: None,
    }
}

/// What a field `stream` asks for.
pub fn wants_stream(word: &str) -> Result<bool, BadRequest> {
    match word {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(BadRequest::new("stream", "\"stream\" must be true or false")),
    }
}

pub(super) fn text(name: &str, value: Vec<u8>) -> Result<String, BadRequest> {
    if value.len() > TEXT_MAX {
        return Err(no_text(name));
    }
    String::from_utf8(value).map_err(|_| BadRequest::new(name, format!("\"{name}\" is not UTF-8")))
}

pub(super) fn twice(name: &str) -> BadRequest {
    BadRequest::new(name, format!("the field \"{name}\" comes twice; send it once"))
}

pub(super) fn no_text(name: &str) -> BadRequest {
    BadRequest::new(name, format!("\"{name}\" must be a short text"))
}

pub(super) fn left_out(name: &str) -> String {
    format!("the field \"{name}\" was left out")
}

/// A field's name to an engine of ours, which takes lists as several fields.
pub(super) fn plain_name(name: &str, ours: bool) -> &str {
    name.strip_suffix("[]").filter(|_| ours).unwrap_or(name)
}

pub(super) fn is_known(name: &str, known: Option<Fields>) -> bool {
    known.is_none_or(|known| known.iter().any(|(known, _)| *known == name))
}

/// What engines of ours need and can answer; whether the answer is to be text. Of a form that is not `whole` nothing
/// is missing yet.
pub(super) fn checked(seen: &Seen, operation: Operation, whole: bool) -> Result<bool, BadRequest> {
    let file = if operation == Operation::Transcription { "file" } else { "image" };
    if whole && !seen.has_file(file) {
        return Err(BadRequest::new(file, format!("send the {file} itself in the field \"{file}\"")));
    }
    if seen.has_file("mask") {
        return Err(BadRequest::new("mask", "this profile's engine takes no mask; leave it out"));
    }
    if seen.text("n").is_some_and(|n| n.trim() != "1") {
        return Err(BadRequest::new("n", "this profile's engine gives one image at a time; leave \"n\" out"));
    }
    let no_words = seen.text("prompt").is_none_or(|text| text.trim().is_empty());
    if whole && operation == Operation::ImageEdit && no_words {
        return Err(BadRequest::new("prompt", "describe the change in \"prompt\""));
    }
    let formats: &[&str] =
        if operation == Operation::Transcription { &["json", "text"] } else { &["b64_json"] };
    match seen.text("response_format") {
        None => Ok(false),
        Some(format) if formats.contains(&format) => Ok(format == "text"),
        Some(format) => {
            let words =
                format!("this profile's engine answers with {}, not \"{format}\"", formats.join(" or "));
            Err(BadRequest::new("response_format", words))
        }
    }
}

/// The body with some ranges, in their order, replaced.
fn changed(body: &Rope, changes: &[(Range<usize>, Bytes)]) -> Rope {
    let (mut out, mut at) = (Rope::default(), 0);
    for (range, text) in changes {
        out.push_range(body, at..range.start);
        out.push(text.clone());
        at = range.end;
    }
    out.push_range(body, at..body.len());
    out
}

#[cfg(test)]
pub mod tests {
    use serde_json::{Map, Value};

    use super::*;
    use crate::dialect::form::tests::form;
    use crate::dialect::quirks::{MLX_OPENAI_SERVER, PASSTHROUGH, Quirks};

    pub fn target<'a>(
        operation: Operation,
        quirks: &'static Quirks,
        defaults: &'a Map<String, Value>,
    ) -> Target<'a> {
        Target {
            operation,
            quirks,
            served_name: "served",
            system_prompt: None,
            defaults,
            context_length: None,
            answer_max: None,
        }
    }

    pub fn run(
        operation: Operation,
        quirks: &'static Quirks,
        fields: &[(&str, &str)],
    ) -> Result<(Vec<u8>, Prepared), BadRequest> {
        let body = Bytes::from(form(fields));
        let read = Form::read(&body, "B").unwrap();
        let defaults = Map::new();
        let target = target(operation, quirks, &defaults);
        let prepared = super::super::prepare(&Scanned::of_form(body, read), target)?;
        Ok((prepared.body.to_vec(), prepared))
    }

    #[test]
    fn the_engine_gets_its_name_and_the_fields_it_knows_whatever_their_order() {
        let file = "RIFF\r\n\0data";
        let sent = [
            ("@file", file),
            ("language", "de"),
            ("include[]", "logprobs"),
            ("model", "m"),
            ("stream", "true"),
        ];
        let (body, prepared) = run(Operation::Transcription, &MLX_OPENAI_SERVER, &sent).unwrap();
        assert_eq!(
            body,
            form(&[("@file", file), ("language", "de"), ("model", "served"), ("stream", "true")])
        );
        assert_eq!(prepared.warnings, ["the field \"include[]\" was left out"]);
        assert_eq!((prepared.stream, prepared.transcript), (true, Some(false)));
        let text = [("response_format", "text"), ("model", "m"), ("@file", file)];
        assert_eq!(
            run(Operation::Transcription, &MLX_OPENAI_SERVER, &text).unwrap().1.transcript,
            Some(true)
        );
        let (body, _) = run(
            Operation::ImageEdit,
            &MLX_OPENAI_SERVER,
            &[("model", "m"), ("@image[]", "A"), ("@image[]", "B"), ("prompt", "bluer"), ("quality", "high")],
        )
        .unwrap();
        assert_eq!(body, form(&[("model", "served"), ("@image", "A"), ("@image", "B"), ("prompt", "bluer")]));
    }

    #[test]
    fn other_servers_get_everything_under_their_models_name() {
        let sent = [("@audio[]", "x"), ("model", "m"), ("response_format", "srt")];
        let (body, prepared) = run(Operation::Transcription, &PASSTHROUGH, &sent).unwrap();
        assert_eq!(body, form(&[("@audio[]", "x"), ("model", "served"), ("response_format", "srt")]));
        assert_eq!(prepared.transcript, None);
    }

    #[test]
    fn what_the_engine_cannot_do_is_refused() {
        let transcription =
            |fields: &[(&str, &str)]| run(Operation::Transcription, &MLX_OPENAI_SERVER, fields);
        let edit = |fields: &[(&str, &str)]| run(Operation::ImageEdit, &MLX_OPENAI_SERVER, fields);
        for (told, words) in [
            (transcription(&[("model", "m")]), "send the file"),
            (transcription(&[("model", "m"), ("@file", "x"), ("response_format", "srt")]), "json or text"),
            (transcription(&[("model", "m"), ("@file", "x"), ("stream", "maybe")]), "true or false"),
            (edit(&[("model", "m"), ("prompt", "x")]), "send the image"),
            (edit(&[("model", "m"), ("@image", "x")]), "describe the change"),
            (edit(&[("model", "m"), ("@image", "x"), ("prompt", "x"), ("@mask", "x")]), "no mask"),
            (edit(&[("model", "m"), ("@image", "x"), ("prompt", "x"), ("n", "2")]), "one image"),
        ] {
            let told = told.map(drop).unwrap_err().message;
            assert!(told.contains(words), "{told}");
        }
        let named = |fields: &[(&str, &str)]| {
            let body = Bytes::from(form(fields));
            let read = Form::read(&body, "B").unwrap();
            Scanned::of_form(body, read).model().map(str::to_owned).map_err(|error| error.message)
        };
        assert_eq!(named(&[("@file", "x"), ("model", "m")]), Ok("m".to_owned()));
        assert!(named(&[("@file", "x")]).unwrap_err().contains("name the model"));
        assert!(named(&[("model", "a"), ("model", "b")]).unwrap_err().contains("comes twice"));
    }
}
