//! How long a text a model was made for. Pure.

use serde_json::Value;

use super::config::{Settings, whole};
use super::facts::{Kind, Known, Source};
use super::sources::Sources;

const NAMES: [&str; 9] = [
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "seq_length",
    "max_sequence_length",
    "n_ctx",
    "model_max_length",
    "max_target_positions",
    "n_text_ctx",
];
/// Tokenizers write absurd lengths where they know none.
const MOST_OF_A_TOKENIZER: u64 = 1 << 28;

pub(super) fn of(sources: &Sources, settings: &Settings<'_>, kind: Kind) -> Option<Known<u64>> {
    if matches!(kind, Kind::ImageGeneration | Kind::ImageEdit) {
        return None;
    }
    let said = settings.number(&NAMES).filter(|tokens| *tokens > 0);
    let stretched =
        ["rope_scaling", "rope_parameters"].iter().find_map(|name| stretched(settings.get(name)?));
    if let Some(tokens) = said.max(stretched) {
        return Some(Known::new(tokens, Source::Config));
    }
    let length = sources.tokenizer_config.as_ref()?.get("model_max_length").and_then(whole)?;
    (1..=MOST_OF_A_TOKENIZER).contains(&length).then(|| Known::new(length, Source::TokenizerConfig))
}

/// YaRN is often switched on without the longer length being written down as well. The other ways of
/// scaling describe how the written length came about.
fn stretched(scaling: &Value) -> Option<u64> {
    let kind = scaling.get("rope_type").or_else(|| scaling.get("type"))?.as_str()?;
    if kind != "yarn" {
        return None;
    }
    let original = scaling.get("original_max_position_embeddings").and_then(whole)?;
    let factor = scaling.get("factor")?.as_f64().filter(|factor| (1.0..=1024.0).contains(factor))?;
    Some((original as f64 * factor) as u64)
}
