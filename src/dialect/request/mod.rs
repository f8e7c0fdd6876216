//! A client's request made fit for its engine, by byte-range edits: model name, prompt, defaults,
//! limits, and the fields the engine may see. Pure; what cannot be served is refused here, before
//! any backend is started for it.

mod checks;
mod fill;
mod form;
mod plain;
mod rewrite;

pub use rewrite::{FormEnd, Rewrite, text_of};

#[cfg(test)]
mod tests;

use bytes::Bytes;
use serde_json::{Map, Value};

use super::edit::Edits;
use super::embeddings::Wish;
use super::form::Form;
use super::operation::Operation;
use super::parts::Part;
use super::quirks::Quirks;
use super::rope::Rope;
use super::scan::{Kind, Member, Scan};
use crate::bodies::Weight;

/// Tokens an answer may have when neither client nor profile sets a limit, so that an abandoned or
/// endless generation ends.
pub const DEFAULT_MAX_TOKENS: u64 = 32_768;

/// Bytes of a field that cannot be too large as a tree.
const LONG_VALUE: usize = 64 << 10;

const NO_MODEL: &str = "name the model in \"model\": a profile's name or alias";

/// A body with what one pass found in it.
#[derive(Debug, Clone)]
pub struct Scanned {
    pub body: Rope,
    pub scan: Scan,
    model: Result<String, BadRequest>,
    stream: Result<bool, BadRequest>,
    /// Where the fields lie, of a body that is a form.
    form: Option<Form>,
    /// What has come of a form that is still arriving.
    open: Option<Vec<Part>>,
}

/// What the profile and its engine make of a request.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    pub operation: Operation,
    pub quirks: &'static Quirks,
    /// The name the engine knows its model by.
    pub served_name: &'a str,
    pub system_prompt: Option<&'a str>,
    pub defaults: &'a Map<String, Value>,
    /// Tokens the context holds, when known.
    pub context_length: Option<u32>,
    /// Tokens of an answer to which neither client nor profile sets a limit, where those are counted.
    pub answer_max: Option<u64>,
}

/// A request as it leaves.
#[derive(Debug, Clone)]
pub struct Prepared {
    pub body: Rope,
    /// Whether the client wants a stream.
    pub stream: bool,
    /// Whether the client wants the usage as a last chunk.
    pub include_usage: bool,
    /// The limit that reaches the engine.
    pub max_tokens: Option<u64>,
    /// What was dropped, in words for the record.
    pub warnings: Vec<String>,
    /// What ends the answer, for engines that do not see it in text.
    pub stops: Vec<String>,
    /// How embeddings are wanted, where the engine's answer has to be made so.
    pub embeddings: Option<Wish>,
    /// An engine of ours transcribes: its answer has to be put right, and whether it is to be text.
    pub transcript: Option<bool>,
    /// What is to be done with what is still arriving of the body.
    pub rest: Option<Rewrite>,
}

/// Why a request cannot be served as it is; always the client's to mend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct BadRequest {
    pub message: String,
    /// The field at fault.
    pub param: Option<String>,
}

impl BadRequest {
    pub(super) fn new(param: &str, message: impl Into<String>) -> Self {
        BadRequest { message: message.into(), param: Some(param.into()) }
    }
}

impl Scanned {
    /// Reads the two members that decide the way of every request.
    pub fn new(body: Rope, scan: Scan) -> Scanned {
        let unread = || Err(BadRequest::new("model", ""));
        let mut scanned = Scanned { body, scan, model: unread(), stream: Ok(false), form: None, open: None };
        scanned.model = scanned.read_model();
        scanned.stream = scanned.read_stream();
        scanned
    }

    /// The same of a form.
    pub fn of_form(body: Bytes, form: Form) -> Scanned {
        let body = Rope::from(body);
        let mut scanned = Scanned {
            body,
            scan: Scan::none(),
            model: Ok(String::new()),
            stream: Ok(false),
            form: Some(form),
            open: None,
        };
        scanned.model = scanned.form_text("model").and_then(|name| match name {
            Some(name) if !name.trim().is_empty() => Ok(name),
            _ => Err(BadRequest::new("model", NO_MODEL)),
        });
        let stream = scanned.form_text("stream");
        scanned.stream = stream.and_then(|word| word.map_or(Ok(false), |word| form::wants_stream(&word)));
        scanned
    }

    /// The same of a form that is still arriving: what has come of it. What it asks beside its model may come later.
    pub fn of_open_form(parts: Vec<Part>) -> Scanned {
        let model = text_of(&parts, "model").and_then(|name| match name {
            Some(name) if !name.trim().is_empty() => Ok(name),
            _ => Err(BadRequest::new("model", NO_MODEL)),
        });
        let stream = text_of(&parts, "stream");
        let stream = stream.and_then(|word| word.map_or(Ok(false), |word| form::wants_stream(&word)));
        let (body, scan) = (Rope::default(), Scan::none());
        Scanned { body, scan, model, stream, form: None, open: Some(parts) }
    }

    /// The `model` the client asks for.
    pub fn model(&self) -> Result<&str, BadRequest> {
        self.model.as_deref().map_err(Clone::clone)
    }

    /// Whether the client wants a stream.
    pub fn wants_stream(&self) -> Result<bool, BadRequest> {
        self.stream.clone()
    }

