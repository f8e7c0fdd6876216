//! What is refused, with the field at fault: answering it wrongly would be worse.

use super::{BadRequest, Scanned};
use crate::dialect::quirks::Quirks;
use crate::dialect::scan::{Kind, Member, Scan};

/// Only media that are in the request itself may reach a backend: it would open local paths and
/// fetch any address.
pub fn media(scan: &Scan, managed: bool) -> Result<(), BadRequest> {
    match &scan.foreign_media {
        Some(found) if managed || !found.bare => Err(BadRequest::new(
            "messages",
            format!(
                "the {} at byte {} is not a data: URL; send the content itself, as data:<type>;base64,<content>",
                found.part, found.at
            ),
        )),
        _ => Ok(()),
    }
}

/// There must be something to answer.
pub fn messages(request: &Scanned) -> Result<(), BadRequest> {
    let ask = "\"messages\" must be a list with at least one message";
    match request.scan.get("messages") {
        Some(member) if member.kind == Kind::Array && !is_empty_list(request, member) => Ok(()),
        _ => Err(BadRequest::new("messages", ask)),
    }
}

/// Wrong types are named before an engine drops the connection over them.
pub fn kinds(scan: &Scan, fields: &[(&str, &[Kind])]) -> Result<(), BadRequest> {
    for member in scan.members.iter().filter(|member| member.kind != Kind::Null) {
        let Some((name, kinds)) = fields.iter().find(|(name, _)| *name == member.key) else { continue };
        if !kinds.contains(&member.kind) {
            let wanted: Vec<&str> = kinds.iter().map(|kind| word(*kind)).collect();
            let message = format!("\"{name}\" must be {}, not {}", wanted.join(" or "), word(member.kind));
            return Err(BadRequest::new(name, message));
        }
    }
    Ok(())
}

/// What the engine would ignore in silence.
pub fn unsupported(request: &Scanned, quirks: &Quirks) -> Result<(), BadRequest> {
    let given = |key, kind| request.scan.get(key).filter(|member| member.kind == kind);
    if let Some(member) = given("n", Kind::Number)
        && request.value::<f64>(member)? != 1.0
    {
        let message = "this profile's engine gives one answer at a time; send \"n\": 1";
        return Err(BadRequest::new("n", message));
    }
    if let Some(member) = given("logprobs", Kind::Bool).filter(|_| !quirks.logprobs)
        && request.value::<bool>(member)?
    {
        return Err(BadRequest::new("logprobs", "this profile's engine gives no logprobs"));
    }
    Ok(())
}

/// Whether a list holds nothing; looks at its first bytes only, for it may hold megabytes.
pub fn is_empty_list(request: &Scanned, list: &Member) -> bool {
    let inside = list.value.start + 1..list.value.end.min(list.value.start + 64);
    request.body.read(inside).iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b']')
}

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Null => "null",
        Kind::Bool => "true or false",
        Kind::Number => "a number",
        Kind::String => "a string",
        Kind::Array => "a list",
        Kind::Object => "an object",
    }
}
