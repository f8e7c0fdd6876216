//! What a request can ask of a model, which engines do it, and with which kinds of models. Pure data.

use super::quirks::Quirks;
use crate::config::{EngineKind, ModelType};

/// An endpoint of `/v1` that asks a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    Chat,
    Completion,
    Embedding,
    Image,
    ImageEdit,
    Transcription,
}

impl Operation {
    /// Every operation, in the order in which they are documented.
    pub const ALL: [Operation; 6] = [
        Operation::Chat,
        Operation::Completion,
        Operation::Embedding,
        Operation::Image,
        Operation::ImageEdit,
        Operation::Transcription,
    ];

    /// As clients name it.
    pub fn path(self) -> &'static str {
        match self {
            Operation::Chat => "/v1/chat/completions",
            Operation::Completion => "/v1/completions",
            Operation::Embedding => "/v1/embeddings",
            Operation::Image => "/v1/images/generations",
            Operation::ImageEdit => "/v1/images/edits",
            Operation::Transcription => "/v1/audio/transcriptions",
        }
    }

    /// In the list of what a model can do.
    pub fn name(self) -> &'static str {
        match self {
            Operation::Chat => "chat",
            Operation::Completion => "completions",
            Operation::Embedding => "embeddings",
            Operation::Image => "images",
            Operation::ImageEdit => "image-edits",
            Operation::Transcription => "transcriptions",
        }
    }

    /// Whether its body is a form, with files in it.
    pub fn is_form(self) -> bool {
        matches!(self, Operation::ImageEdit | Operation::Transcription)
    }

    /// Below a backend's base path.
    pub fn upstream(self) -> &'static str {
        self.path().trim_start_matches("/v1")
    }

    /// Whether a model of that type answers to it, behind an engine of ours.
    fn takes(self, model_type: ModelType) -> bool {
        match self {
            Operation::Chat | Operation::Completion => {
                matches!(model_type, ModelType::Lm | ModelType::Multimodal)
            }
            Operation::Embedding => model_type == ModelType::Embeddings,
            Operation::Image => model_type == ModelType::ImageGeneration,
            Operation::ImageEdit => model_type == ModelType::ImageEdit,
            Operation::Transcription => model_type == ModelType::Whisper,
        }
    }

    /// Whether an engine has it, for a model of that type (`None`: unknown, so it is let through where some
    /// type has it). Other servers are asked, and say so themselves.
    pub fn is_served_by(self, engine: EngineKind, model_type: Option<ModelType>) -> bool {
        let Some(serves) = Quirks::of(engine).serves else { return true };
        serves.contains(&self) && model_type.is_none_or(|model_type| self.takes(model_type))
    }

    /// All that an engine has for such a model.
    pub fn served_by(engine: EngineKind, model_type: Option<ModelType>) -> Vec<Operation> {
        Operation::ALL.into_iter().filter(|operation| operation.is_served_by(engine, model_type)).collect()
    }

    /// Why a profile cannot serve it; none: it can, or only its server knows.
    pub fn refused_by(
        self,
        profile: &str,
        engine: EngineKind,
        model_type: Option<ModelType>,
    ) -> Option<String> {
        if self.is_served_by(engine, model_type) {
            return None;
        }
        let served = Operation::served_by(engine, model_type);
        let paths: Vec<&str> = served.iter().map(|operation| operation.path()).collect();
        let what = match model_type.filter(|_| self.is_served_by(engine, None)) {
            Some(model_type) => format!("its model is of the type {}", model_type.name()),
            None => format!("its engine {} has no such endpoint", engine.name()),
        };
        let instead = if paths.is_empty() { "nothing here yet".to_owned() } else { paths.join(", ") };
        Some(format!("the profile \"{profile}\" cannot serve {}: {what}; it serves {instead}", self.path()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_engine_serves_what_its_models_can() {
        use EngineKind::{Command, MlxLm, MlxOpenaiServer, Url};
        use Operation::{Chat, Completion, Embedding, Image, ImageEdit, Transcription};
        for (engine, model_type, served) in [
            (MlxOpenaiServer, Some(ModelType::Lm), &[Chat][..]),
            (MlxOpenaiServer, Some(ModelType::Multimodal), &[Chat]),
            (MlxOpenaiServer, Some(ModelType::Embeddings), &[Embedding]),
            (MlxOpenaiServer, Some(ModelType::ImageGeneration), &[Image]),
            (MlxOpenaiServer, Some(ModelType::ImageEdit), &[ImageEdit]),
            (MlxOpenaiServer, Some(ModelType::Whisper), &[Transcription]),
            (MlxOpenaiServer, None, &[Chat, Embedding, Image, ImageEdit, Transcription]),
            (MlxLm, Some(ModelType::Lm), &[Chat, Completion]),
            (MlxLm, Some(ModelType::Embeddings), &[]),
            (Url, None, &Operation::ALL),
            (Command, Some(ModelType::Lm), &Operation::ALL),
        ] {
            assert_eq!(Operation::served_by(engine, model_type), served, "{engine:?} {model_type:?}");
        }
    }

    #[test]
    fn a_refusal_names_the_type_and_what_is_served_instead() {
        let words = Operation::Embedding.refused_by("qwen", EngineKind::MlxOpenaiServer, Some(ModelType::Lm));
        assert_eq!(
            words.unwrap(),
            "the profile \"qwen\" cannot serve /v1/embeddings: its model is of the type lm; it serves /v1/chat/completions"
        );
        let words =
            Operation::Completion.refused_by("qwen", EngineKind::MlxOpenaiServer, Some(ModelType::Lm));
        assert_eq!(
            words.unwrap(),
            "the profile \"qwen\" cannot serve /v1/completions: its engine mlx-openai-server has no such endpoint; it serves /v1/chat/completions"
        );
    }
}
