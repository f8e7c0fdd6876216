//! Shows a streamed answer while it comes: content as data, thinking and tool calls beside it, then
//! the figures. Knows chat completion chunks, not how they were asked for.

use std::time::Instant;

use bytes::Bytes;
use eventsource_stream::Eventsource;
use futures_util::{Stream, StreamExt};
use http_body_util::BodyExt;
use serde::Deserialize;
use tokio::sync::mpsc;

use super::comments::Comments;
use crate::cli::api::ApiError;
use crate::cli::client::cut_off;
use crate::cli::exit::CliError;
use crate::cli::format;
use crate::cli::out::Out;
use crate::cli::transport::{Body, BoxError};
use crate::system::clock::Clock;

/// Comments that may wait to be shown; more than the last are never worth it.
const COMMENTS_AHEAD: usize = 4;

/// Reads the answer to its end and gives its text.
pub async fn show(body: Body, asked: Instant, clock: &dyn Clock, out: &mut Out) -> Result<String, CliError> {
    let (tell, mut comments) = mpsc::channel(COMMENTS_AHEAD);
    let mut events = std::pin::pin!(told_of_comments(body, tell).eventsource());
    let mut telling = Telling::new(asked);
    loop {
        tokio::select! {
            biased;
            Some(comment) = comments.recv() => telling.waits_for(&comment, out)?,
            event = events.next() => match event {
                Some(Ok(event)) if event.data == "[DONE]" => return telling.conclude(clock, out),
                Some(Ok(event)) => telling.hears(&event.data, clock, out)?,
                Some(Err(error)) => return Err(cut_off(&BoxError::from(error.to_string()))),
                None => return Err(cut_off(&BoxError::from("it has no end"))),
            },
        }
    }
}

/// The body's bytes; the comments among them are told to whoever listens.
fn told_of_comments(body: Body, tell: mpsc::Sender<String>) -> impl Stream<Item = Result<Bytes, BoxError>> {
    let mut comments = Comments::default();
    body.into_data_stream().inspect(move |piece| {
        let comment = piece.as_ref().ok().and_then(|piece| comments.read(piece));
        if let Some(comment) = comment {
            // A comment that finds no room is older news than those that wait.
            tell.try_send(comment).ok();
        }
    })
}

#[derive(Debug, Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Vec<Choice>,
    usage: Option<Usage>,
    error: Option<ApiError>,
}

#[derive(Debug, Deserialize)]
struct Choice {
    delta: Option<Delta>,
    finish_reason: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Delta {
    content: Option<String>,
    #[serde(alias = "reasoning")]
    reasoning_content: Option<String>,
    tool_calls: Option<Vec<ToolCall>>,
}

#[derive(Debug, Deserialize)]
struct ToolCall {
    function: Option<Function>,
}

#[derive(Debug, Deserialize)]
struct Function {
    name: Option<String>,
    arguments: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Usage {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    prompt_tokens_details: Option<Details>,
}

#[derive(Debug, Deserialize)]
struct Details {
    cached_tokens: Option<u64>,
}

/// What of an answer was shown last, which decides how the next piece is set off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    Nothing,
    Thinking,
    ToolCall,
    Content,
}

/// An answer as far as it has come.
struct Telling {
    asked: Instant,
    first: Option<Instant>,
    last: Instant,
    text: String,
    shown: Shown,
    deltas: u64,
    usage: Option<Usage>,
    finish: Option<String>,
}

impl Telling {
    fn new(asked: Instant) -> Telling {
        Telling {
            asked,
            first: None,
            last: asked,
            text: String::new(),
            shown: Shown::Nothing,
            deltas: 0,
            usage: None,
            finish: None,
        }
    }

    fn waits_for(&mut self, comment: &str, out: &mut Out) -> Result<(), CliError> {
        // In the middle of a line a progress line would wipe what stands there.
        if self.shown == Shown::Nothing { out.progress(comment) } else { Ok(()) }
    }

