//! What facts are made of, wherever it comes from: a folder's files and a hub's answers take the same
//! way from here. Pure; knows neither files nor networks.

use serde_json::Value;

use super::facts::{Experts, Facts, Known, Source};
use super::safetensors::Header;
use super::{abilities, attention, card, config, context, kind, quantization, template, weights};

/// Everything that may be known before a weight is read. All of it may be missing.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// config.json
    pub config: Option<Value>,
    /// generation_config.json
    pub generation_config: Option<Value>,
    /// tokenizer_config.json; only `chat_template` and `model_max_length` of it count.
    pub tokenizer_config: Option<Value>,
    /// chat_template.jinja, or `chat_template` of chat_template.json; goes before the tokenizer's.
    pub chat_template: Option<String>,
    /// The tables at the beginning of all the weights' files (see [`super::safetensors`]); empty
    /// where they were not read.
    pub headers: Vec<Header>,
    /// model.safetensors.index.json
    pub index: Option<Value>,
    /// `safetensors` of the Hub's model info: `{"parameters": {"BF16": 1, "U32": 2}, "total": 3}`.
    pub hub_safetensors: Option<Value>,
    /// Every file, weights included.
    pub files: Vec<ModelFile>,
    /// `tags` of the Hub's model info.
    pub tags: Vec<String>,
    /// `pipeline_tag` of the Hub's model info.
    pub pipeline_tag: Option<String>,
    /// `cardData` of the Hub's model info, or the front matter of README.md.
    pub card: Option<Value>,
}

/// A file of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelFile {
    /// Relative to the model's folder, with `/`.
    pub path: String,
    pub bytes: Option<u64>,
}

/// All the facts that follow. Never fails: what cannot be made out is unknown.
pub fn inspect(sources: &Sources) -> Facts {
    let chat_template = template::of(sources);
    let kind = kind::of(sources);
    let settings = config::Settings::of(sources.config.as_ref());
    let quantization = quantization::of(sources);
    let mut facts = Facts {
        kind,
        model_type: settings.root_text("model_type"),
        architectures: settings.architectures(),
        parameters: weights::parameters(sources, quantization.as_ref().map(|known| &known.value)),
        experts: experts(&settings),
        context_length: context::of(sources, &settings, kind),
        kv_cache: attention::of(&settings, kind),
        input: kind::input(sources, kind),
        output: kind::output(sources, kind),
        license: card::license(sources),
        weights_bytes: weights::bytes(sources),
        size_bytes: weights::size(sources),
        sampling: abilities::sampling(sources),
        quantization,
        chat_template,
        ..Facts::default()
    };
    if facts.model_type.is_empty() {
        facts.model_type = settings.text("model_type").unwrap_or_default().to_owned();
    }
    weights::bits_per_weight(&mut facts);
    abilities::judge(sources, &mut facts);
    facts
}

fn experts(settings: &config::Settings<'_>) -> Option<Known<Experts>> {
    let total =
        settings.number(&["num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts"])?;
    let per_token =
        settings.number(&["num_experts_per_tok", "num_experts_per_token", "moe_topk", "top_k_experts"]);
    (total > 1).then(|| Known::new(Experts { total, per_token }, Source::Config))
}
