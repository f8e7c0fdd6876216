//! Whether what arrives is what has to arrive. Pure: bytes in, a complaint out.

use std::time::Instant;

use serde_json::Value;

use crate::Outcome;
use crate::traffic::{Events, StreamPlan, Style, completion};

use super::{Expect, Workload};

/// The check of one answer.
pub struct Check<'a> {
    /// When the first event that is no comment began to arrive.
    pub first_event: Option<Instant>,
    pub first_content: Option<Instant>,
    plan: Option<StreamPlan>,
    events: Events,
    kind: Kind<'a>,
}

enum Kind<'a> {
    /// Exactly these bytes.
    Whole {
        expected: Vec<u8>,
        at: usize,
    },
    Same(Same),
    Repaired(Repaired),
    Aggregated {
        body: Vec<u8>,
        model: &'a str,
    },
}

/// The expected bytes of a stream, made event by event.
struct Same {
    /// 0: role; 1 to chunks: content; then the ending.
    number: usize,
    current: Vec<u8>,
    at: usize,
    blank: Vec<u8>,
    in_comment: bool,
    comment_ended_line: bool,
}

/// Events taken apart and read as JSON.
struct Repaired {
    line: Vec<u8>,
    contents: usize,
    roles: usize,
    finish: Option<String>,
    completion_tokens: Option<u64>,
    done: bool,
}

impl<'a> Check<'a> {
    pub fn new(workload: &'a Workload, plan: Option<StreamPlan>) -> Check<'a> {
        let style = if workload.expect == Expect::Same { Style::OpenAi } else { Style::Mlx };
        let events = Events::new(style, &workload.model);
        let kind = match (workload.expect, plan) {
            (Expect::Same, None) => Kind::Whole { expected: completion(&workload.model).into_bytes(), at: 0 },
            (Expect::Same, Some(_)) => Kind::Same(Same {
                number: 0,
                current: events.role(),
                at: 0,
                blank: events.blank(),
                in_comment: false,
                comment_ended_line: false,
            }),
            (Expect::Repaired, _) => Kind::Repaired(Repaired {
                line: Vec::new(),
                contents: 0,
                roles: 0,
                finish: None,
                completion_tokens: None,
                done: false,
            }),
            (Expect::Aggregated, _) => Kind::Aggregated { body: Vec::new(), model: &workload.model },
        };
        Check { first_event: None, first_content: None, plan, events, kind }
    }

    /// Content chunks of the answer, once it has passed.
    pub fn chunks(&self) -> u64 {
        self.plan.map_or(0, |plan| plan.chunks as u64)
    }

    pub fn feed(&mut self, bytes: &[u8]) -> Outcome<()> {
        let chunks = self.plan.map_or(0, |plan| plan.chunks);
        match &mut self.kind {
            Kind::Whole { expected, at } => {
                if !expected[*at..].starts_with(bytes) {
                    return Err(differs(bytes, &expected[*at..]));
                }
                *at += bytes.len();
            }
            Kind::Aggregated { body, .. } => body.extend_from_slice(bytes),
            Kind::Same(same) => {
                same.feed(bytes, &self.events, chunks)?;
                if self.first_event.is_none() && (same.at > 0 || same.number > 0) {
                    self.first_event = Some(Instant::now());
                }
                if self.first_content.is_none() && same.number > 1 {
                    self.first_content = Some(Instant::now());
                }
            }
            Kind::Repaired(repaired) => {
                repaired.feed(bytes, &self.events)?;
                if self.first_event.is_none() && repaired.roles > 0 {
                    self.first_event = Some(Instant::now());
                }
                if self.first_content.is_none() && repaired.contents > 0 {
                    self.first_content = Some(Instant::now());
                }
            }
        }
        Ok(())
    }

    /// The answer is over: is anything missing?
    pub fn end(&mut self) -> Outcome<()> {
        let chunks = self.plan.map_or(0, |plan| plan.chunks);
        match &self.kind {
            Kind::Whole { expected, at } if *at == expected.len() => Ok(()),
            Kind::Whole { .. } => Err("the answer is shorter than the upstream's".into()),
            Kind::Same(same) if same.current.is_empty() => Ok(()),
            Kind::Same(same) => Err(format!("the stream ended before event {}", same.number).into()),
            Kind::Repaired(repaired) => repaired.end(chunks),
            Kind::Aggregated { body, model } => aggregated(body, model, &self.events, chunks),
        }
    }
}

impl Same {
    fn feed(&mut self, mut bytes: &[u8], events: &Events, chunks: usize) -> Outcome<()> {
        while let Some(first) = bytes.first() {
            if self.in_comment {
                bytes = self.skip_comment(bytes);
                continue;
            }
            if self.at == 0 && *first == b':' {
                self.in_comment = true;
                continue;
            }
            let rest = &self.current[self.at..];
            let length = rest.len().min(bytes.len());
            if length == 0 || rest[..length] != bytes[..length] {
                return Err(differs(bytes, rest));
            }
            bytes = &bytes[length..];
            self.at += length;
            if self.at == self.current.len() {
                self.next(events, chunks);
            }
        }
        Ok(())
    }

