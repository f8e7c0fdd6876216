//! What an answer tells about itself while it passes: tokens, finish, failure.

use serde_json::{Value, json};

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

/// Tokens that one figure of a report may come to: far more than any context holds, and so little that sums of them
/// fit into the store's integers.
pub const TOKENS_MAX: u64 = 1 << 32;

/// Tokens as the backend counted them, each at most [`TOKENS_MAX`] as long as it was read here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    pub prompt: Option<u64>,
    pub completion: Option<u64>,
    pub cached: Option<u64>,
    pub reasoning: Option<u64>,
}

impl Usage {
    /// Reads the `usage` object that `json` begins with; what follows it is ignored.
    pub fn read(json: &[u8]) -> Option<Usage> {
        let mut values = serde_json::Deserializer::from_slice(json).into_iter::<Value>();
        Usage::of(&values.next()?.ok()?)
    }

    /// Reads a `usage` object. Figures that are no number of tokens are unknown.
    pub fn of(usage: &Value) -> Option<Usage> {
        let usage = usage.as_object()?;
        let detail = |list: &str, name: &str| usage.get(list)?.get(name).and_then(tokens);
        Some(Usage {
            prompt: usage.get("prompt_tokens").and_then(tokens),
            completion: usage.get("completion_tokens").and_then(tokens),
            cached: detail("prompt_tokens_details", "cached_tokens"),
            reasoning: detail("completion_tokens_details", "reasoning_tokens"),
        })
    }

    /// The tokens of both together.
    pub fn plus(self, other: Usage) -> Usage {
        Usage {
            prompt: sum(self.prompt, other.prompt),
            completion: sum(self.completion, other.completion),
            cached: sum(self.cached, other.cached),
            reasoning: sum(self.reasoning, other.reasoning),
        }
    }

    /// Returns the tokens of both, as far as they are known.
    pub fn sum(one: Option<Usage>, other: Option<Usage>) -> Option<Usage> {
        match (one, other) {
            (Some(one), Some(other)) => Some(one.plus(other)),
            (one, other) => one.or(other),
        }
    }

    /// Returns the `usage` object of an answer; unknown numbers are 0.
    pub fn to_json(self) -> Value {
        let mut usage = json!({
            "prompt_tokens": self.prompt.unwrap_or(0),
            "completion_tokens": self.completion.unwrap_or(0),
            "total_tokens": self.total(),
            "prompt_tokens_details": {"cached_tokens": self.cached.unwrap_or(0)},
        });
        if let Some(reasoning) = self.reasoning {
            usage["completion_tokens_details"] = json!({"reasoning_tokens": reasoning});
        }
        usage
    }

    /// Prompt and completion together; what is unknown counts nothing.
    pub fn total(self) -> u64 {
        sum(self.prompt, self.completion).unwrap_or(0)
    }
}

/// A number of tokens, however a backend writes it; none: it is none.
fn tokens(value: &Value) -> Option<u64> {
    let number = match value {
        // Casts saturate.
        Value::Number(number) => number
            .as_u64()
            .or_else(|| number.as_f64().filter(|tokens| *tokens >= 0.0).map(|tokens| tokens as u64)),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number.map(|tokens: u64| tokens.min(TOKENS_MAX))
}

fn sum(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    match (one, other) {
        (None, None) => None,
        (one, other) => Some(one.unwrap_or(0).saturating_add(other.unwrap_or(0))),
    }
}

impl Facts {
    /// Whether the answer came to its end.
    pub fn finished(&self) -> bool {
        self.done || self.finish_reason.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_plausible_whatever_a_backend_reports() {
        for (reported, read) in [
            (json!(7), Some(7)),
            (json!("7"), Some(7)),
            (json!(7.9), Some(7)),
            (json!(u64::MAX), Some(TOKENS_MAX)),
            (json!(1e300), Some(TOKENS_MAX)),
            (json!(-1), None),
            (json!(-0.5), None),
            (json!("many"), None),
            (json!([1]), None),
            (json!(null), None),
        ] {
            let usage = json!({
                "prompt_tokens": reported, "completion_tokens": reported,
                "prompt_tokens_details": {"cached_tokens": reported},
                "completion_tokens_details": {"reasoning_tokens": reported},
            });
            let usage = Usage::of(&usage).unwrap();
            let all = [usage.prompt, usage.completion, usage.cached, usage.reasoning];
            assert_eq!(all, [read; 4], "{reported}");
            assert_eq!(usage.plus(usage).total(), read.unwrap_or(0) * 4, "{reported}");
        }
        let odd =
            json!({"prompt_tokens": 3, "prompt_tokens_details": "none", "completion_tokens_details": 7});
        assert_eq!(Usage::of(&odd), Some(Usage { prompt: Some(3), ..Usage::default() }));
        assert_eq!((Usage::of(&json!("x")), Usage::read(b"null}")), (None, None));
        assert_eq!(Usage::read(b"{\"prompt_tokens\":3},\"id\":1").unwrap().prompt, Some(3));
    }

    #[test]
    fn usage_saturates_when_sums_grow_beyond_all_bounds() {
        let most = Usage { prompt: Some(u64::MAX), completion: Some(u64::MAX), ..Usage::default() };
        assert_eq!((most.plus(most).prompt, most.total()), (Some(u64::MAX), u64::MAX));
    }
}
