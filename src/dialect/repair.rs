//! A stream of mlx engines as OpenAI would have sent it: one role, an explicit `finish_reason`,
//! `length` where the limit was reached, usage in a chunk of its own when asked for, and errors that
//! end the stream.

use std::borrow::Cow;

use bytes::{BufMut, BytesMut};
use serde_json::value::RawValue;

use super::chunk::{Choice, Chunk, Delta};
use super::facts::{Facts, Usage};
use super::failure::UpstreamFailure;
use super::sse;
use super::text::{Piece, Text};

/// What of a delta the client is to see, as JSON.
#[derive(Debug, Default)]
struct Spoken<'a> {
    content: Option<Cow<'a, str>>,
    thought: Option<Cow<'a, str>>,
    /// Some of it may have been held back.
    held_back: bool,
}

/// One answer being put right.
#[derive(Debug)]
pub struct Repair {
    /// The name the client gets to see, as JSON.
    model: String,
    include_usage: bool,
    max_tokens: Option<u64>,
    text: Text,
    /// Tokens of the prompt, about, for an answer that ends before the engine has counted.
    prompt_tokens: u64,
    role_told: bool,
    tool_called: bool,
    /// An error was told; what follows it is the backend's pretence of a good end.
    over: bool,
}

impl Repair {
    /// For a stream in the name of `model`; usage stays in it only where it was asked for.
    pub fn new(model: &str, include_usage: bool, max_tokens: Option<u64>) -> Self {
        Repair {
            model: serde_json::Value::from(model).to_string(),
            include_usage,
            max_tokens,
            text: Text::new(&[]),
            prompt_tokens: 0,
            role_told: false,
            tool_called: false,
            over: false,
        }
    }

    /// Ends the answer where one of `stops` would begin.
    pub fn stopping_at(mut self, stops: &[String], prompt_tokens: u64) -> Self {
        self.text = Text::new(stops);
        self.prompt_tokens = prompt_tokens;
        self
    }

    /// Takes complete events and writes what the client is to see of them.
    pub fn feed(&mut self, events: &[u8], out: &mut BytesMut, facts: &mut Facts) {
        for data in sse::events(events) {
            if self.over {
                return;
            }
            self.event(&data, out, facts);
        }
    }

