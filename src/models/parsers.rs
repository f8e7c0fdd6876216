//! Owns the choice of tool and reasoning parsers for `mlx-openai-server`, which detects neither:
//! without the right one, `<tool_call>` and `<think>` text comes out as content. Pure; must not
//! know how the server is launched.

use super::{Facts, template};

/// Names for `--tool-call-parser` and `--reasoning-parser`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Parsers {
    pub tool: Option<&'static str>,
    pub reasoning: Option<&'static str>,
}

/// Tool markers that a template teaches its model, most telling first, and the parser for each.
const TOOL_MARKERS: &[(&str, &str)] = &[
    ("<|channel|>", "harmony"),
    ("<|tool_calls_section_begin|>", "kimi_k2"),
    ("<minimax:tool_call>", "minimax_m2"),
    ("<longcat_tool_call>", "longcat_flash_lite"),
    ("<start_function_call>", "functiongemma"),
    ("<|tool_call:begin|>", "solar_open"),
    ("<tool_call|>", "gemma4"),
    ("<arg_key>", "glm4_moe"),
    ("<function=", "qwen3_coder"),
    ("<tool_call>", "hermes"),
];

/// Families whose parsers are known by name, by the beginning of config.json's `model_type`.
const FAMILIES: &[(&str, Parsers)] = &[
    ("gpt_oss", Parsers { tool: Some("harmony"), reasoning: Some("harmony") }),
    ("gemma4", Parsers { tool: Some("gemma4"), reasoning: Some("gemma4") }),
    ("solar_open", Parsers { tool: Some("solar_open"), reasoning: Some("solar_open") }),
    ("step3p5", Parsers { tool: Some("step_35"), reasoning: Some("step_35") }),
];

/// The parsers for a model, from its chat template first (a fine-tune keeps its base's
/// architecture, but not its markers) and its family where the markers do not tell.
pub fn choose(facts: &Facts) -> Parsers {
    let family = FAMILIES.iter().find(|(prefix, _)| facts.model_type.starts_with(prefix));
    if let Some((_, parsers)) = family {
        return *parsers;
    }
    let Some(template) = facts.chat_template.as_deref() else { return Parsers::default() };
    let tool = TOOL_MARKERS.iter().find(|(marker, _)| template.contains(marker)).map(|(_, parser)| *parser);
    Parsers { tool: tool.map(|name| refined(name, &facts.model_type)), reasoning: reasoning(template, tool) }
}

/// Parsers that read the same format may convert messages differently on the way in.
fn refined(tool: &'static str, model_type: &str) -> &'static str {
    match tool {
        "qwen3_coder" if model_type.starts_with("nemotron") => "nemotron3_nano",
        "hermes" if model_type.starts_with("iquest") => "iquest_coder_v1",
        _ => tool,
    }
}

/// The four parsers for `<think>` differ in whether the prompt opened it already, and whether
/// `enable_thinking` off means that there is nothing to parse.
fn reasoning(template: &str, tool: Option<&str>) -> Option<&'static str> {
    if tool == Some("harmony") {
        return Some("harmony");
    }
    if tool == Some("gemma4") {
        return Some("gemma4");
    }
    if template.contains("<|think|>") {
        return Some("solar_open");
    }
    let thinking = template::thinking(template)?;
    Some(match (thinking.opened_by_prompt, thinking.switchable) {
        (true, true) => "qwen3_5",
        (true, false) => "qwen3_moe",
        (false, true) => "qwen3",
        (false, false) => "hermes",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsers(model_type: &str, template: &str) -> (Option<&'static str>, Option<&'static str>) {
        let chosen = choose(&Facts {
            model_type: model_type.into(),
            chat_template: Some(template.into()),
            ..Facts::default()
        });
        (chosen.tool, chosen.reasoning)
    }

    #[test]
    fn the_template_tells_the_parsers() {
        let switchable = "<tool_call>{%- if add_generation_prompt %}{%- if enable_thinking is false %}'<think>\\n\\n</think>\\n\\n'";
        assert_eq!(parsers("qwen3", switchable), (Some("hermes"), Some("qwen3")));
        let opened = "<tool_call><function={%- if add_generation_prompt %}{% if enable_thinking is false %}'<think>\\n\\n</think>'{% else %}'<think>\\n'";
        assert_eq!(parsers("qwen3_5", opened), (Some("qwen3_coder"), Some("qwen3_5")));
        let always = "<tool_call>{% if add_generation_prompt %}'<think>\\n'";
        assert_eq!(parsers("qwen3_moe", always), (Some("hermes"), Some("qwen3_moe")));
        let plain = "'</think>'{% if add_generation_prompt %}'assistant'";
        assert_eq!(parsers("llama", plain), (None, Some("hermes")));
        assert_eq!(parsers("llama", "{{ messages }}"), (None, None));
        assert_eq!(parsers("glm4_moe", "<tool_call><arg_key>"), (Some("glm4_moe"), None));
        assert_eq!(parsers("kimi_k2", "<|tool_calls_section_begin|>"), (Some("kimi_k2"), None));
        assert_eq!(parsers("nemotron_h", "<tool_call><function="), (Some("nemotron3_nano"), None));
        assert_eq!(parsers("minimax_m2", "<minimax:tool_call>").0, Some("minimax_m2"));
        assert_eq!(parsers("any", "<|channel|>analysis"), (Some("harmony"), Some("harmony")));
    }

    #[test]
    fn a_family_known_by_name_needs_no_template() {
        let facts = Facts { model_type: "gpt_oss".into(), ..Facts::default() };
        let harmony = Parsers { tool: Some("harmony"), reasoning: Some("harmony") };
        assert_eq!(choose(&facts), harmony);
    }

    #[test]
    fn a_model_that_says_nothing_gets_no_parser() {
        let facts = Facts { model_type: "llama".into(), ..Facts::default() };
        assert_eq!(choose(&facts), Parsers::default());
    }
}
