//! What a model can do beyond text: use tools, think, serve as the model behind an MCP client; and the
//! sampling its makers advise. Pure: tags, then the chat template, then the family.

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::facts::{Facts, Known, Source, Thinking};
use super::sources::Sources;
use super::{parsers, template};

/// What a model is shown a badge for: a new one is a member here, where it is found in [`all`], and its word in each
/// language of the pages. The command line shows the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Ability {
    Multimodal,
    Tools,
    Mcp,
    Thinking,
}

const TOOL_TAGS: [&str; 9] = [
    "tool-use",
    "tool_use",
    "tool-calling",
    "tool_calling",
    "tools",
    "function-calling",
    "function_calling",
    "function calling",
    "tool use",
];
const THINKING_TAGS: [&str; 3] = ["reasoning", "thinking", "chain-of-thought"];
/// Families that are trained on tools, by the beginning of `model_type`.
const TOOL_FAMILIES: [&str; 24] = [
    "qwen2",
    "qwen3",
    "llama4",
    "mistral",
    "ministral",
    "mixtral",
    "gpt_oss",
    "glm4",
    "glm_moe",
    "kimi",
    "minimax",
    "nemotron",
    "lfm2",
    "granite",
    "cohere",
    "command",
    "deepseek_v3",
    "hunyuan",
    "solar_open",
    "step3p5",
    "gemma4",
    "smollm3",
    "seed_oss",
    "functiongemma",
];
const THINKING_FAMILIES: [&str; 6] =
    ["gpt_oss", "solar_open", "step3p5", "minimax_m2", "kimi_k2_thinking", "seed_oss"];

/// What its makers advise, as far as servers take it.
const SAMPLING: [(&str, f64, f64); 6] = [
    ("temperature", 0.0, 2.0),
    ("top_p", 0.0, 1.0),
    ("top_k", 0.0, 1_000_000.0),
    ("min_p", 0.0, 1.0),
    ("repetition_penalty", 0.0, 10.0),
    ("presence_penalty", -2.0, 2.0),
];
/// Those of them that are whole numbers.
const WHOLE: &str = "top_k";

pub(super) fn judge(sources: &Sources, facts: &mut Facts) {
    facts.tool_use = tool_use(sources, facts);
    facts.thinking = thinking(sources, facts);
    facts.mcp_ready = facts.tool_use.map(|tools| {
        let read = parsers::choose(facts).tool.is_some();
        Known::new(tools.value && read, tools.source)
    });
    facts.abilities = all(facts).into_iter().flatten().collect();
}

/// Those that are known to be there, each with where that was found.
fn all(facts: &Facts) -> [Option<Known<Ability>>; 4] {
    let known = |ability, there: Option<bool>, source: Option<Source>| {
        there.filter(|there| *there).and(source).map(|source| Known::new(ability, source))
    };
    let flag = |ability, fact: Option<Known<bool>>| {
        known(ability, fact.map(|fact| fact.value), fact.map(|fact| fact.source))
    };
    [
        known(Ability::Multimodal, facts.multimodal(), facts.input.as_ref().map(|input| input.source)),
        flag(Ability::Tools, facts.tool_use),
        flag(Ability::Mcp, facts.mcp_ready),
        known(Ability::Thinking, facts.thinks(), facts.thinking.map(|thinking| thinking.source)),
    ]
}

fn tool_use(sources: &Sources, facts: &Facts) -> Option<Known<bool>> {
    if !facts.kind.writes_text() {
        return Some(Known::new(false, Source::Kind));
    }
    if has_tag(sources, &TOOL_TAGS) {
        return Some(Known::new(true, Source::Tags));
    }
    if let Some(template) = facts.chat_template.as_deref() {
        return Some(Known::new(template::takes_tools(template), Source::ChatTemplate));
    }
    family(facts, &TOOL_FAMILIES).then(|| Known::new(true, Source::Family))
}

fn thinking(sources: &Sources, facts: &Facts) -> Option<Known<Thinking>> {
    if !facts.kind.writes_text() {
        return Some(Known::new(Thinking::No, Source::Kind));
    }
    if let Some(text) = facts.chat_template.as_deref() {
        let thinks = template::thinks(text) || parsers::choose(facts).reasoning.is_some();
        let how = match (thinks, template::switches_thinking(text)) {
            (false, _) => Thinking::No,
            (true, true) => Thinking::Switchable,
            (true, false) => Thinking::Always,
        };
        return Some(Known::new(how, Source::ChatTemplate));
    }
    if has_tag(sources, &THINKING_TAGS) {
        return Some(Known::new(Thinking::Always, Source::Tags));
    }
    family(facts, &THINKING_FAMILIES).then(|| Known::new(Thinking::Always, Source::Family))
}

