//! Facts about the models that profiles name, read from their folders: type, inputs and context length. A request asks
//! from memory; a folder that changed is seen within seconds, and one that does not answer in time leaves all unknown.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use crate::config::{LaunchSettings, ModelRef, ModelType};
use crate::models::{Facts, FactsCache, Kind, Modality, hub_cache};
use crate::system::offload;

/// Time for which facts are used without a look at their folder.
const FRESH_FOR: Duration = Duration::from_secs(10);

/// Models on this machine.
pub struct LocalModels {
    hub_cache: PathBuf,
    cache: FactsCache,
    known: RwLock<HashMap<ModelRef, Known>>,
}

/// Facts of a model, and when its folder was looked at.
#[derive(Clone)]
struct Known {
    facts: Arc<Facts>,
    read_at: Instant,
}

impl LocalModels {
    /// Looks for models of the Hub in that cache.
    pub fn new(hub_cache: PathBuf) -> LocalModels {
        LocalModels { hub_cache, cache: FactsCache::new(), known: RwLock::default() }
    }

    /// Returns the type of a profile's model: as configured, else as its files say. None: it is not here, or it runs on a
    /// server that is not the gateway's.
    pub async fn model_type(&self, launch: &LaunchSettings) -> Option<ModelType> {
        match launch.model.as_ref().filter(|_| launch.engine.runs_mlx() && launch.model_type.is_none()) {
            None => launch.model_type,
            Some(ModelRef::Demo) => Some(ModelType::Lm),
            // Rare beyond the memory: kept out of the future of every request.
            Some(model) => Box::pin(self.facts(model)).await.map(|facts| model_type(&facts)),
        }
    }

    /// Returns what a profile's model takes; none: it is not here, or its files do not say.
    pub async fn input(&self, launch: &LaunchSettings) -> Option<Vec<Modality>> {
        match launch.model.as_ref().filter(|_| launch.engine.runs_mlx())? {
            ModelRef::Demo => Some(vec![Modality::Text]),
            model => self.facts(model).await?.input.as_ref().map(|input| input.value.clone()),
        }
    }

    /// Returns the facts of a model; none: it is not here, or made on first use, or its disk does not answer.
    pub async fn facts(&self, model: &ModelRef) -> Option<Arc<Facts>> {
        let known = self.known(model);
        if let Some(known) = &known
            && known.read_at.elapsed() < FRESH_FOR
        {
            return Some(Arc::clone(&known.facts));
        }
        let folder = self.folder(model).await?;
        let cache = self.cache.clone();
        let path = folder.clone();
        match offload::run(&folder, offload::REQUEST_TIME, move || cache.read(&path)).await {
            Ok(Ok(facts)) => {
                let known = Known { facts: Arc::clone(&facts), read_at: Instant::now() };
                self.known.write().unwrap_or_else(PoisonError::into_inner).insert(model.clone(), known);
                Some(facts)
            }
            Ok(Err(_)) => {
                self.known.write().unwrap_or_else(PoisonError::into_inner).remove(model);
                None
            }
            Err(error) => {
                tracing::debug!(%model, %error, "Type of the model is unknown");
                known.map(|known| known.facts)
            }
        }
    }

    /// Returns the context that a model was made for, as far as it was looked at. Outer none: it was not; inner none: its
    /// files do not say.
    pub fn known_context(&self, model: &ModelRef) -> Option<Option<u64>> {
        self.known(model).map(|known| context_of(&known.facts))
    }

    /// Returns the context that a model was made for; none: its files do not say, or do not answer.
    pub async fn context(&self, model: &ModelRef) -> Option<u64> {
        context_of(&*self.facts(model).await?)
    }

    /// Returns the folder of a model; none: it is not here, or made on first use, or its disk does not answer.
    pub async fn folder(&self, model: &ModelRef) -> Option<PathBuf> {
        match model {
            ModelRef::Demo => None,
            ModelRef::Folder(folder) => Some(folder.clone()),
            ModelRef::Hub(id) => {
                let (cache, id) = (self.hub_cache.clone(), id.clone());
                let place = cache.join(hub_cache::repo_name(&id));
                let look = move || hub_cache::cached_snapshot(&cache, &id);
                offload::run(&place, offload::REQUEST_TIME, look).await.ok()?
            }
        }
    }

    fn known(&self, model: &ModelRef) -> Option<Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(model).cloned()
    }
}

fn context_of(facts: &Facts) -> Option<u64> {
    facts.context_length.as_ref().map(|known| known.value)
}

fn model_type(facts: &Facts) -> ModelType {
    match facts.kind {
        Kind::Lm => ModelType::Lm,
        Kind::Multimodal => ModelType::Multimodal,
        Kind::Embeddings => ModelType::Embeddings,
        Kind::Whisper => ModelType::Whisper,
        Kind::ImageGeneration => ModelType::ImageGeneration,
        Kind::ImageEdit => ModelType::ImageEdit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn local_models_see_a_model_that_changed() {
        let dir = tempfile::tempdir().unwrap();
        let model = ModelRef::Folder(dir.path().to_owned());
        let models = LocalModels::new(dir.path().join("hub"));
        std::fs::write(dir.path().join("config.json"), r#"{"model_type":"qwen3"}"#).unwrap();
        let expire = || models.known.write().unwrap().get_mut(&model).unwrap().read_at -= FRESH_FOR;
        let kind = || async { models.facts(&model).await.map(|facts| model_type(&facts)) };
        assert_eq!(kind().await, Some(ModelType::Lm));
        std::fs::write(dir.path().join("config.json"), r#"{"model_type":"whisper","n_mels":80}"#).unwrap();
        expire();
        assert_eq!(kind().await, Some(ModelType::Whisper));
        std::fs::remove_file(dir.path().join("config.json")).unwrap();
        expire();
        assert_eq!(kind().await, None);
    }
}
