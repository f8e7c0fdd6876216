//! Which kind of model serves a profile and what it takes, so that an endpoint it cannot answer is
//! refused before anything is started. Looks into a model's folder once; a folder that does not answer in time leaves
//! both unknown.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use crate::config::{EngineKind, LaunchSettings, ModelRef, ModelType};
use crate::models::{self, Kind, Modality, hub_cache};
use crate::system::offload;

/// Kinds of the models that were asked for.
pub struct Kinds {
    hub_cache: PathBuf,
    known: Memory,
}

type Memory = Arc<RwLock<HashMap<ModelRef, Known>>>;

/// What the files of a model say.
#[derive(Debug, Clone)]
struct Known {
    kind: ModelType,
    /// Empty: they do not say.
    input: Arc<[Modality]>,
}

impl Kinds {
    /// Looks for models of the Hub in that cache.
    pub fn new(hub_cache: PathBuf) -> Kinds {
        Kinds { hub_cache, known: Memory::default() }
    }

    /// As configured, else as the model's files say; unknown while it is not here, and of servers that are
    /// not ours.
    pub async fn of(&self, launch: &LaunchSettings) -> Option<ModelType> {
        if launch.model_type.is_some() || matches!(launch.engine, EngineKind::Command | EngineKind::Url) {
            return launch.model_type;
        }
        self.find(launch).await.map(|known| known.kind)
    }

    /// What goes in, of models whose files are here and say it.
    pub async fn input(&self, launch: &LaunchSettings) -> Option<Arc<[Modality]>> {
        if matches!(launch.engine, EngineKind::Command | EngineKind::Url) {
            return None;
        }
        self.find(launch).await.map(|known| known.input).filter(|input| !input.is_empty())
    }

    /// Where a model lies; none: it is not here, or made on first use, or its disk does not answer.
    pub async fn folder(&self, model: &ModelRef) -> Option<PathBuf> {
        match model {
            ModelRef::Demo => None,
            ModelRef::Folder(folder) => Some(folder.clone()),
            ModelRef::Hub(id) => {
                let (cache, id) = (self.hub_cache.clone(), id.clone());
                let look = move || hub_cache::cached_snapshot(&cache, &id);
                offload::run(&self.place(model), offload::REQUEST_TIME, look).await.ok()?
            }
        }
    }

    /// Returns the facts of a launch's model, from memory or from its files.
    async fn find(&self, launch: &LaunchSettings) -> Option<Known> {
        let model = launch.model.as_ref()?;
        if let Some(known) = remembered(&self.known, model) {
            return Some(known);
        }
        // Rare: kept out of the future of every request.
        Box::pin(self.look(model)).await
    }

    async fn look(&self, model: &ModelRef) -> Option<Known> {
        if *model == ModelRef::Demo {
            return Some(Known { kind: ModelType::Lm, input: Arc::new([Modality::Text]) });
        }
        let (memory, cache, wanted) = (Arc::clone(&self.known), self.hub_cache.clone(), model.clone());
        let look = move || {
            // Others may have waited for the same.
            if let Some(known) = remembered(&memory, &wanted) {
                return Some(known);
            }
            let folder = match &wanted {
                ModelRef::Demo => return None,
                ModelRef::Folder(folder) => folder.clone(),
                ModelRef::Hub(id) => hub_cache::cached_snapshot(&cache, id)?,
            };
            let known = read(&folder)?;
            memory.write().unwrap_or_else(PoisonError::into_inner).insert(wanted, known.clone());
            Some(known)
        };
        let found = offload::run(&self.place(model), offload::REQUEST_TIME, look).await;
        found.unwrap_or_else(|error| {
            tracing::debug!(%model, %error, "Type of the model is unknown");
            None
        })
    }

    /// What [`offload`] counts reads of a model by.
    fn place(&self, model: &ModelRef) -> PathBuf {
        match model {
            ModelRef::Demo => PathBuf::new(),
            ModelRef::Folder(folder) => folder.clone(),
            ModelRef::Hub(id) => self.hub_cache.join(hub_cache::repo_name(id)),
        }
    }
}

fn remembered(memory: &Memory, model: &ModelRef) -> Option<Known> {
    memory.read().unwrap_or_else(PoisonError::into_inner).get(model).cloned()
}

fn read(folder: &Path) -> Option<Known> {
    let facts = models::read(folder).ok()?;
    let input = facts.input.map(|input| input.value).unwrap_or_default().into();
    let kind = match facts.kind {
        Kind::Lm => ModelType::Lm,
        Kind::Multimodal => ModelType::Multimodal,
        Kind::Embeddings => ModelType::Embeddings,
        Kind::Whisper => ModelType::Whisper,
        Kind::ImageGeneration => ModelType::ImageGeneration,
        Kind::ImageEdit => ModelType::ImageEdit,
    };
    Some(Known { kind, input })
}
