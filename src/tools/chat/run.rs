//! The rounds of one chat.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::sync::mpsc::Sender;
use uuid::Uuid;

use super::aside::{Aside, Part};
use super::request::Plan;
use super::turn::{Frame, ModelCall, Turn, sum};
use super::{Called, Outcome, Round};
use crate::dialect::assembled::Assembled;
use crate::dialect::facts::Usage;
use crate::dialect::failure::UpstreamFailure;
use crate::dialect::notes;
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
    /// What the client is to see. A closed one means that it has left.
    pub out: Sender<Bytes>,
}

/// Why a chat ended before its answer.
#[derive(Debug)]
pub enum Stop<F> {
    /// The round could not be begun.
    Failed(F),
    /// The model did not do what `tool_choice` asks for.
    Unsatisfied(String),
    /// The backend's answer cannot go on.
    Broken(UpstreamFailure),
    /// The request has ended already; its stream's last words are these.
    Told(Vec<u8>),
    /// The client has left.
    Gone,
}

/// What is known between rounds.
struct Sofar {
    /// What all rounds and their tools said, as far as the conversation keeps it.
    kept: Assembled,
    frame: Frame,
    usage: Option<Usage>,
    deltas: u64,
    opened: bool,
    repeats: HashMap<(String, String), u32>,
    tries: u32,
}

impl Chat {
    /// Goes on until the model answers, calls a tool of the client's, or has had its rounds. The
    /// closing chunks have been sent; `[DONE]` has not.
    pub async fn run<R: Round>(mut self, rounds: &mut R) -> Result<Outcome, Stop<R::Failure>> {
        let mut sofar = Sofar::new();
        if self.told {
            self.send(notes::tools(self.tools.iter().map(|tool| tool.listed()).collect())).await?;
        }
        for number in 1.. {
            let last = number >= self.max_rounds;
            let insists = self.plan.insists();
            let turn = self.round(rounds, last, insists, &mut sofar).await?;
            if insists {
                if !self.plan.is_met(turn.calls.iter().map(|call| call.name.as_str())) {
                    sofar.tries += 1;
                    if sofar.tries >= TRIES {
                        return Err(Stop::Unsatisfied(
                            "the model did not call the tool that \"tool_choice\" asks for, twice".to_owned(),
                        ));
                    }
                    continue;
                }
                self.plan.choice_is_met();
            }
            if turn.calls.iter().any(|call| self.plan.client.contains(&call.name)) {
                self.hand_over(rounds, turn, &mut sofar).await?;
                return self.close("tool_calls", sofar).await;
            }
            if turn.calls.is_empty() || last {
                let reason = match turn.finish_reason.as_deref() {
                    _ if !turn.calls.is_empty() => "length",
                    None | Some("tool_calls") => "stop",
                    Some(reason) => reason,
                };
                return self.close(reason, sofar).await;
            }
            self.answer_calls(rounds, turn, &mut sofar).await?;
        }
        Err(Stop::Gone)
    }

    /// One round: asked, and passed on as it comes.
    async fn round<R: Round>(
        &mut self,
        rounds: &mut R,
        last: bool,
        insists: bool,
        sofar: &mut Sofar,
    ) -> Result<Turn, Stop<R::Failure>> {
        rounds.begin(&self.plan.round(last, insists)).await.map_err(Stop::Failed)?;
        let (mut turn, mut held) = (Turn::default(), Vec::new());
        while let Some(bytes) = rounds.next().await {
            let mut seen = turn.feed(&bytes, &mut sofar.frame, &mut sofar.kept).map_err(Stop::Broken)?;
            // What may turn out not to be what was asked for is held back.
            if insists && !seen.starts_with(b":") && !Turn::is_too_much(&held) {
                held.append(&mut seen);
                continue;
            }
            self.pass(seen, sofar).await?;
        }
        if !rounds.completed() {
            let data = turn.failure.take().unwrap_or_else(|| b"{\"error\":{\"message\":\"the backend broke off\",\"type\":\"server_error\",\"param\":null,\"code\":\"backend_error\"}}".to_vec());
            return Err(Stop::Told([&b"data: "[..], &data, b"\n\n"].concat()));
        }
        sofar.usage = sum(sofar.usage, turn.usage);
        sofar.deltas += turn.deltas;
        turn.name_calls();
        if !turn.calls.is_empty() {
            self.pass(held, sofar).await?;
        }
        Ok(turn)
    }

    async fn pass<F>(&self, seen: Vec<u8>, sofar: &mut Sofar) -> Result<(), Stop<F>> {
        if seen.is_empty() {
            return Ok(());
        }
        if !seen.starts_with(b":") && !std::mem::replace(&mut sofar.opened, true) {
            self.send(sofar.frame.opening()).await?;
        }
        self.send(seen).await
    }