    fn next(&mut self, events: &Events, chunks: usize) {
        self.at = 0;
        self.number += 1;
        if self.number <= chunks {
            self.current.clone_from(&self.blank);
            events.stamp(&mut self.current, self.number - 1);
        } else {
            let after = self.number - chunks - 1;
            self.current = events.ending(chunks).into_iter().nth(after).unwrap_or_default();
        }
    }

    /// A comment lasts to its blank line.
    fn skip_comment<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        for (n, byte) in bytes.iter().enumerate() {
            if *byte == b'\n' && self.comment_ended_line {
                (self.in_comment, self.comment_ended_line) = (false, false);
                return &bytes[n + 1..];
            }
            self.comment_ended_line = *byte == b'\n';
        }
        &[]
    }
}

impl Repaired {
    fn feed(&mut self, bytes: &[u8], events: &Events) -> Outcome<()> {
        let mut rest = bytes;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            self.line.extend_from_slice(&rest[..end]);
            rest = &rest[end + 1..];
            let line = std::mem::take(&mut self.line);
            if let Some(data) = line.strip_prefix(b"data: ") {
                self.event(data, events)?;
            } else if !line.is_empty() && line[0] != b':' {
                return Err(format!("a strange line: {}", String::from_utf8_lossy(&line)).into());
            }
        }
        self.line.extend_from_slice(rest);
        Ok(())
    }

    fn event(&mut self, data: &[u8], events: &Events) -> Outcome<()> {
        if self.done {
            return Err("an event after [DONE]".into());
        }
        if data == b"[DONE]" {
            self.done = true;
            return Ok(());
        }
        let event: Value = serde_json::from_slice(data)?;
        if event["object"] != "chat.completion.chunk" {
            return Err(format!("not a chunk: {event}").into());
        }
        if let Some(tokens) = event.pointer("/usage/completion_tokens") {
            self.completion_tokens = tokens.as_u64();
        }
        let choice = &event["choices"][0];
        self.roles += usize::from(!choice["delta"]["role"].is_null());
        if let Some(content) = choice["delta"]["content"].as_str().filter(|text| !text.is_empty()) {
            if content != events.content(self.contents) {
                return Err(format!("content {} is {content}", self.contents).into());
            }
            self.contents += 1;
        }
        if let Some(finish) = choice["finish_reason"].as_str() {
            self.finish = Some(finish.to_owned());
        }
        Ok(())
    }

    fn end(&self, chunks: usize) -> Outcome<()> {
        let complaint = match self {
            _ if self.contents != chunks => format!("{} of {chunks} chunks came", self.contents),
            _ if self.roles != 1 => format!("role came {} times", self.roles),
            _ if self.finish.as_deref() != Some("stop") => format!("finish: {:?}", self.finish),
            _ if self.completion_tokens != Some(chunks as u64) => {
                format!("{:?} completion tokens instead of {chunks}", self.completion_tokens)
            }
            _ if !self.done => "no [DONE]".to_owned(),
            _ => return Ok(()),
        };
        Err(complaint.into())
    }
}

fn aggregated(body: &[u8], model: &str, events: &Events, chunks: usize) -> Outcome<()> {
    let answer: Value = serde_json::from_slice(body)?;
    let content: String = (0..chunks).map(|n| events.content(n)).collect();
    let choice = &answer["choices"][0];
    let right = answer["object"] == "chat.completion"
        && answer["model"] == model
        && choice["message"]["role"] == "assistant"
        && choice["message"]["content"] == content
        && choice["finish_reason"] == "stop"
        && answer["usage"]["completion_tokens"] == chunks;
    if right { Ok(()) } else { Err(format!("not the right answer: {answer}").into()) }
}

fn differs(came: &[u8], expected: &[u8]) -> Box<dyn std::error::Error + Send + Sync> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(120)]).into_owned();
    format!("came {:?} instead of {:?}", text(came), text(expected)).into()
}
