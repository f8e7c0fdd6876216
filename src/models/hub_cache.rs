//! Owns the layout of the Hugging Face cache: where it is, how a model's folder is named, when a
//! snapshot is whole. Reads folders only; must not know how files come into it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::system::files;

/// How the folder of a model begins; those of data sets begin otherwise.
const PREFIX: &str = "models--";
/// Bytes of the file that names a commit.
const MAX_REF_BYTES: u64 = 4096;
/// Bytes of the list of a model's shards.
const MAX_INDEX_BYTES: u64 = 32 * 1024 * 1024;
/// The branch that is meant when none is named.
pub const MAIN: &str = "main";

/// Where the Hugging Face libraries keep what they fetched, as the variables say.
pub fn location(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let get = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    get("HF_HUB_CACHE")
        .or_else(|| get("HUGGINGFACE_HUB_CACHE"))
        .or_else(|| get("HF_HOME").map(|home| home.join("hub")))
        .or_else(|| get("XDG_CACHE_HOME").map(|cache| cache.join("huggingface/hub")))
        .or_else(|| get("HOME").map(|home| home.join(".cache/huggingface/hub")))
}

/// The folder of a model's files in the cache, such as `models--org--name`.
pub fn repo_name(id: &str) -> String {
    format!("{PREFIX}{}", id.replace('/', "--"))
}

/// The model that a folder of the cache belongs to.
pub fn id_of(folder_name: &str) -> Option<String> {
    // Owner and name hold no "--" on the Hub, so the first one parts them.
    let id = folder_name.strip_prefix(PREFIX)?.replacen("--", "/", 1);
    (!id.is_empty()).then_some(id)
}

/// The commit that a branch of a cached model stood at when it was fetched.
pub fn commit_of(repo: &Path, branch: &str) -> Option<String> {
    let commit = files::read_to_string(&repo.join("refs").join(branch), MAX_REF_BYTES).ok()?;
    let commit = commit.trim();
    let plain = !commit.is_empty() && commit.chars().all(|c| c.is_ascii_alphanumeric());
    plain.then(|| commit.to_owned())
}

/// The complete snapshot of a Hub model in the cache, if there is one.
pub fn cached_snapshot(hub_cache: &Path, id: &str) -> Option<PathBuf> {
    let repo = hub_cache.join(repo_name(id));
    let snapshot = repo.join("snapshots").join(commit_of(&repo, MAIN)?);
    is_complete(&snapshot).then_some(snapshot)
}

/// Links into the cache are only made when a file is whole, so what counts is that none is missing.
pub fn is_complete(snapshot: &Path) -> bool {
    if snapshot.join("model_index.json").is_file() {
        return true;
    }
    if !snapshot.join("config.json").is_file() {
        return false;
    }
    match files::read(&snapshot.join("model.safetensors.index.json"), MAX_INDEX_BYTES) {
        Ok(bytes) => shards(&bytes).is_some_and(|all| all.iter().all(|one| snapshot.join(one).is_file())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => has_weights(snapshot),
        Err(_) => false,
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
    fn a_ref_that_leads_out_of_the_cache_is_no_commit() {
        let cache = tempfile::tempdir().unwrap();
        let repo = cache.path().join("models--org--name");
        std::fs::create_dir_all(repo.join("refs")).unwrap();
        std::fs::write(repo.join("refs/main"), "../../../etc").unwrap();
        assert_eq!(commit_of(&repo, MAIN), None);
    }

    #[test]
    fn folders_are_named_after_their_models() {
        assert_eq!(repo_name("org/name"), "models--org--name");
        assert_eq!(id_of("models--org--name-4bit").as_deref(), Some("org/name-4bit"));
        assert_eq!(id_of("models--gpt2").as_deref(), Some("gpt2"));
        assert_eq!(id_of("datasets--org--name"), None);
    }

    #[test]
    fn the_hub_cache_follows_the_libraries_own_order() {
        let cache = |set: &[(&str, &str)]| {
            location(|name| set.iter().find(|(n, _)| *n == name).map(|(_, value)| OsString::from(value)))
        };
        let home = ("HOME", "/home/me");
        assert_eq!(cache(&[home]).unwrap(), Path::new("/home/me/.cache/huggingface/hub"));
        assert_eq!(cache(&[home, ("HF_HOME", "/hf")]).unwrap(), Path::new("/hf/hub"));
        let own = [home, ("HF_HOME", "/hf"), ("HF_HUB_CACHE", "/own")];
        assert_eq!(cache(&own).unwrap(), Path::new("/own"));
        assert_eq!(cache(&[]), None);
    }
}
