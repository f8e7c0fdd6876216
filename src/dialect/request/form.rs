//! Forms made fit for their engine: their model's name, and the fields that it knows. Files stay where they
//! lie.

use std::ops::Range;

use bytes::Bytes;

use super::{BadRequest, Prepared, Scanned, Target};
use crate::dialect::form::{Field, Form};
use crate::dialect::operation::Operation;
use crate::dialect::rope::Rope;

/// Bytes of a field that is read.
const TEXT_MAX: usize = 64 << 10;

impl Scanned {
    /// The value of a field that is no file.
    pub fn form_text(&self, name: &str) -> Result<Option<String>, BadRequest> {
        let Some(form) = &self.form else { return Ok(None) };
        let mut named = form.fields.iter().filter(|field| field.name == name);
        let Some(field) = named.next() else { return Ok(None) };
        if named.next().is_some() {
            return Err(BadRequest::new(name, format!("the field \"{name}\" comes twice; send it once")));
        }
        if field.is_file || field.value.len() > TEXT_MAX {
            return Err(BadRequest::new(name, format!("\"{name}\" must be a short text")));
        }
        let text = String::from_utf8(self.body.read(field.value.clone()));
        let text = text.map_err(|_| BadRequest::new(name, format!("\"{name}\" is not UTF-8")))?;
        Ok(Some(text))
    }
}

pub fn prepare(request: &Scanned, form: &Form, target: Target<'_>) -> Result<Prepared, BadRequest> {
    let known = target.quirks.fields_of(target.operation);
    let mut warnings = Vec::new();
    let mut changes: Vec<(Range<usize>, Bytes)> = Vec::new();
    for field in &form.fields {
        let name = field.name.strip_suffix("[]").filter(|_| known.is_some()).unwrap_or(&field.name);
        if known.is_some_and(|known| !known.iter().any(|(known, _)| *known == name)) {
            warnings.push(format!("the field \"{}\" was left out", field.name));
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
    let plain = if known.is_some() { checked(request, form, target.operation)? } else { false };
    Ok(Prepared {
        body: changed(&request.body, &changes),
        stream: request.wants_stream()?,
        include_usage: false,
        max_tokens: None,
        warnings,
        stops: Vec::new(),
        embeddings: None,
        transcript: (known.is_some() && target.operation == Operation::Transcription).then_some(plain),
    })
}

/// What engines of ours need and can answer; whether the answer is to be text.
fn checked(request: &Scanned, form: &Form, operation: Operation) -> Result<bool, BadRequest> {
    let is_file = |field: &&Field, name: &str| field.is_file && field.name.trim_end_matches("[]") == name;
    let file = if operation == Operation::Transcription { "file" } else { "image" };
    if !form.fields.iter().any(|field| is_file(&field, file)) {
        return Err(BadRequest::new(file, format!("send the {file} itself in the field \"{file}\"")));
    }
    if form.fields.iter().any(|field| is_file(&field, "mask")) {
        return Err(BadRequest::new("mask", "this profile's engine takes no mask; leave it out"));
    }
    if request.form_text("n")?.is_some_and(|n| n.trim() != "1") {
        return Err(BadRequest::new("n", "this profile's engine gives one image at a time; leave \"n\" out"));
    }
    if operation == Operation::ImageEdit
        && request.form_text("prompt")?.is_none_or(|text| text.trim().is_empty())
    {
        return Err(BadRequest::new("prompt", "describe the change in \"prompt\""));
    }
    let formats: &[&str] =
        if operation == Operation::Transcription { &["json", "text"] } else { &["b64_json"] };
    match request.form_text("response_format")? {
        None => Ok(false),
        Some(format) if formats.contains(&format.as_str()) => Ok(format == "text"),
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
mod tests {
    use serde_json::Map;

    use super::*;
    use crate::dialect::form::tests::form;
    use crate::dialect::quirks::{MLX_OPENAI_SERVER, PASSTHROUGH, Quirks};

    fn run(
        operation: Operation,
        quirks: &'static Quirks,
        fields: &[(&str, &str)],
    ) -> Result<(Vec<u8>, Prepared), BadRequest> {
        let body = Bytes::from(form(fields));
        let read = Form::read(&body, "B").unwrap();
        let defaults = Map::new();
        let target = Target {
            operation,
            quirks,
            served_name: "served",
            system_prompt: None,
            defaults: &defaults,
            context_length: None,
            answer_max: None,
        };
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
