//! Which kind of model serves a profile and what it takes, so that an endpoint it cannot answer is
//! refused before anything is started. Looks into a model's folder once.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use crate::config::{EngineKind, LaunchSettings, ModelRef, ModelType};
use crate::models::{self, Kind, Modality, hub_cache};

/// Kinds of the models that were asked for.
pub struct Kinds {
    hub_cache: PathBuf,
    known: RwLock<HashMap<ModelRef, Known>>,
}

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
        Kinds { hub_cache, known: RwLock::default() }
    }

    /// As configured, else as the model's files say; unknown while it is not here, and of servers that are
    /// not ours.
    pub fn of(&self, launch: &LaunchSettings) -> Option<ModelType> {
        if launch.model_type.is_some() || matches!(launch.engine, EngineKind::Command | EngineKind::Url) {
            return launch.model_type;
        }
        self.known(launch, |known| known.kind)
    }

    /// What goes in, of models whose files are here and say it.
    pub fn input(&self, launch: &LaunchSettings) -> Option<Arc<[Modality]>> {
        if matches!(launch.engine, EngineKind::Command | EngineKind::Url) {
            return None;
        }
        self.known(launch, |known| Arc::clone(&known.input)).filter(|input| !input.is_empty())
    }

    fn known<T>(&self, launch: &LaunchSettings, wanted: impl Fn(&Known) -> T) -> Option<T> {
        let model = launch.model.as_ref()?;
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner).get(model).map(&wanted);
        known.or_else(|| {
            let found = self.look(model)?;
            let answer = wanted(&found);
            self.known.write().unwrap_or_else(PoisonError::into_inner).insert(model.clone(), found);
            Some(answer)
        })
    }

    /// Where a model lies; none: it is not here, or made on first use.
    pub fn folder(&self, model: &ModelRef) -> Option<PathBuf> {
        match model {
            ModelRef::Demo => None,
            ModelRef::Folder(folder) => Some(folder.clone()),
            ModelRef::Hub(id) => hub_cache::cached_snapshot(&self.hub_cache, id),
        }
    }

    fn look(&self, model: &ModelRef) -> Option<Known> {
        let folder = match model {
            ModelRef::Demo => return Some(Known { kind: ModelType::Lm, input: Arc::new([Modality::Text]) }),
            model => self.folder(model)?,
        };
        let facts = models::read(&folder).ok()?;
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
}
