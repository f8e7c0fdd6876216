//! Owns the way from a profile's `model` to what a server is given: a folder here, or a Hub id
//! that is in the Hugging Face cache or has to be fetched. Must not know engines' flags.

use std::ffi::OsString;
use std::path::Path;

use super::error::EngineError;
use crate::config::ModelType;
use crate::models::{Facts, Kind, read};
use crate::system::offload;

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
    pub async fn folder(folder: &Path) -> Result<Resolved, EngineError> {
        Ok(Resolved { argument: folder.into(), facts: Some(facts(folder).await?), offline: true })
    }
}

/// Reads the facts of a folder, off the threads of the runtime.
pub async fn facts(folder: &Path) -> Result<Facts, EngineError> {
    let path = folder.to_owned();
    Ok(offload::run(folder, offload::PATIENT_TIME, move || read(&path)).await??)
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
