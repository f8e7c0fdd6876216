//! What kind of model it is, and what goes in and comes out. Pure.

use serde_json::Value;

use super::config::Settings;
use super::facts::{Kind, Known, Modality, Source};
use super::sources::Sources;

const ENCODERS: [&str; 9] =
    ["bert", "xlm-roberta", "roberta", "modernbert", "nomic_bert", "new", "mpnet", "siglip", "clip"];
const EMBEDDING_FILES: [&str; 3] =
    ["modules.json", "config_sentence_transformers.json", "1_Pooling/config.json"];
const SEES: [&str; 6] =
    ["vision_config", "vision_tower", "mm_vision_tower", "visual", "vision_tower_config", "vit_config"];
const HEARS: [&str; 2] = ["audio_config", "audio_tower"];

pub(super) fn of(sources: &Sources) -> Kind {
    let settings = Settings::of(sources.config.as_ref());
    let root = settings.root_text("model_type");
    let has_file = |name: &str| sources.files.iter().any(|file| file.path == name);
    // mlx-whisper's own folders name no model_type, only the encoder's dimensions.
    if root == "whisper" || settings.get("n_audio_ctx").is_some() {
        return Kind::Whisper;
    }
    if let Some(kind) = image_pipeline(sources, &settings) {
        return kind;
    }
    let architecture = |part: &str| settings.architectures().iter().any(|name| name.contains(part));
    let sentence_model = EMBEDDING_FILES.iter().any(|name| has_file(name));
    if sentence_model || ENCODERS.contains(&root.as_str()) || architecture("ForMaskedLM") {
        return Kind::Embeddings;
    }
    if matches!(sources.pipeline_tag.as_deref(), Some("feature-extraction" | "sentence-similarity")) {
        return Kind::Embeddings;
    }
    let there = |name: &&str| settings.get(name).is_some();
    if SEES.iter().chain(&HEARS).any(there) || speaks_of_parts(&settings) {
        return Kind::Multimodal;
    }
    if root.ends_with("_vl") || root.contains("_vl_") || root.contains("llava") {
        return Kind::Multimodal;
    }
    let tagged = matches!(
        sources.pipeline_tag.as_deref(),
        Some("image-text-to-text" | "any-to-any" | "audio-text-to-text")
    );
    if tagged && !settings.is_known() { Kind::Multimodal } else { Kind::Lm }
}

/// Diffusion pipelines have no config.json at the top, or one of a part.
fn image_pipeline(sources: &Sources, settings: &Settings<'_>) -> Option<Kind> {
    let index = sources.files.iter().any(|file| file.path == "model_index.json");
    let parts = ["transformer/", "vae/"];
    let in_parts = parts.iter().all(|part| sources.files.iter().any(|file| file.path.starts_with(part)));
    let tag = sources.pipeline_tag.as_deref();
    if tag == Some("image-to-image") || tag == Some("image-text-to-image") {
        return Some(Kind::ImageEdit);
    }
    let pipeline = !settings.is_known() && (index || in_parts);
    (pipeline || tag == Some("text-to-image")).then_some(Kind::ImageGeneration)
}

/// Omni models keep their encoders in tables further down.
fn speaks_of_parts(settings: &Settings<'_>) -> bool {
    let thinker = settings.get("thinker_config");
    thinker.is_some_and(|part| part.get("vision_config").is_some() || part.get("audio_config").is_some())
}

pub(super) fn input(sources: &Sources, kind: Kind) -> Option<Known<Vec<Modality>>> {
    let of_kind = |input: &[Modality]| Some(Known::new(input.to_vec(), Source::Kind));
    match kind {
        Kind::Whisper => return of_kind(&[Modality::Audio]),
        Kind::ImageGeneration => return of_kind(&[Modality::Text]),
        Kind::ImageEdit => return of_kind(&[Modality::Text, Modality::Image]),
        Kind::Lm | Kind::Multimodal | Kind::Embeddings => {}
    }
    let settings = Settings::of(sources.config.as_ref());
    if !settings.is_known() {
        return tagged(sources);
    }
    let mut input = vec![Modality::Text];
    let found = |names: &[&str]| names.iter().any(|name| part(&settings, name).is_some());
    if found(&SEES) || (kind == Kind::Multimodal && !found(&HEARS)) {
        input.push(Modality::Image);
    }
    if found(&["video_token_id", "video_token_index", "video_config"]) {
        input.push(Modality::Video);
    }
    if found(&HEARS) {
        input.push(Modality::Audio);
    }
    Some(Known::new(input, Source::Config))
}

pub(super) fn output(sources: &Sources, kind: Kind) -> Option<Known<Vec<Modality>>> {
    let output = match kind {
        Kind::Embeddings => Modality::Embedding,
        Kind::ImageGeneration | Kind::ImageEdit => Modality::Image,
        Kind::Lm if sources.config.is_none() && sources.pipeline_tag.is_none() => return None,
        Kind::Lm | Kind::Multimodal | Kind::Whisper => Modality::Text,
    };
    Some(Known::new(vec![output], Source::Kind))
}

fn part<'a>(settings: &Settings<'a>, name: &str) -> Option<&'a Value> {
    let thinker = || settings.get("thinker_config")?.get(name).filter(|value| !value.is_null());
    settings.get(name).or_else(thinker)
}

fn tagged(sources: &Sources) -> Option<Known<Vec<Modality>>> {
    let input = match sources.pipeline_tag.as_deref()? {
        "text-generation" | "feature-extraction" | "sentence-similarity" => vec![Modality::Text],
        "image-text-to-text" => vec![Modality::Text, Modality::Image],
        "audio-text-to-text" => vec![Modality::Text, Modality::Audio],
        _ => return None,
    };
    Some(Known::new(input, Source::Tags))
}
