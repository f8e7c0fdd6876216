//! The facts of a model, each with where it was found. Only their shape; knows nothing of how they
//! are found.

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::abilities::Ability;
use super::attention::KvCache;
use super::quantization::Quantization;

/// What is known of a model. `None`: unknown.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
pub struct Facts {
    pub kind: Kind,
    /// `model_type` of config.json, such as `qwen3_moe`; empty where there is none.
    pub model_type: String,
    /// Class names, such as `Qwen3ForCausalLM`.
    pub architectures: Vec<String>,
    /// The Jinja text that turns messages into a prompt.
    #[serde(skip)]
    pub chat_template: Option<String>,
    /// Weights counted one by one, packed ones unpacked.
    pub parameters: Option<Known<u64>>,
    /// Experts of a mixture: how many there are, and how many work on a token.
    pub experts: Option<Known<Experts>>,
    pub quantization: Option<Known<Quantization>>,
    /// Tokens of the longest text it was made for.
    pub context_length: Option<Known<u64>>,
    pub kv_cache: Option<Known<KvCache>>,
    pub input: Option<Known<Vec<Modality>>>,
    pub output: Option<Known<Vec<Modality>>>,
    pub tool_use: Option<Known<bool>>,
    pub thinking: Option<Known<Thinking>>,
    /// It uses tools, and writes its calls in a format that a parser reads.
    pub mcp_ready: Option<Known<bool>>,
    /// What it is known to do beyond text, in the order in which it is shown.
    pub abilities: Vec<Known<Ability>>,
    /// As the Hub names it, such as `apache-2.0`.
    pub license: Option<Known<String>>,
    /// Bytes of the weights alone.
    pub weights_bytes: Option<Known<u64>>,
    /// Bytes of all files.
    pub size_bytes: Option<Known<u64>>,
    /// Sampling settings its makers advise: `temperature`, `top_p`, `top_k`, `min_p`, `repetition_penalty`.
    #[schema(value_type = Option<Object>)]
    pub sampling: Option<Known<Map<String, Value>>>,
}

/// A fact and where it was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct Known<T> {
    pub value: T,
    pub source: Source,
}

/// Where a fact was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub enum Source {
    #[serde(rename = "config.json")]
    Config,
    #[serde(rename = "generation_config.json")]
    GenerationConfig,
    #[serde(rename = "tokenizer_config.json")]
    TokenizerConfig,
    #[serde(rename = "chat template")]
    ChatTemplate,
    /// The tables at the beginning of the weights' files.
    #[serde(rename = "safetensors headers")]
    SafetensorsHeaders,
    #[serde(rename = "model.safetensors.index.json")]
    SafetensorsIndex,
    /// What the Hub counted.
    #[serde(rename = "Hub metadata")]
    HubMetadata,
    #[serde(rename = "tags")]
    Tags,
    #[serde(rename = "model card")]
    Card,
    /// Names and sizes of the files.
    #[serde(rename = "files")]
    Files,
    /// What models of this architecture usually do.
    #[serde(rename = "architecture family")]
    Family,
    /// Follows from what kind of model it is.
    #[serde(rename = "kind of model")]
    Kind,
}

/// What a model is for, by the names that `--model-type` of the engine takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Text in, text out.
    #[default]
    Lm,
    /// Takes images, audio or video too.
    Multimodal,
    Embeddings,
    Whisper,
    ImageGeneration,
    ImageEdit,
}

/// What goes into a model, or comes out of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Modality {
    Text,
    Image,
    Audio,
    Video,
    Embedding,
}

/// Whether it thinks before it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Thinking {
    No,
    /// `enable_thinking` or an effort switches it.
    Switchable,
    Always,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct Experts {
    pub total: u64,
    pub per_token: Option<u64>,
}

impl<T> Known<T> {
    /// A fact, and where it was found.
    pub fn new(value: T, source: Source) -> Known<T> {
        Known { value, source }
    }
}

impl Facts {
    /// Whether it thinks; `None`: unknown.
    pub fn thinks(&self) -> Option<bool> {
        self.thinking.map(|thinking| thinking.value != Thinking::No)
    }

    /// Whether it takes anything but text; `None`: unknown.
    pub fn multimodal(&self) -> Option<bool> {
        let input = &self.input.as_ref()?.value;
        Some(input.iter().any(|modality| *modality != Modality::Text))
    }
}

impl Kind {
    /// As `--model-type` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Lm => "lm",
            Kind::Multimodal => "multimodal",
            Kind::Embeddings => "embeddings",
            Kind::Whisper => "whisper",
            Kind::ImageGeneration => "image-generation",
            Kind::ImageEdit => "image-edit",
        }
    }

    /// Whether it writes text, token by token.
    pub fn writes_text(self) -> bool {
        matches!(self, Kind::Lm | Kind::Multimodal)
    }
}