    fn hears(&mut self, data: &str, clock: &dyn Clock, out: &mut Out) -> Result<(), CliError> {
        if out.json() {
            out.raw_json(data.as_bytes())?;
        }
        let chunk: Chunk = serde_json::from_str(data).map_err(|error| {
            CliError::Failed(format!("the answer holds something that is no chunk ({error})"))
        })?;
        if let Some(error) = chunk.error {
            let status = error.status.unwrap_or(500);
            return Err(CliError::Refused { status, error: Box::new(error) });
        }
        if chunk.usage.is_some() {
            self.usage = chunk.usage;
        }
        for choice in chunk.choices {
            self.finish = choice.finish_reason.or(self.finish.take());
            if let Some(delta) = choice.delta {
                self.takes(delta, clock, out)?;
            }
        }
        Ok(())
    }

    fn takes(&mut self, delta: Delta, clock: &dyn Clock, out: &mut Out) -> Result<(), CliError> {
        let thinking = delta.reasoning_content.filter(|text| !text.is_empty());
        let content = delta.content.filter(|text| !text.is_empty());
        let calls = delta.tool_calls.unwrap_or_default();
        if thinking.is_none() && content.is_none() && calls.is_empty() {
            return Ok(());
        }
        self.last = clock.now();
        self.first.get_or_insert(self.last);
        self.deltas += 1;
        if let Some(text) = thinking {
            self.sets_off(Shown::Thinking, out)?;
            if !out.json() {
                out.aside(&text)?;
            }
        }
        for call in calls.into_iter().filter_map(|call| call.function) {
            self.calls(&call, out)?;
        }
        if let Some(text) = content {
            self.sets_off(Shown::Content, out)?;
            if !out.json() {
                out.text(&text)?;
            }
            self.text.push_str(&text);
        }
        Ok(())
    }

    /// A call is told in pieces: the name first, then the arguments.
    fn calls(&mut self, call: &Function, out: &mut Out) -> Result<(), CliError> {
        if out.json() {
            return Ok(());
        }
        if let Some(name) = call.name.as_deref().filter(|name| !name.is_empty()) {
            out.end_line()?;
            self.shown = Shown::ToolCall;
            out.aside(&format!("calls {name} "))?;
        }
        match call.arguments.as_deref() {
            Some(arguments) => out.aside(arguments),
            None => Ok(()),
        }
    }

    /// Begins a line where thinking, tool calls and content meet.
    fn sets_off(&mut self, next: Shown, out: &mut Out) -> Result<(), CliError> {
        if self.shown != next && self.shown != Shown::Nothing {
            out.end_line()?;
        }
        self.shown = next;
        Ok(())
    }

    fn conclude(self, clock: &dyn Clock, out: &mut Out) -> Result<String, CliError> {
        if out.json() {
            return Ok(self.text);
        }
        out.end_line()?;
        if self.finish.as_deref() == Some("length") {
            out.aside("(cut off at the token limit)")?;
            out.end_line()?;
        }
        out.aside(&self.figures(clock.now()))?;
        out.end_line()?;
        Ok(self.text)
    }

    fn figures(&self, ended: Instant) -> String {
        let mut figures = Vec::new();
        let counted = self.usage.as_ref().and_then(|usage| usage.completion_tokens);
        let tokens = counted.unwrap_or(self.deltas);
        let mark = if counted.is_none() { "~" } else { "" };
        figures.push(format!(
            "{mark}{} {}",
            format::count(tokens),
            if tokens == 1 { "token" } else { "tokens" }
        ));
        let decoding = self.first.map_or(0.0, |first| (self.last - first).as_secs_f64());
        if tokens > 1 && decoding > 0.0 {
            figures.push(format!("{} tokens/s", format::rate((tokens - 1) as f64 / decoding)));
        }
        if let Some(first) = self.first {
            let wait = (first - self.asked).as_secs_f64();
            figures.push(format!("first token after {}", format::duration(wait)));
        }
        figures.push(format!("{} in all", format::duration((ended - self.asked).as_secs_f64())));
        if let Some(prompt) = self.usage.as_ref().and_then(Usage::prompt) {
            figures.push(prompt);
        }
        figures.join(", ")
    }
}

impl Usage {
    fn prompt(&self) -> Option<String> {
        let tokens = format::count(self.prompt_tokens?);
        let cached = self.prompt_tokens_details.as_ref().and_then(|details| details.cached_tokens);
        Some(match cached.filter(|cached| *cached > 0) {
            Some(cached) => format!("prompt {tokens} tokens ({} cached)", format::count(cached)),
            None => format!("prompt {tokens} tokens"),
        })
    }
}
