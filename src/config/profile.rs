//! A profile as configured: launch settings (which process) and settings per request.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// What clients name in `model`.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    pub name: String,
    /// Exact names or globs with `*`.
    pub aliases: Vec<String>,
    pub description: String,
    pub launch: LaunchSettings,
    pub system_prompt: Option<String>,
    /// Request fields filled in where the client left them out.
    pub defaults: serde_json::Map<String, serde_json::Value>,
    pub keep_alive: KeepAlive,
    pub pinned: bool,
    pub preload: bool,
    pub auto_download: bool,
    pub max_concurrent: u32,
    pub queue: Queue,
    pub timeouts: Timeouts,
    pub tools: Vec<String>,
}

/// The part of a profile that decides which process serves it. Profiles with equal launch settings
/// share one backend.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LaunchSettings {
    pub engine: EngineKind,
    /// Absent only for the engines `command` and `url`.
    pub model: Option<ModelRef>,
    /// `engine = "command"`: program and arguments with `{port}` and `{model}`.
    pub command: Vec<String>,
    /// `engine = "url"`.
    pub upstream: Option<Upstream>,
    /// `None`: detected from the model.
    pub model_type: Option<ModelType>,
    pub context_length: Option<u32>,
    /// Launch without batching, so that `json_schema` holds.
    pub structured: bool,
    pub extra_args: Vec<String>,
    pub env: BTreeMap<String, String>,
    pub trust_remote_code: bool,
    /// Bytes the user says it needs; wins over every estimate.
    pub memory: Option<u64>,
}

/// `engine`: which program answers for a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EngineKind {
    MlxOpenaiServer,
    MlxLm,
    Command,
    Url,
}

/// `model`: of the Hub, a folder, or built in.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ModelRef {
    /// A Hub id such as `mlx-community/Qwen3-4B-4bit`.
    Hub(String),
    /// An absolute folder.
    Folder(PathBuf),
    /// `builtin:demo`.
    Demo,
}

/// `model_type`: what a model is for, as `--model-type` of the engine takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ModelType {
    Lm,
    Multimodal,
    ImageGeneration,
    ImageEdit,
    Embeddings,
    Whisper,
}

/// `engine = "url"`: another OpenAI-compatible server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Upstream {
    /// Base URL that ends in `/v1` or the like, without a trailing slash.
    pub url: String,
    pub api_key: Option<KeySource>,
}

/// Where the key of an upstream server is read.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum KeySource {
    Env(String),
    File(PathBuf),
}

/// `keep_alive`: how long a backend without requests stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepAlive {
    /// Zero stops a backend as soon as it is idle.
    For(Duration),
    Forever,
}

/// `queue`: how many may wait, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queue {
    /// Requests that may wait.
    pub size: u32,
    pub timeout: Duration,
}

/// `timeouts`: how long each part of a request may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    pub start: Duration,
    pub first_token: Duration,
    pub idle: Duration,
    pub total: Duration,
}

impl Default for Queue {
    fn default() -> Self {
        Queue { size: 100, timeout: Duration::from_secs(5 * 60) }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts {
            start: Duration::from_secs(5 * 60),
            first_token: Duration::from_secs(15 * 60),
            idle: Duration::from_secs(60),
            total: Duration::from_secs(3600),
        }
    }
}

impl EngineKind {
    pub(super) const ALL: [EngineKind; 4] =
        [EngineKind::MlxOpenaiServer, EngineKind::MlxLm, EngineKind::Command, EngineKind::Url];

    /// Whether it is a server of ours for MLX models, whose ways are known.
    pub fn runs_mlx(self) -> bool {
        matches!(self, EngineKind::MlxOpenaiServer | EngineKind::MlxLm)
    }

    /// The name used in configuration.
    pub fn name(self) -> &'static str {
        match self {
            EngineKind::MlxOpenaiServer => "mlx-openai-server",
            EngineKind::MlxLm => "mlx-lm",
            EngineKind::Command => "command",
            EngineKind::Url => "url",
        }
    }
}

impl ModelType {
    /// The name used in configuration and by `mlx-openai-server --model-type`.
    pub fn name(self) -> &'static str {
        match self {
            ModelType::Lm => "lm",
            ModelType::Multimodal => "multimodal",
            ModelType::ImageGeneration => "image-generation",
            ModelType::ImageEdit => "image-edit",
            ModelType::Embeddings => "embeddings",
            ModelType::Whisper => "whisper",
        }
    }
}

impl std::fmt::Display for ModelRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ModelRef::Hub(id) => f.write_str(id),
            ModelRef::Folder(path) => write!(f, "{}", path.display()),
            ModelRef::Demo => f.write_str("builtin:demo"),
        }
    }
}
