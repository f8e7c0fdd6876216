//! How one request is answered: defaults from the command line, changed by `#key=value` words in the
//! last user message. Pure: text in, script out.

use serde_json::Value;

use crate::wire::{Piece, Usage};

const GREETING: &str = "Hello! This tiny model runs on the real backend and always says exactly these words.";

#[derive(Debug, Clone, Default)]
pub struct Script {
    /// Content tokens, one a chunk; `None`: the greeting.
    pub chunks: Option<usize>,
    /// The same content token again and again.
    pub repeats: bool,
    pub interval_us: u64,
    /// Between the role chunk and the first token.
    pub first_delay_ms: u64,
    /// Pads every content token to this many bytes.
    pub token_bytes: usize,
    /// Reasoning tokens before the content.
    pub think: usize,
    pub tool: bool,
    /// Calls it however often it was answered.
    pub tool_always: bool,
    /// Of the call.
    pub arguments: Option<String>,
    /// Calls this tool, declared or not; several with commas between them.
    pub tool_name: Option<String>,
    /// Answers with these words instead.
    pub text: Option<String>,
    /// Tokens after which it goes wrong, or waits.
    pub die_after: Option<usize>,
    pub close_after: Option<usize>,
    /// The same for the answer to a tool's result.
    pub then_close_after: Option<usize>,
    /// Bytes of the answer, its head included, after which it is cut.
    pub cut_at: Option<usize>,
    pub hang_after: Option<usize>,
    pub garbage_after: Option<usize>,
    pub gate_after: Option<usize>,
    /// Computes for so long without a token, after `burn_after` of them.
    pub burn_ms: u64,
    pub burn_after: usize,
    /// Memory that the process takes and never gives back.
    pub leak_mib: usize,
    pub stream_error: Option<String>,
    pub stream_error_after: usize,
    /// Accepts the request and never answers, not even with a head.
    pub hang: bool,
    /// The same for requests with this `seed`.
    pub hang_seed: Option<u64>,
    /// Half of an `error` or of a `whole` answer, and then nothing.
    pub stall: Option<String>,
    /// Tokens of so many bytes without end.
    pub endless: Option<usize>,
    /// An event whose line has no end.
    pub endless_line: bool,
    /// The first so many requests of the process are cut before any byte of an answer.
    pub close_first: u64,
    /// Answers with bytes that are not HTTP.
    pub http_garbage: bool,
    pub error: Option<String>,
    pub usage: UsageMode,
    pub prompt_tokens: Option<u64>,
    pub cached_tokens: u64,
    pub finish_reason: Option<String>,
    pub without_done: bool,
    pub without_finish: bool,
    /// Events that share one write.
    pub batch: usize,
    /// Cuts the event stream into HTTP chunks of this many bytes.
    pub split: usize,
    /// Lines to write to the log while answering.
    pub log_lines: usize,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum UsageMode {
    #[default]
    Full,
    None,
    Null,
}

impl Script {
    /// Takes one setting; false when there is none of that name.
    pub fn set(&mut self, key: &str, value: &str) -> bool {
        let count = || value.parse::<usize>().unwrap_or(0);
        match key {
            "chunks" => self.chunks = Some(count()),
            "repeat" => self.repeats = true,
            "interval-us" => self.interval_us = count() as u64,
            "first-delay-ms" | "first-chunk-delay-ms" => self.first_delay_ms = count() as u64,
            "token-bytes" => self.token_bytes = count(),
            "think" => self.think = if value.is_empty() { 8 } else { count() },
            "tool" => (self.tool, self.tool_always) = (true, value == "always"),
            "call" => (self.tool, self.tool_name) = (true, Some(value.to_owned())),
            "args" => self.arguments = Some(value.to_owned()),
            "text" => self.text = Some(value.replace('_', " ")),
            "die-after" | "die-after-chunks" => self.die_after = Some(count()),
            "close-after" | "close-after-chunks" => self.close_after = Some(count()),
            "then-close-after" => self.then_close_after = Some(count()),
            "cut-at" => self.cut_at = Some(count()),
            "hang-after" => self.hang_after = Some(count()),
            "garbage" | "garbage-after" => self.garbage_after = Some(count()),
            "gate-after" => self.gate_after = Some(count()),
            "burn-ms" => self.burn_ms = count() as u64,
            "burn-after" => self.burn_after = count(),
            "leak-mib" => self.leak_mib = count(),
            "stream-error" => self.stream_error = Some(value.to_owned()),
            "stream-error-after" => self.stream_error_after = count(),
            "hang" => self.hang = true,
            "hang-seed" => self.hang_seed = Some(count() as u64),
            "stall" => self.stall = Some(value.to_owned()),
            "endless" => self.endless = Some(count()),
            "endless-line" => self.endless_line = true,
            "close" => self.close_first = u64::MAX,
            "close-first" => self.close_first = count() as u64,
            "http-garbage" => self.http_garbage = true,
            "error" | "status" => self.error = Some(value.to_owned()),
            "empty-body" => self.error = Some("500-empty".to_owned()),
            "usage" if value == "none" => self.usage = UsageMode::None,
            "usage" if value == "null" => self.usage = UsageMode::Null,
            "usage" => self.usage = UsageMode::Full,
            "prompt-tokens" => self.prompt_tokens = Some(count() as u64),
            "cached" => self.cached_tokens = count() as u64,
            "finish" => self.finish_reason = Some(value.to_owned()),
            "no-done" => self.without_done = true,
            "no-finish" => self.without_finish = true,
            "batch" => self.batch = count(),
            "split" => self.split = count(),
            "log" => self.log_lines = count(),
            _ => return false,
        }
        true
    }

