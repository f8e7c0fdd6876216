//! The rounds of one chat.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::sync::mpsc::Sender;
use uuid::Uuid;

use super::Round;
use super::aside::{Aside, Part};
use super::request::Plan;
use super::turn::{CompleteTurn, Turn};
use crate::dialect::assembled::Assembled;
use crate::dialect::chat_stream::{self, Envelope, Event};
use crate::dialect::facts::Usage;
use crate::dialect::failure::UpstreamFailure;
use crate::dialect::notes;
use crate::dialect::tool_calls::ToolCall;
use crate::tools::{Call, CallError, Origin, Tool, ToolOutput};

/// Equal calls with equal arguments before a model is told that it runs in circles.
const REPEATS_MAX: u32 = 2;
/// Calls of one round that are run.
const CALLS_MAX: usize = 16;
/// Tries at what `tool_choice` asks for.
const TRIES: u32 = 2;

/// One chat with tools.
pub struct Chat {
    pub plan: Plan,
    /// The gateway's tools that take part.
    pub tools: Vec<Arc<Tool>>,
    pub max_rounds: u32,
    pub request_id: String,
    pub model: String,
    pub principal: Option<String>,
    /// When the whole chat has to be over.
    pub deadline: Instant,
    /// Where results wait for a client that runs the other calls of their round.
    pub aside: Aside,
    /// Whether the stream tells which tools take part, and what becomes of their calls.
    pub told: bool,
    /// Events for the client.
    pub out: Sender<Event>,
}

/// What is known between rounds.
struct Progress {
    /// Bounds what all rounds and their tools said, as far as the conversation keeps it.
    kept: Assembled,
    envelope: Envelope,
    usage: Option<Usage>,
    has_opened: bool,
    repeats: HashMap<(String, String), u32>,
    tries: u32,
}

impl Chat {
    /// Runs rounds until the model answers, calls a tool of the client's, or has had its rounds. Returns the finish
    /// reason; the closing chunks have been sent, `[DONE]` has not.
    ///
    /// # Errors
    /// If a round failed, or the model does not do what `tool_choice` asks for.
    pub async fn run<R: Round>(mut self, rounds: &mut R) -> Result<String, R::Failure> {
        let mut progress = Progress::new();
        if self.told {
            self.send(notes::tools(self.tools.iter().map(|tool| tool.listed()).collect())).await?;
        }
        let mut number = 0;
        loop {
            number += 1;
            let last = number >= self.max_rounds;
            let insists = self.plan.insists();
            let turn = self.round(rounds, last, insists, &mut progress).await?;
            if insists {
                if !self.plan.is_met(turn.calls.iter().map(|call| call.name.as_str())) {
                    progress.tries += 1;
                    if progress.tries >= TRIES {
                        return Err(unsatisfied().into());
                    }
                    continue;
                }
                self.plan.choice_is_met();
            }
            if turn.calls.iter().any(|call| self.plan.client.contains(&call.name)) {
                self.hand_over(rounds, turn, &mut progress).await?;
                return Ok(self.close("tool_calls", progress).await?);
            }
            if turn.calls.is_empty() || last {
                let reason = match turn.finish_reason.as_deref() {
                    _ if !turn.calls.is_empty() => "length",
                    None | Some("tool_calls") => "stop",
                    Some(reason) => reason,
                };
                return Ok(self.close(reason, progress).await?);
            }
            self.answer_calls(rounds, turn, &mut progress).await?;
        }
    }

    /// Runs one round, and passes its text on as it comes.
    async fn round<R: Round>(
        &mut self,
        rounds: &mut R,
        last: bool,
        insists: bool,
        progress: &mut Progress,
    ) -> Result<CompleteTurn, R::Failure> {
        rounds.begin(&self.plan.round(last, insists)).await?;
        let mut turn = Turn::default();
        // Text that the client does not get if the model calls no tool.
        let (mut held, mut held_bytes) = (Vec::new(), Assembled::events());
        while let Some(event) = rounds.next().await? {
            match event {
                Event::Comment(_) => self.send(event).await?,
                Event::Chunk(chunk, bytes) => {
                    let seen = turn.read(chunk, &mut progress.envelope, &mut progress.kept);
                    let Some(seen) = seen? else { continue };
                    if insists {
                        held_bytes.keep(bytes)?;
                        held.push(seen);
                    } else {
                        self.pass(seen, progress).await?;
                    }
                }
            }
        }
        let usage = rounds.end()?;
        progress.usage = Usage::sum(progress.usage, usage);
        let turn = turn.complete();
        if !turn.calls.is_empty() {
            for seen in held {
                self.pass(seen, progress).await?;
            }
        }
        Ok(turn)
    }

    async fn pass(&self, chunk: Value, progress: &mut Progress) -> Result<(), UpstreamFailure> {
        self.open(progress).await?;
        self.send(chunk).await
    }

    async fn open(&self, progress: &mut Progress) -> Result<(), UpstreamFailure> {
        if std::mem::replace(&mut progress.has_opened, true) {
            return Ok(());
        }
        self.send(progress.envelope.opening()).await
    }

    async fn close(&self, reason: &str, mut progress: Progress) -> Result<String, UpstreamFailure> {
        self.open(&mut progress).await?;
        self.send(progress.envelope.closing(reason)).await?;
        if let Some(usage) = progress.usage.filter(|_| self.plan.include_usage) {
            self.send(progress.envelope.usage(&usage)).await?;
        }
        Ok(reason.to_owned())
    }

    async fn send(&self, event: impl Into<Event>) -> Result<(), UpstreamFailure> {
        chat_stream::send(&self.out, event.into()).await
    }

