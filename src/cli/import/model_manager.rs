//! MLX Model Manager's database: its server profiles become profiles here.

use std::path::Path;

use serde_json::json;

use super::{Found, Imported};
use crate::store::model_manager::{self, ServerProfile};

pub fn read(source: &Path) -> Result<Found, String> {
    let read = model_manager::read(source).map_err(|error| error.to_string())?;
    let mut found = Found { program: "MLX Model Manager", ..Found::default() };
    if read.accounts > 0 {
        found.left_out.push(format!(
            "{} accounts; people register anew, and an administrator approves them",
            read.accounts
        ));
    }
    found.profiles = read.profiles.iter().map(profile).collect();
    Ok(found)
}

/// One server of theirs.
pub fn profile(theirs: &ServerProfile) -> Imported {
    let mut ours = Imported::new(&theirs.name);
    ours.set("model", theirs.model_path.as_str());
    if theirs.model_type != "lm" {
        ours.set("model_type", theirs.model_type.as_str());
    }
    for (key, text) in [("description", &theirs.description), ("system_prompt", &theirs.system_prompt)] {
        if let Some(text) = text.as_ref().filter(|text| !text.is_empty()) {
            ours.set(key, text.as_str());
        }
    }
    if let Some(context) = theirs.context_length {
        ours.set("context_length", context);
    }
    // One at a time was its default, and said nothing of what the machine can do.
    if theirs.max_concurrency > 1 {
        ours.set("max_concurrent", theirs.max_concurrency);
    }
    ours.set("queue", json!({"size": theirs.queue_size, "timeout": format!("{}s", theirs.queue_timeout)}));
    if theirs.auto_start {
        ours.set("preload", true);
    }
    ours.leave_out(format!("port {}: clients name the profile instead", theirs.port));
    if theirs.trust_remote_code {
        ours.leave_out("trust_remote_code: set it by hand if the model needs it");
    }
    let automatic = [
        ("tool_call_parser", &theirs.tool_call_parser),
        ("reasoning_parser", &theirs.reasoning_parser),
        ("message_converter", &theirs.message_converter),
    ];
    for (name, value) in automatic {
        if let Some(value) = value.as_ref().filter(|value| !value.is_empty()) {
            ours.leave_out(format!("{name} {value}: chosen from the model"));
        }
    }
    if let Some(file) = theirs.chat_template_file.as_ref().filter(|file| !file.is_empty()) {
        ours.leave_out(format!("chat_template_file: extra_args = [\"--chat-template-file\", {file:?}]"));
    }
    ours
}