    /// A field's value; none: absent or null.
    pub fn json(&self, key: &str) -> Result<Option<Value>, BadRequest> {
        let Some(member) = self.scan.get(key).filter(|member| member.kind != Kind::Null) else {
            return Ok(None);
        };
        if member.value.len() > LONG_VALUE {
            let weight = Weight::of(&self.body.read(member.value.clone()));
            weight.check().map_err(|error| BadRequest::new(key, error.to_string()))?;
        }
        self.value(member).map(Some)
    }

    /// The same of a field that has to be a string.
    pub fn text(&self, key: &str) -> Result<Option<String>, BadRequest> {
        match self.json(key)? {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(BadRequest::new(key, format!("\"{key}\" must be a string"))),
        }
    }

    fn read_model(&self) -> Result<String, BadRequest> {
        match self.scan.get("model") {
            Some(member) if member.kind == Kind::String => {
                let name: String = self.value(member)?;
                if name.trim().is_empty() { Err(BadRequest::new("model", NO_MODEL)) } else { Ok(name) }
            }
            Some(_) => Err(BadRequest::new("model", "\"model\" must be a string")),
            None => Err(BadRequest::new("model", NO_MODEL)),
        }
    }

    fn read_stream(&self) -> Result<bool, BadRequest> {
        match self.scan.get("stream") {
            Some(member) if member.kind == Kind::Bool => self.value(member),
            Some(member) if member.kind != Kind::Null => {
                Err(BadRequest::new("stream", "\"stream\" must be true or false"))
            }
            _ => Ok(false),
        }
    }

    fn value<T: serde::de::DeserializeOwned>(&self, member: &Member) -> Result<T, BadRequest> {
        serde_json::from_slice(&self.body.read(member.value.clone())).map_err(|error| {
            BadRequest::new(&member.key, format!("\"{}\" cannot be read: {error}", member.key))
        })
    }
}

/// Makes the request fit for `target`, or says why it cannot be.
pub fn prepare(request: &Scanned, target: Target<'_>) -> Result<Prepared, BadRequest> {
    let stream = request.wants_stream()?;
    let include_usage = include_usage(request)?;
    let quirks = target.quirks;
    if let Some(form) = &request.form {
        return form::prepare(request, form, target);
    }
    if let Some(parts) = &request.open {
        return rewrite::prepare(request, parts, target);
    }
    checks::media(&request.scan, quirks.fields.is_some())?;
    if target.operation != Operation::Chat {
        return plain::prepare(request, target, include_usage);
    }
    let mut edits = Edits::default();
    let mut warnings = Vec::new();
    if let Some(fields) = quirks.fields {
        checks::messages(request)?;
        checks::kinds(&request.scan, fields)?;
        checks::unsupported(request, quirks)?;
        drop_unknown(&request.scan, fields, &mut edits, &mut warnings);
    }
    name_model(request, target, &mut edits)?;
    if quirks.no_developer {
        for role in &request.scan.developer_roles {
            edits.replace(role.clone(), &b"\"system\""[..]);
        }
    }
    fill::system_prompt(request, target.system_prompt, &mut edits);
    let stops = fill::stop(request, target, &mut edits)?;
    fill::template_arguments(request, target, &mut edits)?;
    fill::tool_choice(request, quirks, &mut edits);
    fill::stream(request, quirks, &mut edits);
    let max_tokens = fill::max_tokens(request, target, &mut edits)?;
    fill::defaults(request, target, &mut edits);
    Ok(Prepared {
        body: edits.apply(&request.body, &request.scan),
        stream,
        include_usage,
        max_tokens,
        warnings,
        stops,
        embeddings: None,
        transcript: None,
        rest: None,
    })
}

#[cfg(test)]
pub fn scanned_for_tests(body: &str) -> Scanned {
    let mut scanner = super::scan::Scanner::default();
    scanner.feed(body.as_bytes()).unwrap();
    let rope = Rope::from(bytes::Bytes::copy_from_slice(body.as_bytes()));
    Scanned::new(rope, scanner.finish().unwrap())
}

fn include_usage(request: &Scanned) -> Result<bool, BadRequest> {
    let Some(member) = request.scan.get("stream_options").filter(|member| member.kind != Kind::Null) else {
        return Ok(false);
    };
    let options: Value = request.value(member)?;
    match options.get("include_usage") {
        None | Some(Value::Null) if options.is_object() => Ok(false),
        Some(Value::Bool(wanted)) => Ok(*wanted),
        _ => Err(BadRequest::new(
            "stream_options",
            "\"stream_options\" must be an object; its \"include_usage\" true or false",
        )),
    }
}

/// Leaves out what the engine may not see, and what is null: for it, null is not the same as absent.
fn drop_unknown(scan: &Scan, fields: &[(&str, &[Kind])], edits: &mut Edits, warnings: &mut Vec<String>) {
    for (index, member) in scan.members.iter().enumerate() {
        let known = fields.iter().any(|(name, _)| *name == member.key);
        if !known {
            warnings.push(format!("the field \"{}\" was left out", member.key));
        }
        if !known || member.kind == Kind::Null {
            edits.drop_member(index);
        }
    }
}

fn name_model(request: &Scanned, target: Target<'_>, edits: &mut Edits) -> Result<(), BadRequest> {
    let Some(index) = request.scan.members.iter().position(|member| member.key == "model") else {
        return Ok(());
    };
    if !target.quirks.names_model {
        edits.drop_member(index);
    } else if request.model()? != target.served_name {
        let range = request.scan.members[index].value.clone();
        edits.replace(range, Value::from(target.served_name).to_string());
    }
    Ok(())
}
