//! Whether a model fits: weights, KV cache and overhead against a budget. Pure; the one estimate that
//! people are shown and that admission goes by.

use serde::Serialize;
use utoipa::ToSchema;

use super::Facts;

/// A server without a model: interpreter, libraries, helper processes (274 MB were measured), and the
/// buffers that every model needs.
const PROCESS_BYTES: u64 = 512 << 20;
/// Activations and buffers that grow with the model: one part in so many of its weights.
const WORKING_SHARE: u64 = 16;
/// Caches grow by so many tokens at once.
const STEP_TOKENS: u64 = 256;
/// Percent of the free memory up to which a model fits comfortably.
const COMFORT_PERCENT: u128 = 90;
/// Searched up to here where a model does not say how far it goes.
const LONGEST_CONTEXT: u64 = 1 << 28;

/// What a model would take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Estimate {
    pub weights_bytes: u64,
    /// Of all conversations together, each with a full context.
    pub kv_bytes: u64,
    pub overhead_bytes: u64,
    /// False: the size of the weights or of the cache is unknown and counted as nothing.
    pub complete: bool,
}

/// Whether that fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = FitGrade)]
pub enum Fit {
    Yes,
    /// Only with little room to spare, or once others have stopped.
    Tight,
    No,
}

/// The answer with its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct Verdict {
    pub fit: Fit,
    pub needed_bytes: u64,
    pub budget_bytes: u64,
    /// What others have of the budget.
    pub in_use_bytes: u64,
}

/// Keys and values packed into few bits each, with a scale and a bias of 16 bits for every group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvQuantization {
    pub bits: u32,
    pub group_size: u32,
}

impl KvQuantization {
    /// What `bytes` at `bytes_per_element` come to; never more.
    fn packed(self, bytes: u64, bytes_per_element: u64) -> u64 {
        let group = f64::from(self.group_size.max(1));
        let bits = f64::from(self.bits) + 32.0 / group;
        let plain_bits = bytes_per_element as f64 * 8.0;
        if plain_bits <= bits { bytes } else { (bytes as f64 * bits / plain_bits).ceil() as u64 }
    }
}

impl Estimate {
    /// Weights, cache and overhead, in bytes.
    pub fn total_bytes(&self) -> u64 {
        self.weights_bytes.saturating_add(self.kv_bytes).saturating_add(self.overhead_bytes)
    }
}

/// What the model takes while `concurrency` conversations have `context_tokens` each.
pub fn estimate(facts: &Facts, context_tokens: u64, concurrency: u32) -> Estimate {
    estimate_packed(facts, context_tokens, concurrency, None)
}

/// The same where the engine was told to pack its cache. Layers that look back only so far are kept
/// plain by the engines.
pub fn estimate_packed(
    facts: &Facts,
    context_tokens: u64,
    concurrency: u32,
    kv: Option<KvQuantization>,
) -> Estimate {
    let weights = weights_bytes(facts);
    let cache = facts.kv_cache.as_ref().map(|cache| &cache.value);
    let tokens = context_tokens.div_ceil(STEP_TOKENS).saturating_mul(STEP_TOKENS);
    let each = cache.map_or(0, |cache| {
        let plain = cache.bytes_at(tokens);
        let Some(kv) = kv else { return plain };
        let packable = cache.unbounded_bytes_at(tokens);
        plain - packable + kv.packed(packable, cache.bytes_per_element)
    });
    let weights_bytes = weights.unwrap_or(0);
    Estimate {
        weights_bytes,
        kv_bytes: each.saturating_mul(u64::from(concurrency)),
        overhead_bytes: PROCESS_BYTES + weights_bytes / WORKING_SHARE,
        complete: weights.is_some() && cache.is_some(),
    }
}

/// Holds the estimate against a budget of which others have `in_use` already.
pub fn judge(estimate: &Estimate, budget_bytes: u64, in_use_bytes: u64) -> Verdict {
    let needed_bytes = estimate.total_bytes();
    let free = budget_bytes.saturating_sub(in_use_bytes);
    let comfortable = u128::from(free) * COMFORT_PERCENT / 100;
    let fit = if u128::from(needed_bytes) <= comfortable {
        Fit::Yes
    } else if needed_bytes <= budget_bytes {
        Fit::Tight
    } else {
        Fit::No
    };
    Verdict { fit, needed_bytes, budget_bytes, in_use_bytes }
}

/// The most tokens that each of `concurrency` conversations may have under the budget, at most what
/// the model was made for; 0: not even the weights fit. `None`: unknown.
pub fn largest_context(facts: &Facts, budget_bytes: u64, concurrency: u32) -> Option<u64> {
    let fits = |tokens| {
        let estimate = estimate(facts, tokens, concurrency);
        estimate.complete.then(|| estimate.total_bytes() <= budget_bytes)
    };
    let most = facts.context_length.map_or(LONGEST_CONTEXT, |known| known.value.min(LONGEST_CONTEXT));
    if fits(most)? {
        // A model without a cache has no end of its own.
        return facts.context_length.map(|known| known.value);
    }
    let (mut low, mut high) = (0, most);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if fits(middle)? { low = middle } else { high = middle }
    }
    Some(low)
}

/// From the files, else from what is known of the parameters.
fn weights_bytes(facts: &Facts) -> Option<u64> {
    if let Some(known) = facts.weights_bytes {
        return Some(known.value);
    }
    let bits = facts.quantization.as_ref()?.value.stored_bits()?;
    Some((facts.parameters?.value as f64 * bits / 8.0) as u64)
}

#[cfg(test)]
#[path = "fit_tests.rs"]
mod tests;
