//! Aggregates a stream of chunks to one `chat.completion`, for clients that did not ask for a stream: engines go on
//! generating for a client that left, unless they were asked for a stream.

use std::borrow::Cow;

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::assembled::Assembled;
use super::chunk::{self, Chunk};
use super::facts::{Facts, Usage};
use super::failure::UpstreamFailure;
use super::repair::finish_reason;
use super::sse;
use super::text::{Piece, Text};
use super::tool_calls::{ToolCall, ToolCalls};

/// An answer with all its choices.
#[derive(Debug)]
pub struct Aggregate {
    model: String,
    max_tokens: Option<u64>,
    id: Option<String>,
    created: Option<u64>,
    usage: Option<Value>,
    /// As many as were asked for.
    choices: Vec<Choice>,
    /// Bounds the text of all choices together.
    bound: Assembled,
}

#[derive(Debug, Default)]
struct Choice {
    content: Option<String>,
    reasoning: Option<String>,
    calls: ToolCalls,
    /// As the backend named it.
    finish_reason: Option<String>,
    text: Text,
}

/// What a chunk adds to one choice.
struct Fragment<'a> {
    index: u64,
    content: Option<Cow<'a, str>>,
    reasoning: Option<Cow<'a, str>>,
    calls: Option<Calls<'a>>,
    finish_reason: Option<Cow<'a, str>>,
}

