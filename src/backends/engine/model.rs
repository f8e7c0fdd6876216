//! Owns the way from a profile's `model` to what a server is given: a folder here, or a Hub id
//! that is in the Hugging Face cache or has to be fetched. Must not know engines' flags.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::config::ModelType;
use crate::models::{Facts, FactsError, Kind, read};

/// A model as a server is given it.
#[derive(Debug, Clone, PartialEq)]
pub struct Resolved {
    pub argument: OsString,
    /// Unknown only for a model that the server is to fetch itself.
    pub facts: Option<Facts>,
    /// Everything is here.
    pub offline: bool,
}

impl Resolved {
    /// A folder, which has to be a model's: a server that is given anything else may come up
    /// all the same and never answer.
    pub fn folder(folder: &Path) -> Result<Resolved, FactsError> {
        Ok(Resolved { argument: folder.into(), facts: Some(read(folder)?), offline: true })
    }
}

/// The complete snapshot of a Hub model in the cache, if there is one.
pub fn cached_snapshot(hub_cache: &Path, id: &str) -> Option<PathBuf> {
    let repo = hub_cache.join(format!("models--{}", id.replace('/', "--")));
    let commit = std::fs::read_to_string(repo.join("refs/main")).ok()?;
    let snapshot = repo.join("snapshots").join(commit.trim());
    is_complete(&snapshot).then_some(snapshot)
}

/// Links into the cache are only made when a file is whole, so what counts is that none is missing.
fn is_complete(snapshot: &Path) -> bool {
    if snapshot.join("model_index.json").is_file() {
        return true;
    }
    if !snapshot.join("config.json").is_file() {
        return false;
    }
    match std::fs::read(snapshot.join("model.safetensors.index.json")) {
        Ok(bytes) => shards(&bytes).is_some_and(|all| all.iter().all(|one| snapshot.join(one).is_file())),
        Err(_) => has_weights(snapshot),
    }
}

fn shards(index: &[u8]) -> Option<Vec<String>> {
    let index: Value = serde_json::from_slice(index).ok()?;
    let map = index.get("weight_map")?.as_object()?;
    Some(map.values().filter_map(Value::as_str).map(str::to_owned).collect())
}

fn has_weights(snapshot: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(snapshot) else { return false };
    entries.flatten().any(|entry| {
        let path = entry.path();
        path.is_file() && path.extension().is_some_and(|ext| ext == "safetensors" || ext == "npz")
    })
}

/// The type to launch a model with: as configured, else as its files say.
pub fn model_type(configured: Option<ModelType>, facts: Option<&Facts>, text_only: bool) -> ModelType {
    if let Some(configured) = configured {
        return configured;
    }
    match facts.map(|facts| facts.kind) {
        None | Some(Kind::Lm) => ModelType::Lm,
        // Where only text can be served, such a model still writes text.
        Some(Kind::Multimodal) if text_only => ModelType::Lm,
        Some(Kind::Multimodal) => ModelType::Multimodal,
        Some(Kind::Embeddings) => ModelType::Embeddings,
        Some(Kind::Whisper) => ModelType::Whisper,
        Some(Kind::ImageGeneration) => ModelType::ImageGeneration,
        Some(Kind::ImageEdit) => ModelType::ImageEdit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(files: &[(&str, &str)]) -> (tempfile::TempDir, Option<PathBuf>) {
        let cache = tempfile::tempdir().unwrap();
        let repo = cache.path().join("models--org--name");
        std::fs::create_dir_all(repo.join("refs")).unwrap();
        std::fs::write(repo.join("refs/main"), "c0ffee\n").unwrap();
        std::fs::create_dir_all(repo.join("snapshots/c0ffee")).unwrap();
        for (name, content) in files {
            std::fs::write(repo.join("snapshots/c0ffee").join(name), content).unwrap();
        }
        let found = cached_snapshot(cache.path(), "org/name");
        (cache, found)
    }

    #[test]
    fn a_whole_snapshot_is_found() {
        let (cache, found) = snapshot(&[("config.json", "{}"), ("model.safetensors", "")]);
        assert_eq!(found.unwrap(), cache.path().join("models--org--name/snapshots/c0ffee"));
        assert_eq!(cached_snapshot(cache.path(), "org/other"), None);
    }

    #[test]
    fn a_snapshot_that_lacks_a_shard_is_not_whole() {
        let index = r#"{"weight_map":{"a":"model-1.safetensors","b":"model-2.safetensors"}}"#;
        let one = ("model-1.safetensors", "");
        let part = [("config.json", "{}"), ("model.safetensors.index.json", index), one];
        assert_eq!(snapshot(&part).1, None);
        let whole = [part[0], part[1], one, ("model-2.safetensors", "")];
        assert!(snapshot(&whole).1.is_some());
    }

    #[test]
    fn a_snapshot_without_weights_or_configuration_is_not_whole() {
        assert_eq!(snapshot(&[("config.json", "{}")]).1, None);
        assert_eq!(snapshot(&[("model.safetensors", "")]).1, None);
    }

    #[test]
    fn the_configured_type_wins_over_the_files() {
        let facts = |kind| Facts { kind, ..Facts::default() };
        let vision = facts(Kind::Multimodal);
        assert_eq!(model_type(Some(ModelType::Lm), Some(&vision), false), ModelType::Lm);
        assert_eq!(model_type(None, Some(&vision), false), ModelType::Multimodal);
        assert_eq!(model_type(None, Some(&vision), true), ModelType::Lm);
        assert_eq!(model_type(None, Some(&facts(Kind::Whisper)), true), ModelType::Whisper);
        assert_eq!(model_type(None, None, false), ModelType::Lm);
    }
}
