//! Usage and progress read out of answers that pass through unchanged, from their bytes: a JSON key
//! and its colon cannot occur inside a JSON string, whose quotes are escaped.

use std::collections::VecDeque;
use std::sync::LazyLock;

use bytes::Bytes;
use memchr::memmem::Finder;
use serde_json::Value;

use crate::dialect::facts::{Facts, Usage};
use crate::dialect::failure::UpstreamFailure;
use crate::dialect::sse;

static CONTENT: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("content\""));
static REASONING: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"reasoning"));
static CALLS: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"tool_calls\""));
static TEXT: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"text\""));
static USAGE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"usage\""));
static FINISH: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"finish_reason\""));
static CHOICES: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"choices\""));
static ERROR: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"error\""));

/// Notes what complete events tell.
pub fn events(bytes: &[u8], facts: &mut Facts) {
    for data in sse::events(bytes) {
        if data.as_ref() == sse::DONE {
            facts.done = true;
        } else {
            event(&data, facts);
        }
    }
}

fn event(data: &[u8], facts: &mut Facts) {
    if carries(data) {
        facts.deltas += 1;
        let reasons = REASONING.find_iter(data).any(|at| opens_text(after_key(data, at + 10)));
        facts.reasoning_deltas += u64::from(reasons);
    } else if CHOICES.find(data).is_none() {
        let error = ERROR.find_iter(data).find_map(|at| value(data, at + 7)).filter(|v| v.starts_with(b"{"));
        facts.failure = error.map(first_value).map(UpstreamFailure::from_event).or(facts.failure.take());
    }
    note_end(data, facts);
}

/// Usage and finish of an event or a whole answer.
fn note_end(data: &[u8], facts: &mut Facts) {
    let usage = USAGE.find_iter(data).filter_map(|at| Usage::read(value(data, at + 7)?)).last();
    facts.usage = usage.or(facts.usage);
    for at in FINISH.find_iter(data) {
        let reason = value(data, at + 15).and_then(|value| value.strip_prefix(b"\""));
        if let Some(end) = reason.and_then(|reason| memchr::memchr(b'"', reason)) {
            let reason = &reason.unwrap_or_default()[..end];
            facts.finish_reason = Some(String::from_utf8_lossy(reason).into_owned());
        }
    }
}

/// Whether an event holds part of an answer.
fn carries(data: &[u8]) -> bool {
    CONTENT.find_iter(data).any(|at| opens_text(value(data, at + 8)))
        || CALLS.find_iter(data).any(|at| value(data, at + 12).is_some_and(|v| v.starts_with(b"[{")))
        || REASONING.find_iter(data).any(|at| opens_text(after_key(data, at + 10)))
        || TEXT.find_iter(data).any(|at| opens_text(value(data, at + 6)))
}

/// Whether a value is a string with something in it.
fn opens_text(value: Option<&[u8]>) -> bool {
    value.is_some_and(|value| value.starts_with(b"\"") && value.get(1) != Some(&b'"'))
}

/// What follows a key that ends at `at`, its colon and white space; none when it is no key.
fn value(data: &[u8], at: usize) -> Option<&[u8]> {
    Some(data.get(at..)?.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start())
}

/// The same for a key of which only the beginning is known.
fn after_key(data: &[u8], at: usize) -> Option<&[u8]> {
    let rest = data.get(at..)?;
    let end = memchr::memchr(b'"', rest)?;
    value(rest, end + 1)
}

/// The JSON value that `bytes` begin with.
fn first_value(bytes: &[u8]) -> &[u8] {
    let mut values = serde_json::Deserializer::from_slice(bytes).into_iter::<serde::de::IgnoredAny>();
    match values.next() {
        Some(Ok(_)) => &bytes[..values.byte_offset()],
        _ => b"null",
    }
}

/// Bytes of text that make a token on average.
const BYTES_PER_TOKEN: usize = 4;

fn note_whole(answer: &[u8], facts: &mut Facts) {
    note_end(answer, facts);
    if facts.usage.is_none_or(|usage| usage.completion.is_none())
        && let Ok(answer) = serde_json::from_slice::<Value>(answer)
    {
        facts.deltas = text_bytes(&answer["choices"]).div_ceil(BYTES_PER_TOKEN) as u64;
    }
}

/// Returns the bytes of all text that the model wrote into an answer's choices.
fn text_bytes(choices: &Value) -> usize {
    let text = |value: &Value| value.as_str().map_or(0, str::len);
    let of = |choice: &Value| {
        let message = &choice["message"];
        let calls = message["tool_calls"].as_array().into_iter().flatten();
        let calls = calls.map(|call| text(&call["function"]["name"]) + text(&call["function"]["arguments"]));
        let words = ["content", "reasoning_content", "reasoning"].iter().map(|key| text(&message[*key]));
        text(&choice["text"]) + words.sum::<usize>() + calls.sum::<usize>()
    };
    choices.as_array().into_iter().flatten().map(of).sum()
}

/// Bytes of a whole answer that are kept (not copied) until its end for a look at its usage.
const KEPT: usize = 2 << 20;
/// Pieces of it: of small ones each takes more than its bytes.
const PIECES: usize = 1 << 14;

/// Looks at an answer that is one JSON object, when it has passed.
#[derive(Debug, Default)]
pub struct WholeTap {
    pieces: VecDeque<Bytes>,
    len: usize,
}

impl WholeTap {
    /// Takes note of a piece that passes; keeps the newest ones.
    pub fn feed(&mut self, piece: &Bytes) {
        self.pieces.push_back(piece.clone());
        self.len += piece.len();
        while self.len > KEPT || self.pieces.len() > PIECES {
            self.len -= self.pieces.pop_front().map_or(self.len, |piece| piece.len());
        }
    }

