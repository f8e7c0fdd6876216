//! How many tokens a request may use, for the limits of its caller. Pure; who counts a prompt is not known here.

use crate::auth::Estimate;
use crate::dialect::operation::Operation;
use crate::dialect::request::Scanned;
use crate::profiles::Entry;

/// Bytes of text that make a token on average, for figures that clients read.
const BYTES_PER_TOKEN: u64 = 4;
/// The same where tokens are short: Chinese, Japanese and Korean, random characters, some digits.
const BYTES_PER_SHORT_TOKEN: u64 = 2;
/// Tokens of a picture, sound or video in a request, and of a form that has files.
pub const MEDIUM_TOKENS: u64 = 2_048;
/// Tokens of an answer without a limit.
const ANSWER_TOKENS: u64 = 1_024;

/// What was found out about a prompt before it was planned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Measured {
    /// Tokens of its text, if they were counted, and the size of what was counted.
    pub counted: Option<(u64, Size)>,
    /// Tokens that the model's context holds, if it is known.
    pub context: Option<u64>,
}

/// What a prompt consists of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Size {
    /// Bytes outside media.
    pub bytes: u64,
    pub media: u64,
}

/// Tokens of a prompt. All figures are equal if they were counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Prompt {
    /// On average, for figures that clients read.
    pub likely: u64,
    /// Seldom exceeded.
    pub reserved: u64,
    /// Never exceeded: no token has less than a byte.
    pub max: u64,
}

impl Size {
    /// Returns the size of all that the model is to read.
    pub fn of(entry: &Entry, request: &Scanned, operation: Operation) -> Size {
        if operation.is_form() {
            return Size { bytes: 0, media: 1 };
        }
        let media = request.scan.inline_media;
        let system = entry.profile.system_prompt.as_deref().map_or(0, str::len) + request.body.len();
        Size { bytes: (system as u64).saturating_sub(media.bytes), media: media.count }
    }
}

impl Prompt {
    /// Estimates a prompt, or what it has grown by since it was counted.
    pub fn of(size: Size, measured: &Measured) -> Prompt {
        let (counted, before) = measured.counted.unwrap_or_default();
        let bytes = size.bytes.saturating_sub(before.bytes);
        let sure = counted.saturating_add(size.media.saturating_mul(MEDIUM_TOKENS));
        Prompt {
            likely: sure.saturating_add(bytes / BYTES_PER_TOKEN),
            reserved: sure.saturating_add(bytes / BYTES_PER_SHORT_TOKEN),
            max: sure.saturating_add(bytes),
        }
    }

    /// Returns the limit of an answer to which neither client nor profile sets one, if the caller's budgets have
    /// `left` tokens. A prompt that only seems to take all of them leaves half for the answer.
    pub fn answer_max(self, left: u64) -> u64 {
        let rest = match left.saturating_sub(self.reserved) {
            0 if self.reserved < self.max => left / 2,
            rest => rest,
        };
        rest.max(1)
    }

    /// Returns what a request with this prompt may use. `max_tokens`: of each of its `choices`.
    pub fn estimate(
        self,
        operation: Operation,
        max_tokens: Option<u64>,
        choices: u64,
        context: Option<u64>,
    ) -> Estimate {
        let answer = match operation {
            Operation::Chat | Operation::Completion => max_tokens.unwrap_or(ANSWER_TOKENS),
            Operation::Embedding | Operation::Image | Operation::ImageEdit | Operation::Transcription => 0,
        };
        let answer = answer.min(context.unwrap_or(u64::MAX)).saturating_mul(choices);
        Estimate { prompt: self.reserved, prompt_max: self.max, answer }
    }
}

/// Returns how many answers a request asks one engine for.
pub fn choices(request: &Scanned, operation: Operation) -> u64 {
    let number = |key| request.json(key).ok().flatten().and_then(|value| value.as_u64()).unwrap_or(1);
    match operation {
        Operation::Chat => number("n").max(1),
        Operation::Completion => number("n").max(number("best_of")).max(1),
        Operation::Embedding | Operation::Image | Operation::ImageEdit | Operation::Transcription => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::request::scanned_for_tests;

    fn prompt(likely: u64, reserved: u64, max: u64) -> Prompt {
        Prompt { likely, reserved, max }
    }

    #[test]
    fn prompts_are_estimated_by_bytes_and_by_media() {
        let none = Measured::default();
        let size = |bytes, media| Size { bytes, media };
        assert_eq!(Prompt::of(size(1_000_000, 0), &none), prompt(250_000, 500_000, 1_000_000));
        let media = MEDIUM_TOKENS * 2;
        assert_eq!(Prompt::of(size(8, 2), &none), prompt(media + 2, media + 4, media + 8));
        let counted = Measured { counted: Some((70, size(100, 0))), context: None };
        assert_eq!(Prompt::of(size(100, 0), &counted), prompt(70, 70, 70));
        assert_eq!(Prompt::of(size(180, 0), &counted), prompt(90, 110, 150), "it has grown");
    }

    #[test]
    fn answers_are_estimated_by_their_limit_for_each_choice() {
        let of = |operation, limit, choices, context| {
            prompt(1, 2, 3).estimate(operation, limit, choices, context).answer
        };
        assert_eq!(of(Operation::Chat, Some(100), 3, None), 300);
        assert_eq!(of(Operation::Chat, Some(100), 3, Some(40)), 120);
        assert_eq!(of(Operation::Completion, None, 1, None), ANSWER_TOKENS);
        assert_eq!(of(Operation::Embedding, None, 1, None), 0);
        let asked = scanned_for_tests(r#"{"model":"m","n":2,"best_of":5}"#);
        assert_eq!((choices(&asked, Operation::Chat), choices(&asked, Operation::Completion)), (2, 5));
        let odd = scanned_for_tests(r#"{"model":"m","n":-2,"best_of":"x"}"#);
        assert_eq!((choices(&odd, Operation::Chat), choices(&odd, Operation::Completion)), (1, 1));
    }

    #[test]
    fn an_answer_without_a_limit_gets_what_the_prompt_leaves() {
        assert_eq!(prompt(5, 10, 20).answer_max(100), 90);
        assert_eq!(prompt(50, 100, 200).answer_max(100), 50, "the prompt may be much shorter");
        assert_eq!(prompt(100, 100, 100).answer_max(100), 1);
    }
}
