//! What an answer tells about itself while it passes: tokens, finish, failure.

use serde::Deserialize;

use super::failure::UpstreamFailure;

/// Gathered from an answer, event by event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Deltas with content, reasoning or a tool call.
    pub deltas: u64,
    /// Those of them that are reasoning.
    pub reasoning_deltas: u64,
    pub usage: Option<Usage>,
    /// Tokens of the prompt that the client is told where the backend counted none.
    pub estimated_prompt: Option<u64>,
    pub finish_reason: Option<String>,
    /// A failure told inside the stream.
    pub failure: Option<UpstreamFailure>,
    /// `[DONE]` was seen.
    pub done: bool,
    /// The answer is complete, and what the engine goes on to say is not part of it.
    pub stopped: bool,
}

/// Tokens as the backend counted them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    pub prompt: Option<u64>,
    pub completion: Option<u64>,
    pub cached: Option<u64>,
    pub reasoning: Option<u64>,
}

#[derive(Deserialize)]
struct Wire {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    prompt_tokens_details: Option<PromptDetails>,
    completion_tokens_details: Option<CompletionDetails>,
}

#[derive(Deserialize)]
struct PromptDetails {
    cached_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct CompletionDetails {
    reasoning_tokens: Option<u64>,
}

impl Usage {
    /// Reads the `usage` object that `json` begins with; what follows it is ignored.
    pub fn read(json: &[u8]) -> Option<Usage> {
        let mut values = serde_json::Deserializer::from_slice(json).into_iter::<Option<Wire>>();
        let wire = values.next()?.ok()??;
        Some(Usage {
            prompt: wire.prompt_tokens,
            completion: wire.completion_tokens,
            cached: wire.prompt_tokens_details.and_then(|details| details.cached_tokens),
            reasoning: wire.completion_tokens_details.and_then(|details| details.reasoning_tokens),
        })
    }
}

impl Facts {
    /// Whether the answer came to its end.
    pub fn finished(&self) -> bool {
        self.done || self.finish_reason.is_some()
    }
}