fn has_tag(sources: &Sources, wanted: &[&str]) -> bool {
    let of_card = sources.card.as_ref().and_then(|card| card.get("tags")?.as_array());
    let of_card = of_card.into_iter().flatten().filter_map(Value::as_str);
    let mut tags = sources.tags.iter().map(String::as_str).chain(of_card);
    tags.any(|tag| wanted.iter().any(|one| tag.eq_ignore_ascii_case(one)))
}

fn family(facts: &Facts, families: &[&str]) -> bool {
    families.iter().any(|family| facts.model_type.starts_with(family))
}

/// From generation_config.json, unless it says to take the likeliest token always.
pub(super) fn sampling(sources: &Sources) -> Option<Known<Map<String, Value>>> {
    let advised = sources.generation_config.as_ref()?.as_object()?;
    if advised.get("do_sample").and_then(Value::as_bool) == Some(false) {
        return None;
    }
    let mut sampling = Map::new();
    for (name, least, most) in SAMPLING {
        let Some(value) = advised.get(name).filter(|value| value.is_number()) else { continue };
        let fits = value.as_f64().is_some_and(|n| (least..=most).contains(&n));
        if !fits || (name == WHOLE && !value.is_u64()) {
            continue;
        }
        sampling.insert(name.to_owned(), value.clone());
    }
    (!sampling.is_empty()).then(|| Known::new(sampling, Source::GenerationConfig))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::{Kind, inspect};
    use serde_json::json;

    fn facts(config: Value, template: Option<&str>, tags: &[&str]) -> Facts {
        inspect(&Sources {
            config: Some(config),
            chat_template: template.map(str::to_owned),
            tags: tags.iter().map(ToString::to_string).collect(),
            ..Sources::default()
        })
    }

    #[test]
    fn tags_go_before_the_template_and_the_template_before_the_family() {
        let qwen = || json!({"model_type": "qwen3"});
        let tools = |facts: Facts| facts.tool_use.map(|known| (known.value, known.source));
        assert_eq!(tools(facts(qwen(), Some("plain"), &["Tool-Use"])), Some((true, Source::Tags)));
        assert_eq!(tools(facts(qwen(), Some("plain"), &[])), Some((false, Source::ChatTemplate)));
        assert_eq!(tools(facts(qwen(), Some("{% if tools %}"), &[])), Some((true, Source::ChatTemplate)));
        assert_eq!(tools(facts(qwen(), None, &[])), Some((true, Source::Family)));
        assert_eq!(tools(facts(json!({"model_type": "phi3"}), None, &[])), None);
        assert_eq!(
            tools(facts(json!({"model_type": "bert"}), None, &["tools"])),
            Some((false, Source::Kind))
        );
    }

    #[test]
    fn a_model_whose_calls_nobody_reads_is_not_ready_for_mcp() {
        let ready = |template: &str| {
            facts(json!({"model_type": "llama"}), Some(template), &[]).mcp_ready.map(|k| k.value)
        };
        assert_eq!(ready("{% if tools %}<tool_call>"), Some(true));
        assert_eq!(ready("{% if tools %}{\"name\": ...}"), Some(false));
        assert_eq!(ready("plain"), Some(false));
    }

    #[test]
    fn advice_that_no_server_takes_is_left_out() {
        let of = |advice: Value| sampling(&Sources { generation_config: Some(advice), ..Sources::default() });
        let all =
            of(json!({"do_sample": true, "temperature": 0.6, "top_k": 20, "top_p": 7, "eos_token_id": 1}))
                .unwrap();
        assert_eq!(Value::Object(all.value), json!({"temperature": 0.6, "top_k": 20}));
        assert_eq!(of(json!({"do_sample": false, "temperature": 0.6})), None);
        assert_eq!(of(json!({"temperature": "hot", "top_k": 2.5})), None);
    }

    #[test]
    fn badges_name_what_is_known_to_be_there_and_where_it_was_found() {
        let badges = |facts: Facts| {
            facts.abilities.iter().map(|known| (known.value, known.source)).collect::<Vec<_>>()
        };
        let sees = json!({"model_type": "qwen2_5_vl", "vision_config": {}});
        let all = badges(facts(sees, Some("{% if tools %}<tool_call>{% endif %}<think>"), &["tool-use"]));
        let named: Vec<_> = all.iter().map(|(ability, _)| *ability).collect();
        assert_eq!(named, [Ability::Multimodal, Ability::Tools, Ability::Mcp, Ability::Thinking]);
        assert_eq!(all[1].1, Source::Tags);
        assert_eq!(all[3].1, Source::ChatTemplate);
        assert_eq!(badges(facts(json!({"model_type": "llama"}), Some("plain"), &[])), []);
        assert_eq!(badges(facts(json!({"model_type": "phi3"}), None, &[])), []);
    }

    #[test]
    fn kinds_that_write_no_text_do_not_think() {
        let whisper = facts(json!({"model_type": "whisper"}), None, &[]);
        assert_eq!(whisper.kind, Kind::Whisper);
        assert_eq!(whisper.thinks(), Some(false));
    }
}