/// The tool calls of a delta.
#[derive(Clone, Copy)]
enum Calls<'a> {
    Raw(&'a RawValue),
    Parsed(&'a Value),
}

impl Aggregate {
    /// Creates an aggregate of one choice in the name of `model`. `max_tokens` tells an end by length from others.
    pub fn new(model: &str, max_tokens: Option<u64>) -> Self {
        Aggregate {
            model: model.to_owned(),
            max_tokens,
            id: None,
            created: None,
            usage: None,
            choices: vec![Choice::default()],
            bound: Assembled::text(),
        }
    }

    /// Aggregates so many choices, which together may grow as large as one alone.
    pub fn with_choices(mut self, choices: usize) -> Self {
        self.choices.resize_with(choices.max(1), Choice::default);
        self
    }

    /// Separates thinking from the text of all choices, and ends each where one of `stops` begins. To be called after
    /// [`Aggregate::with_choices`].
    pub fn reading(mut self, stops: &[String]) -> Self {
        for choice in &mut self.choices {
            choice.text = Text::new(stops);
        }
        self
    }

    /// Adds complete events.
    pub fn feed(&mut self, events: &[u8], facts: &mut Facts) {
        for data in sse::events(events) {
            if facts.failure.is_some() || facts.done {
                return;
            }
            if data.as_ref() == sse::DONE {
                facts.done = true;
            } else if let Err(failure) = self.add_raw(&data, facts) {
                facts.failure = Some(failure);
            }
        }
    }

    /// Adds one chunk that was parsed already.
    pub fn push(&mut self, chunk: &Value, facts: &mut Facts) {
        if facts.failure.is_none()
            && !facts.done
            && let Err(failure) = self.add_parsed(chunk, facts)
        {
            facts.failure = Some(failure);
        }
    }

    /// Returns the answer once the stream has ended.
    ///
    /// # Errors
    /// If the stream failed, or ended before each choice did.
    pub fn finish(mut self, facts: &mut Facts) -> Result<Vec<u8>, UpstreamFailure> {
        if let Some(failure) = facts.failure.clone() {
            return Err(failure);
        }
        let mut choices = Vec::with_capacity(self.choices.len());
        for (index, mut choice) in self.choices.into_iter().enumerate() {
            let rest = choice.text.finish();
            choice.add_text(&rest, &mut self.bound)?;
            let (reason, choice) = choice.into_json(index, facts.usage, self.max_tokens)?;
            facts.finish_reason = Some(reason);
            choices.push(choice);
        }
        let mut answer = json!({
            "id": self.id.unwrap_or_else(|| "chatcmpl".into()),
            "object": "chat.completion",
            "created": self.created.unwrap_or(0),
            "model": self.model,
            "choices": choices,
        });
        if let Some(usage) = self.usage {
            answer["usage"] = usage;
        }
        Ok(answer.to_string().into_bytes())
    }

    fn add_raw(&mut self, data: &[u8], facts: &mut Facts) -> Result<(), UpstreamFailure> {
        let broken = |_| UpstreamFailure::backend("the backend sent a chunk that is not JSON");
        let chunk: Chunk<'_> = serde_json::from_slice(data).map_err(broken)?;
        if let Some(error) = chunk.error {
            return Err(UpstreamFailure::from_event(error.get().as_bytes()));
        }
        if self.id.is_none() {
            self.id = chunk.id.and_then(|id| serde_json::from_str(id.get()).ok());
            self.created = chunk.created.and_then(|at| serde_json::from_str(at.get()).ok());
        }
        if let Some(usage) = chunk.usage.and_then(|usage| serde_json::from_str(usage.get()).ok()) {
            self.add_usage(usage, facts);
        }
        for choice in chunk.choices.iter().flatten() {
            self.add(Fragment::of_raw(choice)?, facts)?;
        }
        Ok(())
    }

    fn add_parsed(&mut self, chunk: &Value, facts: &mut Facts) -> Result<(), UpstreamFailure> {
        let member = |key: &str| chunk.get(key).filter(|value| !value.is_null());
        if let Some(error) = member("error") {
            return Err(UpstreamFailure::from_event(error.to_string().as_bytes()));
        }
        if self.id.is_none() {
            self.id = member("id").and_then(Value::as_str).map(str::to_owned);
            self.created = member("created").and_then(Value::as_u64);
        }
        if let Some(usage) = member("usage") {
            self.add_usage(usage.clone(), facts);
        }
        for choice in member("choices").and_then(Value::as_array).into_iter().flatten() {
            self.add(Fragment::of_parsed(choice)?, facts)?;
        }
        Ok(())
    }

    fn add_usage(&mut self, usage: Value, facts: &mut Facts) {
        facts.usage = Usage::of(&usage).or(facts.usage);
        self.usage = Some(usage);
    }

    fn add(&mut self, fragment: Fragment<'_>, facts: &mut Facts) -> Result<(), UpstreamFailure> {
        let choice = match self.choices.as_mut_slice() {
            // Not every server numbers the only choice.
            [only] => only,
            several => {
                usize::try_from(fragment.index).ok().and_then(|index| several.get_mut(index)).ok_or_else(
                    || UpstreamFailure::backend("the backend sent a choice that was not asked for"),
                )?
            }
        };
        if choice.text.is_hit() {
            return Ok(());
        }
        facts.deltas += u64::from(fragment.carries());
        facts.reasoning_deltas += u64::from(fragment.reasons());
        choice.add(fragment, &mut self.bound)?;
        if choice.finish_reason.is_some() {
            facts.finish_reason.clone_from(&choice.finish_reason);
        }
        if self.choices.iter().all(|choice| choice.text.is_hit()) {
            (facts.done, facts.stopped) = (true, true);
        }
        Ok(())
    }
}

impl Choice {
    fn add(&mut self, fragment: Fragment<'_>, bound: &mut Assembled) -> Result<(), UpstreamFailure> {
        if fragment.reasons() {
            self.text.engine_thinks();
        }
        if let Some(content) = fragment.content {
            let piece = self.text.feed(&content);
            self.add_text(&piece, bound)?;
        }
        if let Some(reasoning) = fragment.reasoning {
            append(bound, &mut self.reasoning, &reasoning)?;
        }
        match fragment.calls {
            Some(Calls::Raw(calls)) => self.calls.feed(calls, bound)?,
            Some(Calls::Parsed(calls)) => self.calls.feed_value(calls, bound)?,
            None => {}
        }
        if let Some(reason) = fragment.finish_reason {
            self.finish_reason = Some(reason.into_owned());
        }
        if self.text.is_hit() {
            self.finish_reason = Some("stop".to_owned());
        }
        Ok(())
    }

    fn add_text(&mut self, piece: &Piece, bound: &mut Assembled) -> Result<(), UpstreamFailure> {
        append(bound, &mut self.content, &piece.answer)?;
        append(bound, &mut self.reasoning, &piece.thought)
    }

    /// Returns its finish reason as OpenAI names it, and the choice.
    fn into_json(
        self,
        index: usize,
        usage: Option<Usage>,
        max_tokens: Option<u64>,
    ) -> Result<(String, Value), UpstreamFailure> {
        let Some(reason) = self.finish_reason else {
            return Err(UpstreamFailure::backend("the backend closed the connection in mid-answer"));
        };
        let reason = finish_reason(&reason, usage, max_tokens, !self.calls.is_empty()).to_owned();
        let mut message = Map::new();
        message.insert("role".into(), "assistant".into());
        message.insert("content".into(), self.content.into());
        message.insert("refusal".into(), Value::Null);
        if let Some(reasoning) = self.reasoning {
            message.insert("reasoning_content".into(), reasoning.into());
        }
        if !self.calls.is_empty() {
            let calls = self.calls.into_calls().iter().map(ToolCall::to_json).collect();
            message.insert("tool_calls".into(), calls);
        }
        let mut choice =
            json!({"index": index, "message": message, "logprobs": null, "finish_reason": reason});
        if let Some(found) = self.text.found() {
            choice["stop_reason"] = found.into();
        }
        Ok((reason, choice))
    }
}

impl<'a> Fragment<'a> {
    fn of_raw(choice: &chunk::Choice<'a>) -> Result<Fragment<'a>, UpstreamFailure> {
        let delta = choice.delta.as_ref();
        let text = |text: Option<&'a RawValue>| match text {
            Some(text) => serde_json::from_str(text.get()).map_err(|_| not_text()),
            None => Ok(None),
        };
        Ok(Fragment {
            index: choice.index.and_then(|index| index.get().parse().ok()).unwrap_or(0),
            content: text(delta.and_then(|delta| delta.content))?,
            reasoning: text(delta.and_then(|delta| delta.reasoning_content))?,
            calls: delta.and_then(|delta| delta.tool_calls).map(Calls::Raw),
            finish_reason: choice.finish_reason.clone(),
        })
    }

    fn of_parsed(choice: &'a Value) -> Result<Fragment<'a>, UpstreamFailure> {
        let delta = choice.get("delta");
        let member = |key: &str| delta?.get(key).filter(|value| !value.is_null());
        let text = |text: Option<&'a Value>| match text {
            Some(text) => text.as_str().map(|text| Some(Cow::Borrowed(text))).ok_or_else(not_text),
            None => Ok(None),
        };
        Ok(Fragment {
            index: choice.get("index").and_then(Value::as_u64).unwrap_or(0),
            content: text(member("content"))?,
            reasoning: text(member("reasoning_content").or_else(|| member("reasoning")))?,
            calls: member("tool_calls").map(Calls::Parsed),
            finish_reason: choice.get("finish_reason").and_then(Value::as_str).map(Cow::Borrowed),
        })
    }

    /// Returns whether it carries part of an answer, an empty string not being one.
    fn carries(&self) -> bool {
        let has_calls = self.calls.is_some_and(|calls| match calls {
            Calls::Raw(calls) => calls.get() != "[]",
            Calls::Parsed(calls) => calls.as_array().is_none_or(|calls| !calls.is_empty()),
        });
        self.content.as_ref().is_some_and(|text| !text.is_empty()) || self.reasons() || has_calls
    }

    fn reasons(&self) -> bool {
        self.reasoning.as_ref().is_some_and(|text| !text.is_empty())
    }
}

fn not_text() -> UpstreamFailure {
    UpstreamFailure::backend("the backend sent a delta that is not text")
}

fn append(bound: &mut Assembled, text: &mut Option<String>, piece: &str) -> Result<(), UpstreamFailure> {
    if piece.is_empty() { Ok(()) } else { bound.push(text.get_or_insert_default(), piece) }
}
