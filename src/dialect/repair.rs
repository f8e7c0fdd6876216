//! A stream of mlx engines as OpenAI would have sent it: one role, an explicit `finish_reason`,
//! `length` where the limit was reached, usage in a chunk of its own when asked for, and errors that
//! end the stream.

use bytes::{BufMut, BytesMut};

use super::chunk::{Choice, Chunk, Delta};
use super::facts::{Facts, Usage};
use super::failure::UpstreamFailure;
use super::sse;

/// One answer being put right.
#[derive(Debug)]
pub struct Repair {
    /// The name the client gets to see, as JSON.
    model: String,
    include_usage: bool,
    max_tokens: Option<u64>,
    role_told: bool,
    tool_called: bool,
    /// An error was told; what follows it is the backend's pretence of a good end.
    over: bool,
}

impl Repair {
    pub fn new(model: &str, include_usage: bool, max_tokens: Option<u64>) -> Self {
        Repair {
            model: serde_json::Value::from(model).to_string(),
            include_usage,
            max_tokens,
            role_told: false,
            tool_called: false,
            over: false,
        }
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
        if let Some(usage) = chunk.usage.filter(|_| self.include_usage) {
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
        self.open(chunk, out);
        out.put_slice(b"{\"index\":0,\"delta\":{");
        if let Some(delta) = &choice.delta {
            facts.deltas += u64::from(delta.carries());
            facts.reasoning_deltas += u64::from(delta.reasons());
            self.delta(delta, out);
        }
        out.put_slice(b"},\"logprobs\":null,\"finish_reason\":");
        match choice.finish_reason.as_deref() {
            None => out.put_slice(b"null"),
            Some(reason) => {
                let reason = finish_reason(reason, usage, self.max_tokens, self.tool_called);
                out.put_u8(b'"');
                out.put_slice(reason.as_bytes());
                out.put_u8(b'"');
                facts.finish_reason = Some(reason.to_owned());
            }
        }
        out.put_slice(if self.include_usage { b"}],\"usage\":null}\n\n" } else { b"}]}\n\n" });
    }

    fn delta(&mut self, delta: &Delta<'_>, out: &mut BytesMut) {
        let mut comma: &[u8] = b"";
        if let Some(role) = delta.role.filter(|_| !self.role_told) {
            self.role_told = true;
            out.put_slice(b"\"role\":");
            out.put_slice(role.get().as_bytes());
            comma = b",";
        }
        self.tool_called |= delta.tool_calls.is_some();
        let members = [
            (&b"\"content\":"[..], delta.content),
            (b"\"reasoning_content\":", delta.reasoning_content),
            (b"\"tool_calls\":", delta.tool_calls),
        ];
        for (key, value) in members {
            let Some(value) = value else { continue };
            out.put_slice(comma);
            out.put_slice(key);
            out.put_slice(value.get().as_bytes());
            comma = b",";
        }
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
