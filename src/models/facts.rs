//! Owns the reading of a model folder's configuration files into [`Facts`]. Must not know which
//! program will serve the model.

use std::path::{Path, PathBuf};

use serde_json::Value;

/// A configuration file larger than this is not read; the largest seen (a tokenizer's settings)
/// have a few megabytes.
const MAX_CONFIG_BYTES: u64 = 32 * 1024 * 1024;

/// What the folder says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    pub kind: Kind,
    /// `model_type` of config.json, such as `qwen3_moe`; empty where there is none.
    pub model_type: String,
    pub architectures: Vec<String>,
    /// The Jinja text that turns messages into a prompt.
    pub chat_template: Option<String>,
}

/// What a model is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text in, text out.
    Lm,
    /// Takes images, audio or video too.
    Multimodal,
    Embeddings,
    Whisper,
    ImageGeneration,
}

#[derive(Debug, thiserror::Error)]
pub enum FactsError {
    #[error("there is no folder {}; check the profile's `model`", .0.display())]
    NoFolder(PathBuf),
    #[error("{} holds no config.json, so it is not a model's folder", .0.display())]
    NotAModel(PathBuf),
    #[error("could not read {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{} is not valid JSON ({source}); download the model again", path.display())]
    Malformed { path: PathBuf, source: serde_json::Error },
    #[error("{} has {bytes} bytes, more than the {MAX_CONFIG_BYTES} that are read of such a file", path.display())]
    TooLarge { path: PathBuf, bytes: u64 },
}

/// Reads the facts of the model in `folder`.
pub fn read(folder: &Path) -> Result<Facts, FactsError> {
    if !folder.is_dir() {
        return Err(FactsError::NoFolder(folder.to_owned()));
    }
    let config = json(&folder.join("config.json"))?;
    if config.is_none() && folder.join("model_index.json").is_file() {
        return Ok(image_pipeline());
    }
    let config = config.ok_or_else(|| FactsError::NotAModel(folder.to_owned()))?;
    let model_type = text(&config, "model_type");
    let architectures: Vec<String> = config
        .get("architectures")
        .and_then(Value::as_array)
        .map(|names| names.iter().filter_map(Value::as_str).map(str::to_owned).collect())
        .unwrap_or_default();
    let sentence_model = ["modules.json", "config_sentence_transformers.json", "1_Pooling"]
        .iter()
        .any(|name| folder.join(name).exists());
    let kind = kind(&config, &model_type, &architectures, sentence_model);
    Ok(Facts { kind, model_type, architectures, chat_template: chat_template(folder)? })
}

fn kind(config: &Value, model_type: &str, architectures: &[String], sentence_model: bool) -> Kind {
    let architecture = |part: &str| architectures.iter().any(|name| name.contains(part));
    // mlx-whisper's own folders name no model_type, only the encoder's dimensions.
    if model_type == "whisper" || config.get("n_audio_ctx").is_some() {
        return Kind::Whisper;
    }
    let encoder = matches!(model_type, "bert" | "xlm-roberta" | "modernbert" | "nomic_bert");
    if sentence_model || encoder || architecture("ForMaskedLM") {
        return Kind::Embeddings;
    }
    let sees = ["vision_config", "audio_config", "vision_tower", "mm_vision_tower"]
        .iter()
        .any(|key| config.get(key).is_some_and(|value| !value.is_null()));
    if sees || model_type.ends_with("_vl") || model_type.contains("llava") {
        return Kind::Multimodal;
    }
    Kind::Lm
}

fn image_pipeline() -> Facts {
    Facts {
        kind: Kind::ImageGeneration,
        model_type: String::new(),
        architectures: Vec::new(),
        chat_template: None,
    }
}

/// The template stands in a file of its own, or in the tokenizer's settings: as text, or as a list
/// of named ones, of which the one for tools is the fuller.
fn chat_template(folder: &Path) -> Result<Option<String>, FactsError> {
    if let Some(text) = read_bounded(&folder.join("chat_template.jinja"))? {
        return Ok(Some(String::from_utf8_lossy(&text).into_owned()));
    }
    for name in ["chat_template.json", "tokenizer_config.json"] {
        let Some(settings) = json(&folder.join(name))? else { continue };
        match settings.get("chat_template") {
            Some(Value::String(template)) => return Ok(Some(template.clone())),
            Some(Value::Array(named)) => return Ok(named_template(named)),
            _ => {}
        }
    }
    Ok(None)
}