    /// The same with the `#` words of the request's last user message applied.
    pub fn for_request(&self, body: &Value) -> Script {
        let mut script = self.clone();
        for word in last_user_text(body).split_whitespace() {
            let Some(word) = word.strip_prefix('#') else {
                continue;
            };
            match (word.split_once('='), word.strip_prefix("error-")) {
                (Some((key, value)), _) => script.set(key, value),
                (None, Some(value)) => script.set("error", value),
                (None, None) => script.set(word, ""),
            };
        }
        script.hang |=
            script.hang_seed.is_some() && script.hang_seed == body.get("seed").and_then(Value::as_u64);
        // A tool that was asked has answered: the model tells what it said.
        if let Some(said) = tool_result(body).filter(|_| !script.tool_always) {
            (script.tool, script.text) = (false, Some(format!("The tool said: {said}")));
            script.close_after = script.then_close_after.or(script.close_after);
        }
        script
    }

    /// What the model says, one piece a token, `max_tokens` respected.
    pub fn pieces(&self, body: &Value) -> Vec<Piece> {
        let mut pieces: Vec<Piece> = (0..self.think).map(|n| Piece::Reasoning(numbered("t", n, 0))).collect();
        if self.tool {
            let names = self.tool_name.clone().unwrap_or_else(|| first_tool(body));
            let arguments = self.arguments.clone().unwrap_or_else(|| r#"{"city": "Paris"}"#.to_owned());
            pieces.extend(names.split(',').enumerate().map(|(index, name)| Piece::ToolCall {
                index,
                name: name.to_owned(),
                arguments: arguments.clone(),
            }));
            return pieces;
        }
        match (&self.text, self.chunks) {
            (None, Some(count)) => {
                pieces.extend((0..count).map(|n| Piece::Content(numbered("w", n, self.token_bytes))));
            }
            (text, _) => pieces.extend(
                text.as_deref()
                    .unwrap_or(GREETING)
                    .split_inclusive(' ')
                    .map(|word| Piece::Content(word.to_owned())),
            ),
        }
        if let Some(limit) = max_tokens(body) {
            pieces.truncate(limit);
        }
        pieces
    }

    pub fn finish_reason(&self) -> &str {
        match &self.finish_reason {
            Some(reason) => reason,
            None if self.tool => "tool_calls",
            None => "stop",
        }
    }

    pub fn usage_json(&self, body: &Value, completion: usize) -> Option<Value> {
        let usage = Usage {
            prompt: self.prompt_tokens.unwrap_or_else(|| prompt_words(body)),
            completion: completion as u64,
            cached: self.cached_tokens,
        };
        match self.usage {
            UsageMode::Full => Some(usage.json()),
            UsageMode::None => None,
            UsageMode::Null => Some(Value::Null),
        }
    }
}

/// `w0`, ` w1`, …, padded with `x`.
pub fn numbered(letter: &str, n: usize, bytes: usize) -> String {
    let token = if n == 0 { format!("{letter}0") } else { format!(" {letter}{n}") };
    let padding = "x".repeat(bytes.saturating_sub(token.len()));
    token + &padding
}

fn max_tokens(body: &Value) -> Option<usize> {
    let limit = body.get("max_completion_tokens").or_else(|| body.get("max_tokens"))?;
    limit.as_u64().map(|n| n as usize)
}

fn first_tool(body: &Value) -> String {
    let name = body.pointer("/tools/0/function/name").and_then(Value::as_str);
    name.unwrap_or("get_weather").to_owned()
}

/// What a tool answered last, when nothing was said since.
fn tool_result(body: &Value) -> Option<String> {
    let last = body.get("messages")?.as_array()?.last()?;
    (last.get("role")?.as_str()? == "tool").then(|| text_of(last))
}

fn prompt_words(body: &Value) -> u64 {
    let messages = body.get("messages").and_then(Value::as_array);
    let words = |message: &Value| text_of(message).split_whitespace().count() as u64 + 4;
    messages.map_or(0, |messages| messages.iter().map(words).sum())
}

fn last_user_text(body: &Value) -> String {
    let messages = body.get("messages").and_then(Value::as_array);
    let is_user = |message: &&Value| message.get("role").and_then(Value::as_str) == Some("user");
    messages.and_then(|m| m.iter().rev().find(is_user)).map(text_of).unwrap_or_default()
}

fn text_of(message: &Value) -> String {
    match message.get("content") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => {
            let texts = parts.iter().filter_map(|part| part.get("text").and_then(Value::as_str));
            texts.collect::<Vec<_>>().join(" ")
        }
        _ => String::new(),
    }
}