    fn event(&mut self, data: &[u8], out: &mut BytesMut, facts: &mut Facts) {
        if data == sse::DONE {
            facts.done = true;
            self.over = true;
            out.put_slice(sse::DONE_EVENT);
            return;
        }
        let chunk: Chunk<'_> = match serde_json::from_slice(data) {
            Ok(chunk) => chunk,
            Err(_) => {
                return self.fail(
                    UpstreamFailure::backend("the backend sent a chunk that is not JSON"),
                    out,
                    facts,
                );
            }
        };
        if let Some(error) = chunk.error {
            return self.fail(UpstreamFailure::from_event(error.get().as_bytes()), out, facts);
        }
        let usage = chunk.usage.and_then(|usage| Usage::read(usage.get().as_bytes()));
        facts.usage = usage.or(facts.usage);
        for choice in chunk.choices.iter().flatten() {
            self.choice(&chunk, choice, usage, out, facts);
        }
        if let Some(usage) = chunk.usage.filter(|_| self.include_usage && !self.over) {
            self.open(&chunk, out);
            out.put_slice(b"],\"usage\":");
            out.put_slice(usage.get().as_bytes());
            out.put_slice(b"}\n\n");
        }
    }

    fn choice(
        &mut self,
        chunk: &Chunk<'_>,
        choice: &Choice<'_>,
        usage: Option<Usage>,
        out: &mut BytesMut,
        facts: &mut Facts,
    ) {
        let Some(spoken) = self.spoken(choice) else {
            let failure = UpstreamFailure::backend("the backend sent a delta that is not text");
            return self.fail(failure, out, facts);
        };
        if let Some(delta) = &choice.delta {
            facts.deltas += u64::from(delta.carries());
            facts.reasoning_deltas +=
                u64::from(delta.reasons() || matches!(spoken.thought, Some(Cow::Owned(_))));
            if spoken.held_back && self.is_empty(delta, &spoken) && choice.finish_reason.is_none() {
                return self.stop(chunk, out, facts);
            }
        }
        self.open(chunk, out);
        out.put_slice(b"{\"index\":0,\"delta\":{");
        if let Some(delta) = &choice.delta {
            self.delta(delta, &spoken, out);
        }
        out.put_slice(b"},\"logprobs\":null,\"finish_reason\":");
        match choice.finish_reason.as_deref() {
            None => out.put_slice(b"null"),
            Some(told) => {
                let told = if self.text.is_hit() { "stop" } else { told };
                let reason = finish_reason(told, usage, self.max_tokens, self.tool_called);
                out.put_u8(b'"');
                out.put_slice(reason.as_bytes());
                out.put_u8(b'"');
                facts.finish_reason = Some(reason.to_owned());
            }
        }
        self.close(out);
        if choice.finish_reason.is_none() {
            self.stop(chunk, out, facts);
        }
    }

    /// What of a delta's text may be said by now; none: it is no text.
    fn spoken<'a>(&mut self, choice: &Choice<'a>) -> Option<Spoken<'a>> {
        let Some(delta) = &choice.delta else { return Some(Spoken::default()) };
        if delta.reasons() {
            self.text.engine_thinks();
        }
        let raw = |value: Option<&'a RawValue>| value.map(|value| Cow::Borrowed(value.get()));
        let (content, thought) = (raw(delta.content), raw(delta.reasoning_content));
        let is_text = content.as_deref().is_some_and(|content| content != "null");
        let ends = choice.finish_reason.is_some() || delta.tool_calls.is_some();
        if self.text.is_idle() || (!is_text && !ends) {
            return Some(Spoken { content, thought, held_back: false });
        }
        let mut piece = match content.as_deref().filter(|_| is_text) {
            Some(json) => self.text.feed(&serde_json::from_str::<Cow<'_, str>>(json).ok()?),
            None => Piece::default(),
        };
        if ends {
            piece.append(&self.text.finish());
        }
        let json =
            |text: &str| (!text.is_empty()).then(|| Cow::Owned(serde_json::Value::from(text).to_string()));
        // An empty text stays one: clients look for it beside the role.
        let content = if content.as_deref() == Some("\"\"") && piece.answer.is_empty() {
            content
        } else {
            json(&piece.answer)
        };
        Some(Spoken { content, thought: json(&piece.thought).or(thought), held_back: true })
    }

    fn is_empty(&self, delta: &Delta<'_>, spoken: &Spoken<'_>) -> bool {
        let role = delta.role.is_some() && !self.role_told;
        !role && spoken.content.is_none() && spoken.thought.is_none() && delta.tool_calls.is_none()
    }

    /// Ends the answer where a stop string begins, whatever the engine goes on to say.
    fn stop(&mut self, chunk: &Chunk<'_>, out: &mut BytesMut, facts: &mut Facts) {
        if !self.text.is_hit() || std::mem::replace(&mut self.over, true) {
            return;
        }
        self.open(chunk, out);
        out.put_slice(b"{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":\"stop\"");
        // As other servers name it, for whoever wants to know which one it was.
        let found = serde_json::Value::from(self.text.found());
        out.put_slice(format!(",\"stop_reason\":{found}").as_bytes());
        self.close(out);
        if self.include_usage {
            let (prompt, completion) = (self.prompt_tokens, facts.deltas);
            self.open(chunk, out);
            let usage = format!(
                "],\"usage\":{{\"prompt_tokens\":{prompt},\"completion_tokens\":{completion},\"total_tokens\":{}}}}}\n\n",
                prompt.saturating_add(completion)
            );
            out.put_slice(usage.as_bytes());
        }
        out.put_slice(sse::DONE_EVENT);
        facts.finish_reason = Some("stop".to_owned());
        (facts.done, facts.stopped) = (true, true);
    }

    fn delta(&mut self, delta: &Delta<'_>, spoken: &Spoken<'_>, out: &mut BytesMut) {
        let mut comma: &[u8] = b"";
        if let Some(role) = delta.role.filter(|_| !self.role_told) {
            self.role_told = true;
            out.put_slice(b"\"role\":");
            out.put_slice(role.get().as_bytes());
            comma = b",";
        }
        self.tool_called |= delta.tool_calls.is_some();
        let members = [
            (&b"\"content\":"[..], spoken.content.as_deref()),
            (b"\"reasoning_content\":", spoken.thought.as_deref()),
            (b"\"tool_calls\":", delta.tool_calls.map(RawValue::get)),
        ];
        for (key, value) in members {
            let Some(value) = value else { continue };
            out.put_slice(comma);
            out.put_slice(key);
            out.put_slice(value.as_bytes());
            comma = b",";
        }
    }

    /// The end of a chunk with a choice.
    fn close(&self, out: &mut BytesMut) {
        out.put_slice(if self.include_usage { b"}],\"usage\":null}\n\n" } else { b"}]}\n\n" });
    }

    /// Everything of a chunk up to its choices.
    fn open(&self, chunk: &Chunk<'_>, out: &mut BytesMut) {
        out.put_slice(b"data: {\"id\":");
        out.put_slice(chunk.id.map_or("\"chatcmpl\"", |id| id.get()).as_bytes());
        out.put_slice(b",\"object\":\"chat.completion.chunk\",\"created\":");
        out.put_slice(chunk.created.map_or("0", |created| created.get()).as_bytes());
        out.put_slice(b",\"model\":");
        out.put_slice(self.model.as_bytes());
        out.put_slice(b",\"choices\":[");
    }

    fn fail(&mut self, failure: UpstreamFailure, out: &mut BytesMut, facts: &mut Facts) {
        out.put_slice(&failure.as_events());
        facts.failure = Some(failure);
        self.over = true;
    }
}

/// The reason as OpenAI would name it: these engines say `stop` at the limit, and after a call.
pub fn finish_reason(told: &str, usage: Option<Usage>, max_tokens: Option<u64>, tool_called: bool) -> &str {
    let used = usage.and_then(|usage| usage.completion);
    match (told, used, max_tokens) {
        ("stop", _, _) if tool_called => "tool_calls",
        ("stop", Some(used), Some(limit)) if used >= limit => "length",
        ("stop" | "length" | "tool_calls" | "content_filter", _, _) => told,
        _ => "stop",
    }
}