    async fn close<F>(&self, reason: &str, sofar: Sofar) -> Result<Outcome, Stop<F>> {
        if !sofar.opened {
            self.send(sofar.frame.opening()).await?;
        }
        let usage = sofar.usage.filter(|_| self.plan.include_usage);
        self.send(sofar.frame.closing(reason, usage.as_ref())).await?;
        Ok(Outcome { finish_reason: reason.to_owned(), usage: sofar.usage, deltas: sofar.deltas })
    }

    async fn send<F>(&self, bytes: Vec<u8>) -> Result<(), Stop<F>> {
        self.out.send(bytes.into()).await.map_err(|_| Stop::Gone)
    }

    /// Gives the client its calls of a round. What the gateway's own tools say to theirs is put aside for
    /// when the client comes back.
    async fn hand_over<R: Round>(
        &mut self,
        rounds: &mut R,
        turn: Turn,
        sofar: &mut Sofar,
    ) -> Result<(), Stop<R::Failure>> {
        let (mut client, own): (Vec<ModelCall>, Vec<ModelCall>) =
            turn.calls.into_iter().partition(|call| self.plan.client.contains(&call.name));
        if !own.is_empty() {
            // Model servers number calls within a round or a second; these have to be told apart for hours.
            for call in &mut client {
                call.id = format!("call_{}", Uuid::now_v7().simple());
            }
            let results = self.run_calls(rounds, &own, sofar).await?;
            let calls = own.iter().map(ModelCall::to_json).collect();
            let ids = client.iter().map(|call| call.id.clone()).collect();
            // Who was told of them has them in the conversation itself.
            if !self.told {
                self.aside.put(self.principal.as_deref(), ids, Part { calls, results });
            }
        }
        self.send(sofar.frame.calls(&client)).await
    }

    /// Runs a round's calls and puts their results into the conversation.
    async fn answer_calls<R: Round>(
        &mut self,
        rounds: &mut R,
        turn: Turn,
        sofar: &mut Sofar,
    ) -> Result<(), Stop<R::Failure>> {
        let results = self.run_calls(rounds, &turn.calls, sofar).await?;
        self.plan.push(turn.message());
        results.into_iter().for_each(|result| self.plan.push(result));
        Ok(())
    }

    /// Runs calls, all at once; their results as messages.
    async fn run_calls<R: Round>(
        &self,
        rounds: &mut R,
        calls: &[ModelCall],
        sofar: &mut Sofar,
    ) -> Result<Vec<Value>, Stop<R::Failure>> {
        let names: Vec<&str> = calls.iter().map(|call| call.name.as_str()).collect();
        self.send(format!(": running {}\n\n", names.join(", ").replace(['\n', '\r'], " ")).into_bytes())
            .await?;
        if self.told {
            self.send(notes::calls(calls.iter().map(ModelCall::as_note).collect())).await?;
        }
        let repeats: Vec<u32> = calls.iter().map(|call| sofar.repeated(call)).collect();
        let run =
            calls.iter().zip(repeats).enumerate().map(|(at, (call, repeats))| self.call(at, call, repeats));
        let (mut messages, mut results) = (Vec::with_capacity(calls.len()), Vec::new());
        for (call, (text, called)) in calls.iter().zip(join_all(run).await) {
            sofar.kept.keep(text.len()).map_err(Stop::Broken)?;
            results.push(json!({"id": call.id, "text": text, "failed": called.error.is_some()}));
            messages
                .push(json!({"role": "tool", "tool_call_id": call.id, "name": call.name, "content": text}));
            rounds.called(&called);
        }
        if self.told {
            self.send(notes::results(results)).await?;
        }
        Ok(messages)
    }

    /// The text that the model reads, and what is recorded.
    async fn call(&self, at: usize, call: &ModelCall, repeats: u32) -> (String, Called) {
        let began = Instant::now();
        let outcome = self.outcome(at, call, repeats, began).await;
        let (text, error) = match outcome {
            Ok(output) if output.is_error => {
                (format!("Error: {}", output.for_model()), Some("tool_error".to_owned()))
            }
            Ok(output) => (output.for_model(), None),
            Err(error) => (format!("Error: {error}"), Some(error.code().to_owned())),
        };
        (text, Called { tool: call.name.clone(), duration: began.elapsed(), error })
    }

    async fn outcome(
        &self,
        at: usize,
        call: &ModelCall,
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

impl Sofar {
    fn new() -> Sofar {
        Sofar {
            kept: Assembled::text(),
            frame: Frame::default(),
            usage: None,
            deltas: 0,
            opened: false,
            repeats: HashMap::new(),
            tries: 0,
        }
    }

    fn repeated(&mut self, call: &ModelCall) -> u32 {
        let count = self.repeats.entry((call.name.clone(), call.arguments.clone())).or_default();
        *count += 1;
        *count
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
