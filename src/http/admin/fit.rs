//! Whether a model fits into this machine's memory, as models and search hits show it.

use serde::Serialize;
use utoipa::ToSchema;

use crate::models::Facts;
use crate::models::fit::{Estimate, Verdict, estimate, judge, largest_context};

/// The context that is assumed where nobody says another: what a chat takes.
const USUAL_CONTEXT: u64 = 8192;

/// For one conversation.
#[derive(Debug, Serialize, ToSchema)]
pub struct Fit {
    #[serde(flatten)]
    verdict: Verdict,
    /// Tokens that were assumed.
    context_tokens: u64,
    estimate: Estimate,
    /// The largest context that fits the budget; null where too little is known.
    largest_context_tokens: Option<u64>,
}

/// `None` where not even the size of the weights is known.
pub fn fit_of(facts: &Facts, budget_bytes: u64) -> Option<Fit> {
    let made_for = facts.context_length.map_or(USUAL_CONTEXT, |known| known.value);
    let context_tokens = made_for.min(USUAL_CONTEXT);
    let estimate = estimate(facts, context_tokens, 1);
    (estimate.weights_bytes > 0).then(|| Fit {
        verdict: judge(&estimate, budget_bytes, 0),
        context_tokens,
        largest_context_tokens: largest_context(facts, budget_bytes, 1),
        estimate,
    })
}