    /// Notes what the answer reported. Without usage, `facts.deltas` becomes an estimate of the tokens of its text.
    pub fn finish(&mut self, facts: &mut Facts) {
        let pieces = std::mem::take(&mut self.pieces);
        match pieces.len() {
            0 => {}
            1 => note_whole(&pieces[0], facts),
            _ => note_whole(&pieces.iter().flatten().copied().collect::<Vec<u8>>(), facts),
        }
        facts.done = true;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(text: &str) -> Facts {
        let mut facts = Facts::default();
        events(text.as_bytes(), &mut facts);
        facts
    }

    fn delta(delta: &str) -> Facts {
        of(&format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":null}}]}}\n\n"))
    }

    #[test]
    fn only_deltas_with_something_in_them_count() {
        for (text, count, reasoning) in [
            (r#"{"role":"assistant"}"#, 0, 0),
            (r#"{"role":"assistant","content":""}"#, 0, 0),
            (r#"{"content":null}"#, 0, 0),
            (r#"{"content":"a"}"#, 1, 0),
            (r#"{"content" : "a"}"#, 1, 0),
            (r#"{"reasoning_content": "a"}"#, 1, 1),
            (r#"{"reasoning": "a"}"#, 1, 1),
            (r#"{"content":"","reasoning_content":"a"}"#, 1, 1),
            (r#"{"tool_calls":[]}"#, 0, 0),
            (r#"{"tool_calls":[{"index":0}]}"#, 1, 0),
            (r#"{"content":"","refusal":"\"content\":\"x\""}"#, 0, 0),
        ] {
            let facts = delta(text);
            assert_eq!((facts.deltas, facts.reasoning_deltas), (count, reasoning), "{text}");
        }
    }

    #[test]
    fn usage_finish_and_end_are_noted_and_quoted_ones_are_not() {
        let facts = of(concat!(
            "data: {\"choices\":[{\"delta\":{\"content\":\"\\\"usage\\\":{\\\"prompt_tokens\\\":9}\"},\"finish_reason\":null}],\"usage\":null}\n\n",
            "data: {\"choices\":[{\"delta\":{},\"finish_reason\": \"length\"}]}\n\n",
            "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4,\"prompt_tokens_details\":{\"cached_tokens\":1}}}\n\n",
            "data: [DONE]\n\n",
        ));
        let usage = Usage { prompt: Some(3), completion: Some(4), cached: Some(1), reasoning: None };
        assert_eq!(facts.usage, Some(usage));
        assert_eq!(facts.finish_reason.as_deref(), Some("length"));
        assert!(facts.done && facts.failure.is_none());
        assert_eq!(facts.deltas, 1);
    }

    #[test]
    fn an_error_event_is_a_failure() {
        let facts = of("data: {\"error\": {\"message\": \"broken\", \"code\": \"500\"}}\n\n");
        assert_eq!(facts.failure.unwrap().message, "broken");
    }

    #[test]
    fn a_whole_answer_tells_its_usage_whatever_its_pieces() {
        let text =
            br#"{"usage":{"prompt_tokens":1,"completion_tokens":2},"choices":[{"finish_reason":"stop"}]}"#;
        for cut in 0..text.len() {
            let (mut tap, mut facts) = (WholeTap::default(), Facts::default());
            tap.feed(&Bytes::copy_from_slice(&text[..cut]));
            tap.feed(&Bytes::copy_from_slice(&text[cut..]));
            tap.finish(&mut facts);
            assert_eq!(facts.usage.unwrap().completion, Some(2));
            assert_eq!(facts.finish_reason.as_deref(), Some("stop"));
        }
    }

    #[test]
    fn whole_answer_without_usage_has_its_tokens_estimated_by_its_text() {
        for (answer, tokens) in [
            (r#"{"choices":[{"message":{"content":"eight by"}},{"message":{"content":"four"}}]}"#, 3),
            (r#"{"choices":[{"text":"12345"}]}"#, 2),
            (
                r#"{"choices":[{"message":{"content":null,"tool_calls":[{"function":{"name":"f","arguments":"{\"a\":1}"}}]}}]}"#,
                2,
            ),
            (r#"{"data":[{"embedding":[1,2,3]}]}"#, 0),
            (r#"{"choices":[{"message":{"content":"eight by"}}],"usage":{"completion_tokens":7}}"#, 0),
        ] {
            let (mut tap, mut facts) = (WholeTap::default(), Facts::default());
            tap.feed(&Bytes::from_static(answer.as_bytes()));
            tap.finish(&mut facts);
            assert_eq!(facts.deltas, tokens, "{answer}");
        }
    }

    proptest! {
        #[test]
        fn what_a_model_says_is_never_taken_for_a_key(text in ".{0,60}", key in "(usage|error|content|finish_reason)") {
            let said = serde_json::json!(format!("{text}\"{key}\":{{\"completion_tokens\":7}}"));
            let facts = of(&format!("data: {{\"choices\":[{{\"delta\":{{\"content\":{said}}}}}]}}\n\n"));
            prop_assert_eq!((facts.deltas, facts.usage, facts.failure, facts.finish_reason), (1, None, None, None));
        }

        #[test]
        fn foreign_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), text in ".{0,40}") {
            let mut facts = Facts::default();
            events(&bytes, &mut facts);
            events(format!("data: {{\"usage\":{text}").as_bytes(), &mut facts);
        }
    }
}
