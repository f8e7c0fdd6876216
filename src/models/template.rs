//! Owns the questions asked of a chat template's text. A template is not run: what a model writes
//! is told by the markers its template teaches it.

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

/// Looks behind the last mention of `add_generation_prompt`, where the reply's beginning is
/// written, for an opening marker that is not closed at once (as `<think>\n\n</think>` is, which
/// stands for "no thinking").
fn opened_by_prompt(template: &str) -> bool {
    let Some(start) = template.rfind("add_generation_prompt") else { return false };
    let mut rest = &template[start..];
    while let Some(at) = rest.find("<think>") {
        rest = &rest[at + "<think>".len()..];
        if !skip_blank(rest).starts_with("</think>") {
            return true;
        }
    }
    false
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
