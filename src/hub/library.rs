//! The models on this machine: those of the Hugging Face cache, whoever put them there, and those of
//! folders that were added. Reads the disk each time, so that nothing has to be announced; a disk that does not answer
//! hides its own models alone.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::downloads::layout::Layout;
use crate::models::hub_cache::{MAIN, commit_of, id_of, is_complete};
use crate::models::{Facts, FactsCache};
use crate::system::offload::{self, OffloadError};

/// Models that are listed; a cache with more is shown in part.
pub const MAX_MODELS: usize = 2_000;
/// Files of one model whose sizes are added up.
const MAX_FILES: usize = 10_000;
/// Folders within an added folder: `OWNER/NAME`.
const DEPTH: usize = 2;

/// Where models are looked for; cheap to clone.
#[derive(Clone)]
pub struct Library {
    cache: PathBuf,
    /// Beside the cache.
    folders: Vec<PathBuf>,
    facts: FactsCache,
}

/// Where a model lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ModelSource {
    /// The Hugging Face cache.
    Cache,
    /// A folder of `[hub].folders`.
    Folder,
}

/// A model on this machine.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct LocalModel {
    /// As profiles name it: a Hub id, or the folder.
    pub id: String,
    pub source: ModelSource,
    /// The folder with its files: the snapshot, where it is in the cache.
    #[schema(value_type = String)]
    pub path: PathBuf,
    pub commit: Option<String>,
    /// On the disk, all of its snapshots together.
    pub size_bytes: u64,
    /// When its newest file was written.
    pub modified_at_ms: Option<i64>,
    /// False: a part of it is missing, or was never fetched.
    pub complete: bool,
    #[schema(value_type = Option<Facts>)]
    pub facts: Option<Arc<Facts>>,
    /// Why there are no facts.
    pub problem: Option<String>,
}

/// The models of every place.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    pub models: Vec<LocalModel>,
    /// Why the models of a place are missing: its disk does not answer.
    pub problems: Vec<String>,
}

/// Why a model cannot be found or removed.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    #[error("there is no model \"{0}\" on this machine")]
    Unknown(String),
    #[error("{id} lies in a folder of your own, {}; remove it there", .path.display())]
    NotOurs { id: String, path: PathBuf },
    #[error("{0}")]
    Unanswered(#[from] OffloadError),
    #[error("{id} cannot be removed: {source}")]
    Disk { id: String, source: io::Error },
}

impl Library {
    /// The models of the Hugging Face cache and of folders of somebody's own.
    pub fn new(cache: PathBuf, folders: Vec<PathBuf>, facts: FactsCache) -> Library {
        Library { cache, folders, facts }
    }

    /// The Hugging Face cache.
    pub fn cache(&self) -> &Path {
        &self.cache
    }

    /// Every model, by id.
    pub async fn list(&self) -> Listing {
        let roots = std::iter::once(&self.cache).chain(&self.folders);
        let listed = futures_util::future::join_all(roots.map(|root| self.list_root(root))).await;
        let mut listing = Listing::default();
        for root in listed {
            match root {
                Ok(models) => listing.models.extend(models),
                Err(error) => listing.problems.push(error.to_string()),
            }
        }
        let models = &mut listing.models;
        models.truncate(MAX_MODELS);
        models.sort_by(|a, b| a.id.cmp(&b.id));
        models.dedup_by(|a, b| a.path == b.path);
        listing
    }

    /// The model of that id, with its facts.
    pub async fn find(&self, id: &str) -> Result<Option<LocalModel>, OffloadError> {
        if let Some(repo) = folder_of(&self.cache, id) {
            let (library, place) = (self.clone(), repo.clone());
            let look = move || library.with_facts(cached_model(&repo).into_iter().collect()).pop();
            return offload::run(&place, offload::PATIENT_TIME, look).await;
        }
        for root in self.folders.iter().filter(|root| Path::new(id).starts_with(root)) {
            let (library, below, wanted) = (self.clone(), root.clone(), id.to_owned());
            let look = move || {
                let mut found = Vec::new();
                search(&below, DEPTH, &mut found);
                found.retain(|model| model.id == wanted);
                found.truncate(1);
                library.with_facts(found).pop()
            };
            if let Some(model) = offload::run(root, offload::PATIENT_TIME, look).await? {
                return Ok(Some(model));
            }
        }
        Ok(None)
    }