    /// Gives the client its calls of a round. What the gateway's own tools say to theirs is put aside for
    /// when the client comes back.
    async fn hand_over<R: Round>(
        &mut self,
        rounds: &mut R,
        turn: CompleteTurn,
        progress: &mut Progress,
    ) -> Result<(), R::Failure> {
        let (mut client, own): (Vec<ToolCall>, Vec<ToolCall>) =
            turn.calls.into_iter().partition(|call| self.plan.client.contains(&call.name));
        if !own.is_empty() {
            // Model servers number calls within a round or a second; these have to be told apart for hours.
            for call in &mut client {
                call.id = format!("call_{}", Uuid::now_v7().simple());
            }
            let results = self.run_calls(rounds, &own, progress).await?;
            let calls = own.iter().map(ToolCall::to_json).collect();
            let ids = client.iter().map(|call| call.id.clone()).collect();
            // Who was told of them has them in the conversation itself.
            if !self.told {
                self.aside.put(self.principal.as_deref(), ids, Part { calls, results });
            }
        }
        Ok(self.send(progress.envelope.tool_calls(&client)).await?)
    }

    /// Runs a round's calls and puts their results into the conversation.
    async fn answer_calls<R: Round>(
        &mut self,
        rounds: &mut R,
        turn: CompleteTurn,
        progress: &mut Progress,
    ) -> Result<(), R::Failure> {
        let results = self.run_calls(rounds, &turn.calls, progress).await?;
        self.plan.push(turn.into_message());
        results.into_iter().for_each(|result| self.plan.push(result));
        Ok(())
    }

    /// Runs calls, all at once; their results as messages.
    async fn run_calls<R: Round>(
        &self,
        rounds: &mut R,
        calls: &[ToolCall],
        progress: &mut Progress,
    ) -> Result<Vec<Value>, R::Failure> {
        let names: Vec<&str> = calls.iter().map(|call| call.name.as_str()).collect();
        let comment = format!(": running {}\n\n", names.join(", ").replace(['\n', '\r'], " "));
        self.send(Event::Comment(comment.into())).await?;
        if self.told {
            self.send(notes::calls(calls.iter().map(note).collect())).await?;
        }
        let repeats: Vec<u32> = calls.iter().map(|call| progress.repeated(call)).collect();
        let run =
            calls.iter().zip(repeats).enumerate().map(|(at, (call, repeats))| self.call(at, call, repeats));
        let (mut messages, mut results) = (Vec::with_capacity(calls.len()), Vec::new());
        for (call, (text, duration, error)) in calls.iter().zip(join_all(run).await) {
            progress.kept.keep(text.len())?;
            results.push(json!({"id": call.id, "text": text, "failed": error.is_some()}));
            messages
                .push(json!({"role": "tool", "tool_call_id": call.id, "name": call.name, "content": text}));
            rounds.called(&call.name, duration, error);
        }
        if self.told {
            self.send(notes::results(results)).await?;
        }
        Ok(messages)
    }

    /// Runs a call. Returns the text that the model reads, how long the call took, and its error's code.
    async fn call(&self, at: usize, call: &ToolCall, repeats: u32) -> (String, Duration, Option<String>) {
        let began = Instant::now();
        let outcome = self.outcome(at, call, repeats, began).await;
        let (text, error) = match outcome {
            Ok(output) if output.is_error => {
                (format!("Error: {}", output.for_model()), Some("tool_error".to_owned()))
            }
            Ok(output) => (output.for_model(), None),
            Err(error) => (format!("Error: {error}"), Some(error.code().to_owned())),
        };
        (text, began.elapsed(), error)
    }

    async fn outcome(
        &self,
        at: usize,
        call: &ToolCall,
        repeats: u32,
        began: Instant,
    ) -> Result<ToolOutput, CallError> {
        if at >= CALLS_MAX {
            return Err(CallError::Denied(format!("at most {CALLS_MAX} calls at once; make this one later")));
        }
        let Some(tool) = self.tools.iter().find(|tool| tool.name == call.name) else {
            let known: Vec<&str> = self.tools.iter().map(|tool| tool.name.as_str()).collect();
            let words = format!("there is no tool \"{}\"; there is: {}", call.name, known.join(", "));
            return Ok(ToolOutput::failure(words));
        };
        if repeats > REPEATS_MAX {
            let words = "this very call was made before; use its result, or do something else";
            return Ok(ToolOutput::failure(words));
        }
        let arguments = if call.arguments.trim().is_empty() { "{}" } else { call.arguments.as_str() };
        tool.call(&Call {
            tool: &call.name,
            arguments,
            request_id: &self.request_id,
            origin: Origin::Chat,
            model: Some(&self.model),
            principal: self.principal.as_deref(),
            deadline: Some(self.deadline.saturating_duration_since(began)),
            listener: None,
        })
        .await
    }
}

impl Progress {
    fn new() -> Progress {
        Progress {
            kept: Assembled::text(),
            envelope: Envelope::default(),
            usage: None,
            has_opened: false,
            repeats: HashMap::new(),
            tries: 0,
        }
    }

    fn repeated(&mut self, call: &ToolCall) -> u32 {
        let count = self.repeats.entry((call.name.clone(), call.arguments.clone())).or_default();
        *count += 1;
        *count
    }
}

fn unsatisfied() -> UpstreamFailure {
    UpstreamFailure {
        code: "tool_choice_unsatisfied",
        ..UpstreamFailure::backend("the model did not call the tool that \"tool_choice\" asks for, twice")
    }
}

/// Returns a call as clients read it that are told of tool calls.
fn note(call: &ToolCall) -> Value {
    json!({"id": call.id, "name": call.name, "arguments": call.arguments})
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
