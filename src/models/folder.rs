//! Reads a model's folder: its small files whole, of its weights only the tables at their beginning.
//! Must not know what follows from it, nor which program will serve the model.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::Deserialize;
use serde_json::Value;

use super::safetensors::{self, Header};
use super::sources::{ModelFile, Sources, inspect};
use super::{Facts, card, template};
use crate::system::files;

/// A configuration file larger than this is not read; the largest seen (a tokenizer's settings)
/// have a few megabytes.
const MAX_CONFIG_BYTES: u64 = 32 * 1024 * 1024;
/// Files of a folder that are looked at; a model in more pieces is not seen whole.
const MAX_FILES: usize = 4096;
/// Folders within the folder, such as those of an image pipeline.
const MAX_DEPTH: usize = 2;
const README: &str = "README.md";
const MODEL_INDEX: &str = "model_index.json";

/// Why a folder says nothing about a model.
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
}

/// Reads the facts of the model in `folder`.
pub fn read(folder: &Path) -> Result<Facts, FactsError> {
    let files = listing(folder)?.into_iter().map(|(file, _)| file).collect();
    Ok(inspect(&sources(folder, files)?))
}

/// A file with its time of change.
pub(super) type Listed = (ModelFile, Option<SystemTime>);

/// Every file in `folder`, with its size and its time of change.
pub(super) fn listing(folder: &Path) -> Result<Vec<Listed>, FactsError> {
    if !folder.is_dir() {
        return Err(FactsError::NoFolder(folder.to_owned()));
    }
    let mut files = Vec::new();
    list(folder, "", MAX_DEPTH, &mut files)
        .map_err(|source| FactsError::Unreadable { path: folder.to_owned(), source })?;
    files.sort_by(|(a, _): &Listed, (b, _)| a.path.cmp(&b.path));
    Ok(files)
}

pub(super) fn sources(folder: &Path, files: Vec<ModelFile>) -> Result<Sources, FactsError> {
    let config = json(&folder.join("config.json"))?;
    if config.is_none() && !files.iter().any(|file| file.path == MODEL_INDEX) {
        return Err(FactsError::NotAModel(folder.to_owned()));
    }
    let readme = read_bounded(&folder.join(README))?;
    let card = readme.and_then(|text| card::front_matter(&String::from_utf8_lossy(&text)));
    let pipeline_tag = card.as_ref().and_then(|card| card.get("pipeline_tag")?.as_str().map(str::to_owned));
    Ok(Sources {
        config,
        generation_config: json(&folder.join("generation_config.json"))?,
        tokenizer_config: tokenizer_config(folder)?,
        chat_template: template_file(folder)?,
        headers: headers(folder, &files),
        index: json(&folder.join("model.safetensors.index.json"))?,
        files,
        pipeline_tag,
        card,
        ..Sources::default()
    })
}

fn list(folder: &Path, below: &str, depth: usize, into: &mut Vec<Listed>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') || into.len() >= MAX_FILES {
            continue;
        }
        let path = format!("{below}{name}");
        // A link that leads nowhere is no file.
        match std::fs::metadata(entry.path()) {
            Ok(meta) if meta.is_file() => {
                into.push((ModelFile { path, bytes: Some(meta.len()) }, meta.modified().ok()));
            }
            Ok(meta) if meta.is_dir() && depth > 0 => {
                list(&entry.path(), &format!("{path}/"), depth - 1, into)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Of the weights in the folder itself. Files that are not what their names say are passed over: what
/// they would have told is unknown.
fn headers(folder: &Path, files: &[ModelFile]) -> Vec<Header> {
    let weights = files.iter().filter(|file| file.path.ends_with(".safetensors") && !file.path.contains('/'));
    let mut headers = Vec::new();
    for file in weights {
        match header(&folder.join(&file.path)) {
            Some(header) => headers.push(header),
            // Half of the weights counted would be a wrong figure.
            None => return Vec::new(),
        }
    }
    headers
}

fn header(path: &Path) -> Option<Header> {
    let told = |error: String| {
        tracing::debug!(path = %path.display(), error, "Could not read the weights' table.");
    };
    let mut file = files::open(path).inspect_err(|error| told(error.to_string())).ok()?;
    safetensors::read(&mut file).inspect_err(|error| told(error.to_string())).ok()
}

/// Only what counts of it: the rest may be megabytes of tokens.
fn tokenizer_config(folder: &Path) -> Result<Option<Value>, FactsError> {
    #[derive(Deserialize)]
    struct Tokenizer {
        #[serde(default)]
        chat_template: Value,
        #[serde(default)]
        model_max_length: Value,
    }
    let path = folder.join("tokenizer_config.json");
    let Some(bytes) = read_bounded(&path)? else { return Ok(None) };
    let read: Tokenizer =
        serde_json::from_slice(&bytes).map_err(|source| FactsError::Malformed { path, source })?;
    let Tokenizer { chat_template, model_max_length } = read;
    Ok(Some(serde_json::json!({"chat_template": chat_template, "model_max_length": model_max_length})))
}

/// A template that has a file of its own.
pub(super) fn template_file(folder: &Path) -> Result<Option<String>, FactsError> {
    if let Some(text) = read_bounded(&folder.join("chat_template.jinja"))? {
        return Ok(Some(String::from_utf8_lossy(&text).into_owned()));
    }
    let Some(settings) = json(&folder.join("chat_template.json"))? else { return Ok(None) };
    Ok(match settings.get("chat_template") {
        Some(Value::String(template)) => Some(template.clone()),
        Some(Value::Array(named)) => template::named_template(named),
        _ => None,
    })
}

fn json(path: &Path) -> Result<Option<Value>, FactsError> {
    let Some(bytes) = read_bounded(path)? else { return Ok(None) };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|source| FactsError::Malformed { path: path.to_owned(), source })
}

fn read_bounded(path: &Path) -> Result<Option<Vec<u8>>, FactsError> {
    match files::read(path, MAX_CONFIG_BYTES) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(FactsError::Unreadable { path: path.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::Kind;

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