    /// Removes a model of the cache. Whether anybody uses it, the caller knows.
    pub async fn remove(&self, id: &str) -> Result<LocalModel, LibraryError> {
        let model = self.find(id).await?.ok_or_else(|| LibraryError::Unknown(id.to_owned()))?;
        if model.source == ModelSource::Folder {
            return Err(LibraryError::NotOurs { id: id.to_owned(), path: model.path });
        }
        let layout = Layout::new(&self.cache, id);
        let removed = offload::run(&model.path, offload::PATIENT_TIME, move || layout.remove()).await?;
        removed.map_err(|source| LibraryError::Disk { id: id.to_owned(), source })?;
        Ok(model)
    }

    /// The models of the cache or of an added folder.
    async fn list_root(&self, root: &Path) -> Result<Vec<LocalModel>, OffloadError> {
        let (library, path) = (self.clone(), root.to_owned());
        let list = move || {
            let mut models = Vec::new();
            if path == library.cache {
                let entries = std::fs::read_dir(&path).into_iter().flatten().flatten();
                models.extend(entries.filter_map(|entry| cached_model(&entry.path())));
            } else {
                search(&path, DEPTH, &mut models);
            }
            library.with_facts(models)
        };
        offload::run(root, offload::PATIENT_TIME, list).await
    }

    fn with_facts(&self, mut models: Vec<LocalModel>) -> Vec<LocalModel> {
        let paths: Vec<PathBuf> = models.iter().map(|model| model.path.clone()).collect();
        for (model, read) in models.iter_mut().zip(self.facts.read_all(&paths)) {
            match read {
                Ok(facts) => model.facts = Some(facts),
                Err(error) => model.problem = Some(error.to_string()),
            }
        }
        models
    }
}

/// The folder of a model in the cache, if it may be one.
fn folder_of(cache: &Path, id: &str) -> Option<PathBuf> {
    crate::config::valid_hub_id(id).then(|| cache.join(crate::models::hub_cache::repo_name(id)))
}

/// The model of a folder of the cache: the snapshot that its main branch is at, else any.
fn cached_model(repo: &Path) -> Option<LocalModel> {
    let id = id_of(&repo.file_name()?.to_string_lossy())?;
    let snapshots = repo.join("snapshots");
    let any = || {
        let entries = std::fs::read_dir(&snapshots).ok()?;
        let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
        names.sort();
        names.pop().map(|name| name.to_string_lossy().into_owned())
    };
    let commit = commit_of(repo, MAIN).filter(|commit| snapshots.join(commit).is_dir()).or_else(any)?;
    let path = snapshots.join(&commit);
    let (size_bytes, modified_at_ms) = size(repo);
    Some(LocalModel {
        complete: is_complete(&path),
        id,
        source: ModelSource::Cache,
        path,
        commit: Some(commit),
        size_bytes,
        modified_at_ms,
        facts: None,
        problem: None,
    })
}

/// Models below an added folder: folders that hold a configuration.
fn search(folder: &Path, depth: usize, into: &mut Vec<LocalModel>) {
    if folder.join("config.json").is_file() || folder.join("model_index.json").is_file() {
        let (size_bytes, modified_at_ms) = size(folder);
        into.push(LocalModel {
            id: folder.display().to_string(),
            source: ModelSource::Folder,
            path: folder.to_owned(),
            commit: None,
            size_bytes,
            modified_at_ms,
            complete: is_complete(folder),
            facts: None,
            problem: None,
        });
        return;
    }
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    if depth == 0 {
        return;
    }
    for entry in entries.flatten() {
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        if !hidden && into.len() < MAX_MODELS && entry.path().is_dir() {
            search(&entry.path(), depth - 1, into);
        }
    }
}

