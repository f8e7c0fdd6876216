//! What is peculiar to each engine, as data: which request fields it may see and what has to be
//! put right on the way in and out. Sources: the engines' own request schemas and recorded answers.

use super::operation::Operation;
use super::scan::Kind;
use crate::config::EngineKind;

/// Names of fields with the JSON kinds they may have.
pub type Fields = &'static [(&'static str, &'static [Kind])];

/// How requests to and answers of an engine are treated.
#[derive(Debug)]
pub struct Quirks {
    /// What it has endpoints for; `None`: only it knows.
    pub serves: Option<&'static [Operation]>,
    /// The only fields of a chat that may reach it, with the JSON kinds it takes; `None`: all.
    pub fields: Option<Fields>,
    /// The same of a text completion and of embeddings.
    pub completion_fields: Fields,
    pub embedding_fields: Fields,
    pub image_fields: Fields,
    /// The same of forms.
    pub edit_fields: Fields,
    pub transcription_fields: Fields,
    /// Always asked for a stream, so that leaving cancels the generation.
    pub always_stream: bool,
    /// Answers pass through [`super::repair`].
    pub repair: bool,
    /// `stop` as a string is refused.
    pub stop_as_list: bool,
    /// Role `developer` is refused.
    pub no_developer: bool,
    /// `reasoning_effort` belongs into `chat_template_kwargs`.
    pub effort_in_template: bool,
    /// The request's `model` names the served model; otherwise it is left out.
    pub names_model: bool,
    /// Usage comes in a stream only when asked for by `stream_options`.
    pub asks_for_usage: bool,
    /// `logprobs` come when asked for.
    pub logprobs: bool,
}

impl Quirks {
    /// Those of an engine.
    pub fn of(engine: EngineKind) -> &'static Quirks {
        match engine {
            EngineKind::MlxOpenaiServer => &MLX_OPENAI_SERVER,
            EngineKind::MlxLm => &MLX_LM,
            EngineKind::Command | EngineKind::Url => &PASSTHROUGH,
        }
    }

    /// The only fields of such a request that may reach the engine; `None`: all.
    pub fn fields_of(&self, operation: Operation) -> Option<Fields> {
        self.fields.map(|chat| match operation {
            Operation::Chat => chat,
            Operation::Completion => self.completion_fields,
            Operation::Embedding => self.embedding_fields,
            Operation::Image => self.image_fields,
            Operation::ImageEdit => self.edit_fields,
            Operation::Transcription => self.transcription_fields,
        })
    }
}

const NUMBER: &[Kind] = &[Kind::Number];
const TEXT: &[Kind] = &[Kind::String];
const FLAG: &[Kind] = &[Kind::Bool];
const LIST: &[Kind] = &[Kind::Array];
const MAP: &[Kind] = &[Kind::Object];
const STOP: &[Kind] = &[Kind::String, Kind::Array];
const CHOICE: &[Kind] = &[Kind::String, Kind::Object];

/// Other OpenAI-compatible servers: everything passes.
pub static PASSTHROUGH: Quirks = Quirks {
    serves: None,
    fields: None,
    completion_fields: &[],
    embedding_fields: &[],
    image_fields: &[],
    edit_fields: &[],
    transcription_fields: &[],
    always_stream: false,
    repair: false,
    stop_as_list: false,
    no_developer: false,
    effort_in_template: false,
    names_model: true,
    asks_for_usage: false,
    logprobs: true,
};

