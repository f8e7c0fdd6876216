//! Owns the questions asked of a chat template's text. A template is not run: what a model writes
//! is told by the markers its template teaches it.

use std::path::Path;

use serde_json::Value;

use super::folder;
use super::sources::Sources;

/// Markers of thinking besides `<think>`.
const THINKING_MARKERS: [&str; 7] = [
    "<think>",
    "</think>",
    "<|channel|>analysis",
    "[THINK]",
    "<|think|>",
    "reasoning_content",
    "<|START_THINKING|>",
];
/// What switches thinking, by the families' own names.
const SWITCHES: [&str; 6] = [
    "enable_thinking",
    "reasoning_effort",
    "thinking_budget",
    "reasoning_mode",
    "thinking is defined",
    "/no_think",
];

/// The template stands in a file of its own, or in the tokenizer's settings: as text, or as a list
/// of named ones, of which the one for tools is the fuller.
pub(super) fn of(sources: &Sources) -> Option<String> {
    if let Some(template) = &sources.chat_template {
        return Some(template.clone());
    }
    in_settings(sources.tokenizer_config.as_ref()?)
}

/// Returns the template that has a file of its own in a model's folder.
pub fn in_folder(folder: &Path) -> Option<String> {
    folder::template_file(folder).ok()?
}

/// Returns the template of a tokenizer's settings.
pub fn in_settings(settings: &Value) -> Option<String> {
    match settings.get("chat_template")? {
        Value::String(template) => Some(template.clone()),
        Value::Array(named) => named_template(named),
        _ => None,
    }
}

/// Whether it puts tools into the prompt.
pub fn takes_tools(template: &str) -> bool {
    template.contains("tools") || template.contains("tool_call")
}

/// Whether it knows of thinking in any of the usual ways.
pub fn thinks(template: &str) -> bool {
    THINKING_MARKERS.iter().any(|marker| template.contains(marker))
}

/// Whether a request can switch the thinking.
pub fn switches_thinking(template: &str) -> bool {
    SWITCHES.iter().any(|switch| template.contains(switch))
}

/// How thinking is marked with `<think>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thinking {
    /// The prompt itself ends with the opening marker, so that the model only writes the closing one.
    pub opened_by_prompt: bool,
    /// `enable_thinking` switches it off.
    pub switchable: bool,
}

/// How the template marks thinking, or `None` where it does not know `<think>`.
pub fn thinking(template: &str) -> Option<Thinking> {
    (template.contains("<think>") || template.contains("</think>")).then(|| Thinking {
        opened_by_prompt: opened_by_prompt(template),
        switchable: template.contains("enable_thinking"),
    })
}

pub(super) fn named_template(named: &[Value]) -> Option<String> {
    let text = |entry: &Value, key: &str| entry.get(key).and_then(Value::as_str).map(str::to_owned);
    let find = |name: &str| named.iter().find(|entry| text(entry, "name").as_deref() == Some(name));
    let entry = find("tool_use").or_else(|| find("default")).or_else(|| named.first())?;
    text(entry, "template").filter(|template| !template.is_empty())
}

/// Looks behind the last mention of `add_generation_prompt`, where the reply's beginning is
/// written, for an opening marker that is not closed at once (as `<think>\n\n</think>` is, which
/// stands for "no thinking").
fn opened_by_prompt(template: &str) -> bool {
    let Some((_, ending)) = template.rsplit_once("add_generation_prompt") else { return false };
    ending.split("<think>").skip(1).any(|rest| !skip_blank(rest).starts_with("</think>"))
}

/// Skips white space, written out or as the escape `\n`.
fn skip_blank(mut text: &str) -> &str {
    loop {
        let trimmed = text.trim_start();
        let trimmed = trimmed.strip_prefix("\\n").unwrap_or(trimmed);
        if trimmed.len() == text.len() {
            return text;
        }
        text = trimmed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SWITCHED: &str = r"<think></think>{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}
        {%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\n\n</think>\n\n' }}{%- endif %}{%- endif %}";

    #[test]
    fn a_template_that_closes_thinking_at_once_does_not_open_it() {
        assert_eq!(thinking(SWITCHED), Some(Thinking { opened_by_prompt: false, switchable: true }));
    }

    #[test]
    fn a_template_that_ends_inside_of_thinking_opens_it() {
        let always = r"{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n<think>\n' }}{%- endif %}";
        assert_eq!(thinking(always), Some(Thinking { opened_by_prompt: true, switchable: false }));
        let by_default = r"{% if add_generation_prompt %}{% if enable_thinking is false %}{{ '<think>\n\n</think>\n\n' }}{% else %}{{ '<think>\n' }}{% endif %}{% endif %}";
        assert_eq!(thinking(by_default), Some(Thinking { opened_by_prompt: true, switchable: true }));
    }

    #[test]
    fn a_template_without_markers_does_not_think() {
        assert_eq!(thinking("{{ messages }}{% if add_generation_prompt %}{% endif %}"), None);
    }
}