/// Bytes on the disk below a folder, links not followed, and when the newest was written.
fn size(folder: &Path) -> (u64, Option<i64>) {
    let (mut bytes, mut newest, mut seen) = (0_u64, None::<SystemTime>, 0);
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            seen += 1;
            let Ok(meta) = entry.metadata() else { continue };
            if seen > MAX_FILES {
                break;
            } else if meta.is_dir() {
                folders.push(entry.path());
            } else if meta.is_file() {
                bytes += meta.len();
                newest = newest.max(meta.modified().ok());
            }
        }
    }
    let since = newest.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    (bytes, since.and_then(|since| i64::try_from(since.as_millis()).ok()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::files::testing::{OBSTACLES, obstruct};

    fn put(folder: &Path, files: &[(&str, &str)]) {
        std::fs::create_dir_all(folder).unwrap();
        for (name, text) in files {
            std::fs::write(folder.join(name), text).unwrap();
        }
    }

    const MODEL: [(&str, &str); 2] =
        [("config.json", r#"{"model_type":"qwen3"}"#), ("m.safetensors", "xxxx")];

    fn library() -> (tempfile::TempDir, Library) {
        let dir = tempfile::tempdir().unwrap();
        let repo = dir.path().join("hub/models--org--m");
        put(&repo.join("refs"), &[("main", "c0ffee")]);
        put(&repo.join("snapshots/c0ffee"), &MODEL);
        put(&dir.path().join("hub/models--org--half/snapshots/1"), &MODEL[..1]);
        put(&dir.path().join("hub/models--org--half/refs"), &[("main", "1")]);
        put(&dir.path().join("hub/datasets--org--d/snapshots/1"), &MODEL);
        put(&dir.path().join("mine/lab/tiny"), &MODEL);
        let folders = vec![dir.path().join("mine"), dir.path().join("none")];
        (dir, Library::new(folders[0].with_file_name("hub"), folders, FactsCache::new()))
    }

    #[tokio::test]
    async fn models_of_the_cache_and_of_added_folders_appear_by_themselves() {
        let (dir, library) = library();
        let models = library.list().await.models;
        let shown: Vec<_> = models.iter().map(|m| (m.id.as_str(), m.source, m.complete)).collect();
        let tiny = dir.path().join("mine/lab/tiny").display().to_string();
        let mut expected = [
            (tiny.as_str(), ModelSource::Folder, true),
            ("org/half", ModelSource::Cache, false),
            ("org/m", ModelSource::Cache, true),
        ];
        expected.sort();
        assert_eq!(shown, expected);
        let of_cache = library.find("org/m").await.unwrap().unwrap();
        assert_eq!(of_cache.size_bytes, 22 + 4 + 6);
        assert_eq!(of_cache.facts.unwrap().model_type, "qwen3");
        assert_eq!(library.find(&tiny).await.unwrap().unwrap().id, tiny);
    }

    #[tokio::test]
    async fn a_model_of_the_cache_is_removed_whole_and_one_of_a_folder_is_left() {
        let (dir, library) = library();
        library.remove("org/m").await.unwrap();
        assert!(!dir.path().join("hub/models--org--m").exists());
        assert!(matches!(library.remove("org/m").await, Err(LibraryError::Unknown(_))));
        let tiny = dir.path().join("mine/lab/tiny");
        let refused = library.remove(&tiny.display().to_string()).await;
        assert!(matches!(refused, Err(LibraryError::NotOurs { .. })) && tiny.exists());
        assert!(matches!(library.remove("../..").await, Err(LibraryError::Unknown(_))));
    }

    #[tokio::test]
    async fn models_whose_configuration_is_no_regular_file_are_not_read() {
        for obstacle in OBSTACLES {
            let (dir, library) = library();
            let config = dir.path().join("hub/models--org--m/snapshots/c0ffee/config.json");
            std::fs::remove_file(&config).unwrap();
            obstruct(&config, obstacle);
            let model = library.find("org/m").await.unwrap().unwrap();
            assert!(model.facts.is_none() && model.problem.is_some(), "{obstacle}: {model:?}");
            let listing = library.list().await;
            assert_eq!((listing.models.len(), listing.problems.len()), (3, 0), "{obstacle}");
        }
    }
}