/// `mlx-openai-server` 1.6 to 1.8.
pub static MLX_OPENAI_SERVER: Quirks = Quirks {
    serves: Some(&[
        Operation::Chat,
        Operation::Embedding,
        Operation::Image,
        Operation::ImageEdit,
        Operation::Transcription,
    ]),
    fields: Some(&[
        ("model", TEXT),
        ("messages", LIST),
        ("tools", LIST),
        ("tool_choice", CHOICE),
        ("max_tokens", NUMBER),
        ("max_completion_tokens", NUMBER),
        ("temperature", NUMBER),
        ("top_p", NUMBER),
        ("top_k", NUMBER),
        ("min_p", NUMBER),
        ("frequency_penalty", NUMBER),
        ("presence_penalty", NUMBER),
        ("stop", STOP),
        ("n", NUMBER),
        ("response_format", MAP),
        ("seed", NUMBER),
        ("user", TEXT),
        ("repetition_penalty", NUMBER),
        ("repetition_context_size", NUMBER),
        ("xtc_probability", NUMBER),
        ("xtc_threshold", NUMBER),
        ("logit_bias", MAP),
        ("stream", FLAG),
        ("stream_options", MAP),
        ("chat_template_kwargs", MAP),
        ("reasoning_effort", TEXT),
        ("parallel_tool_calls", FLAG),
        ("logprobs", FLAG),
        ("top_logprobs", NUMBER),
    ]),
    completion_fields: &[],
    embedding_fields: &[("model", TEXT), ("input", STOP), ("user", TEXT)],
    image_fields: &[
        ("model", TEXT),
        ("prompt", TEXT),
        ("negative_prompt", TEXT),
        ("size", TEXT),
        ("guidance_scale", NUMBER),
        ("steps", NUMBER),
        ("seed", NUMBER),
        ("n", NUMBER),
        ("response_format", TEXT),
    ],
    edit_fields: &[
        ("model", TEXT),
        ("image", TEXT),
        ("prompt", TEXT),
        ("negative_prompt", TEXT),
        ("guidance_scale", TEXT),
        ("response_format", TEXT),
        ("seed", TEXT),
        ("size", TEXT),
        ("steps", TEXT),
    ],
    transcription_fields: &[
        ("model", TEXT),
        ("file", TEXT),
        ("language", TEXT),
        ("prompt", TEXT),
        ("response_format", TEXT),
        ("stream", TEXT),
        ("temperature", TEXT),
        ("top_p", TEXT),
        ("top_k", TEXT),
        ("min_p", TEXT),
        ("seed", TEXT),
        ("frequency_penalty", TEXT),
        ("repetition_penalty", TEXT),
        ("presence_penalty", TEXT),
    ],
    always_stream: true,
    repair: true,
    stop_as_list: true,
    no_developer: true,
    effort_in_template: true,
    names_model: true,
    asks_for_usage: false,
    logprobs: false,
};

/// `mlx_lm.server` 0.31. Its `model`, `adapters` and `draft_model` would load any local path.
pub static MLX_LM: Quirks = Quirks {
    serves: Some(&[Operation::Chat, Operation::Completion]),
    fields: Some(&[
        ("model", TEXT),
        ("messages", LIST),
        ("tools", LIST),
        ("tool_choice", CHOICE),
        ("max_tokens", NUMBER),
        ("max_completion_tokens", NUMBER),
        ("temperature", NUMBER),
        ("top_p", NUMBER),
        ("top_k", NUMBER),
        ("min_p", NUMBER),
        ("frequency_penalty", NUMBER),
        ("frequency_context_size", NUMBER),
        ("presence_penalty", NUMBER),
        ("presence_context_size", NUMBER),
        ("stop", STOP),
        ("n", NUMBER),
        ("response_format", MAP),
        ("seed", NUMBER),
        ("user", TEXT),
        ("repetition_penalty", NUMBER),
        ("repetition_context_size", NUMBER),
        ("xtc_probability", NUMBER),
        ("xtc_threshold", NUMBER),
        ("logit_bias", MAP),
        ("logprobs", FLAG),
        ("top_logprobs", NUMBER),
        ("stream", FLAG),
        ("stream_options", MAP),
        ("chat_template_kwargs", MAP),
        ("reasoning_effort", TEXT),
        ("parallel_tool_calls", FLAG),
    ]),
    completion_fields: &[
        ("model", TEXT),
        ("prompt", STOP),
        ("max_tokens", NUMBER),
        ("temperature", NUMBER),
        ("top_p", NUMBER),
        ("top_k", NUMBER),
        ("min_p", NUMBER),
        ("frequency_penalty", NUMBER),
        ("presence_penalty", NUMBER),
        ("repetition_penalty", NUMBER),
        ("repetition_context_size", NUMBER),
        ("stop", STOP),
        ("n", NUMBER),
        ("seed", NUMBER),
        ("user", TEXT),
        ("logit_bias", MAP),
        ("stream", FLAG),
        ("stream_options", MAP),
    ],
    embedding_fields: &[],
    image_fields: &[],
    edit_fields: &[],
    transcription_fields: &[],
    always_stream: true,
    repair: true,
    stop_as_list: true,
    no_developer: true,
    effort_in_template: true,
    names_model: false,
    asks_for_usage: true,
    logprobs: false,
};
