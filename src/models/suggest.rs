//! What a new profile should say, as it follows from a model's facts and the memory there is. Pure.

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{Facts, fit, parsers};

/// Enough for tools and long conversations; whoever needs more says so.
const USUAL_CONTEXT: u64 = 32_768;
/// Less is no use to anybody.
const LEAST_CONTEXT: u64 = 2_048;
const CONTEXT_STEP: u64 = 1_024;
/// Conversations at a time that the context is chosen for.
const CONCURRENCY: u32 = 1;

/// Settings for a new profile.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Suggestion {
    pub model_type: &'static str,
    /// `None`: leave it to the engine.
    pub context_length: Option<u32>,
    /// Request fields, as the makers of the model advise.
    #[schema(value_type = Object)]
    pub defaults: Map<String, Value>,
    /// What the engine will read tool calls with.
    pub tool_parser: Option<&'static str>,
    /// What the engine will tell thinking apart with.
    pub reasoning_parser: Option<&'static str>,
}

/// What fits the model under a budget of memory.
pub fn suggest(facts: &Facts, budget_bytes: u64) -> Suggestion {
    let parsers = parsers::choose(facts);
    let writes = facts.kind.writes_text();
    Suggestion {
        model_type: facts.kind.name(),
        context_length: writes.then(|| context(facts, budget_bytes)).flatten(),
        defaults: facts
            .sampling
            .as_ref()
            .filter(|_| writes)
            .map(|known| known.value.clone())
            .unwrap_or_default(),
        tool_parser: parsers.tool.filter(|_| writes),
        reasoning_parser: parsers.reasoning.filter(|_| writes),
    }
}

/// The usual length, less where the model or the memory has less.
fn context(facts: &Facts, budget_bytes: u64) -> Option<u32> {
    let window = facts.context_length?.value;
    let room = fit::largest_context(facts, budget_bytes, CONCURRENCY).unwrap_or(window);
    let fitting = if room < LEAST_CONTEXT { LEAST_CONTEXT } else { room / CONTEXT_STEP * CONTEXT_STEP };
    u32::try_from(USUAL_CONTEXT.min(window).min(fitting)).ok()
}
