//! Which kind of model serves a profile, so that an endpoint it cannot answer is refused before
//! anything is started. Looks into a model's folder once.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{PoisonError, RwLock};

use crate::config::{EngineKind, LaunchSettings, ModelRef, ModelType};
use crate::models::{self, Kind, hub_cache};

/// Kinds of the models that were asked for.
pub struct Kinds {
    hub_cache: PathBuf,
    known: RwLock<HashMap<ModelRef, ModelType>>,
}

impl Kinds {
    pub fn new(hub_cache: PathBuf) -> Kinds {
        Kinds { hub_cache, known: RwLock::default() }
    }

    /// As configured, else as the model's files say; unknown while it is not here, and of servers that are
    /// not ours.
    pub fn of(&self, launch: &LaunchSettings) -> Option<ModelType> {
        if launch.model_type.is_some() || matches!(launch.engine, EngineKind::Command | EngineKind::Url) {
            return launch.model_type;
        }
        let model = launch.model.as_ref()?;
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner).get(model).copied();
        known.or_else(|| {
            let found = self.look(model)?;
            self.known.write().unwrap_or_else(PoisonError::into_inner).insert(model.clone(), found);
            Some(found)
        })
    }

    fn look(&self, model: &ModelRef) -> Option<ModelType> {
        let folder = match model {
            ModelRef::Demo => return Some(ModelType::Lm),
            ModelRef::Folder(folder) => folder.clone(),
            ModelRef::Hub(id) => hub_cache::cached_snapshot(&self.hub_cache, id)?,
        };
        Some(match models::read(&folder).ok()?.kind {
            Kind::Lm => ModelType::Lm,
            Kind::Multimodal => ModelType::Multimodal,
            Kind::Embeddings => ModelType::Embeddings,
            Kind::Whisper => ModelType::Whisper,
            Kind::ImageGeneration => ModelType::ImageGeneration,
            Kind::ImageEdit => ModelType::ImageEdit,
        })
    }
}