fn named_template(named: &[Value]) -> Option<String> {
    let find = |name: &str| named.iter().find(|entry| text(entry, "name") == name);
    let entry = find("tool_use").or_else(|| find("default")).or_else(|| named.first())?;
    Some(text(entry, "template")).filter(|template| !template.is_empty())
}

fn text(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn json(path: &Path) -> Result<Option<Value>, FactsError> {
    let Some(bytes) = read_bounded(path)? else { return Ok(None) };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|source| FactsError::Malformed { path: path.to_owned(), source })
}

fn read_bounded(path: &Path) -> Result<Option<Vec<u8>>, FactsError> {
    let unreadable = |source| FactsError::Unreadable { path: path.to_owned(), source };
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
        Ok(meta) if meta.len() > MAX_CONFIG_BYTES => {
            return Err(FactsError::TooLarge { path: path.to_owned(), bytes: meta.len() });
        }
        Ok(_) => {}
    }
    std::fs::read(path).map(Some).map_err(unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in files {
            std::fs::write(dir.path().join(name), content).unwrap();
        }
        dir
    }

    fn kind_of(config: &str) -> Kind {
        read(folder(&[("config.json", config)]).path()).unwrap().kind
    }

    #[test]
    fn the_kind_follows_from_the_configuration() {
        assert_eq!(kind_of(r#"{"model_type":"qwen3","architectures":["Qwen3ForCausalLM"]}"#), Kind::Lm);
        assert_eq!(kind_of(r#"{"model_type":"gemma3","vision_config":{"depth":1}}"#), Kind::Multimodal);
        assert_eq!(kind_of(r#"{"model_type":"llama","vision_config":null}"#), Kind::Lm);
        assert_eq!(kind_of(r#"{"model_type":"qwen3_vl"}"#), Kind::Multimodal);
        assert_eq!(kind_of(r#"{"model_type":"bert"}"#), Kind::Embeddings);
        assert_eq!(kind_of(r#"{"n_audio_ctx":1500}"#), Kind::Whisper);
        assert_eq!(kind_of("{}"), Kind::Lm);
    }

    #[test]
    fn a_sentence_model_is_for_embeddings_although_its_architecture_is_an_ordinary_one() {
        let dir = folder(&[("config.json", r#"{"model_type":"qwen3"}"#), ("modules.json", "[]")]);
        assert_eq!(read(dir.path()).unwrap().kind, Kind::Embeddings);
    }

    #[test]
    fn an_image_pipeline_has_no_config_json() {
        let dir = folder(&[("model_index.json", "{}")]);
        assert_eq!(read(dir.path()).unwrap().kind, Kind::ImageGeneration);
    }

    #[test]
    fn the_template_file_wins_over_the_tokenizer_settings() {
        let settings = r#"{"chat_template":"from settings"}"#;
        let dir = folder(&[("config.json", "{}"), ("tokenizer_config.json", settings)]);
        assert_eq!(read(dir.path()).unwrap().chat_template.as_deref(), Some("from settings"));
        std::fs::write(dir.path().join("chat_template.jinja"), "from file").unwrap();
        assert_eq!(read(dir.path()).unwrap().chat_template.as_deref(), Some("from file"));
    }

    #[test]
    fn of_named_templates_the_one_for_tools_is_read() {
        let settings =
            r#"{"chat_template":[{"name":"default","template":"a"},{"name":"tool_use","template":"b"}]}"#;
        let dir = folder(&[("config.json", "{}"), ("tokenizer_config.json", settings)]);
        assert_eq!(read(dir.path()).unwrap().chat_template.as_deref(), Some("b"));
    }

    #[test]
    fn what_is_wrong_with_a_folder_is_named() {
        let dir = folder(&[]);
        let missing = read(&dir.path().join("none")).unwrap_err().to_string();
        assert!(missing.contains("there is no folder"), "{missing}");
        let empty = read(dir.path()).unwrap_err().to_string();
        assert!(empty.contains("holds no config.json"), "{empty}");
        std::fs::write(dir.path().join("config.json"), "{").unwrap();
        let broken = read(dir.path()).unwrap_err().to_string();
        assert!(broken.contains("not valid JSON"), "{broken}");
    }
}
