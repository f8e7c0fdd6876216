//! Chats with `n` choices, and structured answers that are checked before a client gets them. For the gateway's own
//! engines; other servers do both themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::BoxFuture;
use http::{HeaderName, HeaderValue, Response};
use serde_json::{Map, Value, json};

use super::driver::{self, Ended, Out, Whole};
use crate::dialect::assembled::Assembled;
use crate::dialect::chat_stream::{self, Envelope, Event};
use crate::dialect::facts::Usage;
use crate::dialect::failure::UpstreamFailure;
use crate::dialect::structured::{self, Format};
use crate::http::state::Shared;
use crate::proxy::{Answer, Failure, ResolvedRequest, Rounds};
use crate::worker::{CompileError, Verdict, Worker};

/// Choices of one request.
const CHOICES_MAX: u64 = 16;
/// Tries at a structured answer.
const TRIES: u32 = 2;

/// Characters of a fault that a model and a client read.
const FAULT_MAX: usize = 300;
/// Names what of the request was not checked in the answer.
const UNCHECKED: HeaderName = HeaderName::from_static("x-mlx-gateway-unchecked");

/// What a request asks for that takes several rounds.
#[derive(Debug)]
pub struct Choices {
    number: u64,
    format: Option<Format>,
}

/// Returns what a request asks for; none: it passes through.
///
/// # Errors
/// If `n` or `response_format` is invalid.
pub fn requested(request: &ResolvedRequest) -> Result<Option<Choices>, Failure> {
    if !request.is_ours() {
        return Ok(None);
    }
    let number = match request.field("n")? {
        None => 1,
        Some(n) => n.as_u64().filter(|n| (1..=CHOICES_MAX).contains(n)).ok_or_else(|| {
            Failure::invalid(
                format!("\"n\" must be a whole number of 1 to {CHOICES_MAX}"),
                Some("n".to_owned()),
            )
        })?,
    };
    let format = match request.field("response_format")? {
        Some(format) => Format::read(&format)?,
        None => None,
    };
    // Launched without batching, the engine holds to a schema by itself.
    let format = format.filter(|_| !request.profile().launch.structured);
    Ok((number > 1 || format.is_some()).then_some(Choices { number, format }))
}

/// Answers with all the choices, each in its format.
pub async fn answer(gateway: &Shared, request: Box<ResolvedRequest>, choices: Choices) -> Response<Answer> {
    let mut body = match request.body() {
        Ok(body) => body,
        Err(failure) => return request.refuse(failure),
    };
    let include_usage =
        body.get("stream_options").and_then(|options| options.get("include_usage")) == Some(&json!(true));
    let include_usage = include_usage || !request.wants_stream();
    body.remove("n");
    body.insert("stream".into(), true.into());
    body.insert("stream_options".into(), json!({"include_usage": true}));
    let number = usize::try_from(choices.number).unwrap_or(1);
    let worker = gateway.proxy.worker.for_lane(&request.caller.fairness);
    let is_unchecked = Arc::new(AtomicBool::new(false));
    let unchecked = Arc::clone(&is_unchecked);
    let mut response = driver::answer(request, Whole::Object(number), move |rounds, out| {
        let (envelope, usage, finish_reason) = (Envelope::default(), None, String::new());
        let work =
            Work { body, choices, include_usage, out, worker, unchecked, envelope, usage, finish_reason };
        Box::pin(work.run(rounds)) as BoxFuture<'_, Ended>
    })
    .await;
    // The headers of a stream that has sent comments are out already.
    if is_unchecked.load(Ordering::Relaxed) {
        response.headers_mut().insert(UNCHECKED, HeaderValue::from_static("response_format"));
    }
    response
}

struct Work {
    body: Map<String, Value>,
    choices: Choices,
    include_usage: bool,
    out: Out,
    worker: Worker,
    /// Set when an answer could not be checked.
    unchecked: Arc<AtomicBool>,
    envelope: Envelope,
    /// Of all rounds.
    usage: Option<Usage>,
    /// Of the last one.
    finish_reason: String,
}

/// One round's answer.
struct Round {
    kept: Assembled,
    text: String,
    finish_reason: Option<String>,
    /// Chunks that the client gets if the answer is valid.
    held: Vec<Value>,
}

impl Work {
    async fn run(mut self, rounds: &mut Rounds) -> Ended {
        rounds.admit(&self.body_of(0, 0, ""))?;
        self.compile(rounds).await?;
        for index in 0..self.choices.number {
            self.choice(rounds, index).await?;
        }
        if let Some(usage) = self.usage.filter(|_| self.include_usage) {
            self.send(self.envelope.usage(&usage)).await?;
        }
        Ok(self.finish_reason)
    }

    /// Compiles the schema, so that one that cannot be used is refused before a model works for it.
    async fn compile(&self, rounds: &mut Rounds) -> Result<(), Failure> {
        let Some(Format::Schema(schema)) = &self.choices.format else { return Ok(()) };
        match self.worker.compile(schema).await {
            Ok(unchecked) => {
                for pattern in unchecked {
                    rounds.warn(format!("the pattern \"{pattern}\" of \"response_format\" is not checked"));
                }
                Ok(())
            }
            Err(CompileError::Refused(problem)) => {
                let words = format!("\"response_format\": {problem}");
                Err(Failure::invalid(words, Some("response_format".to_owned())))
            }
            Err(CompileError::Busy) => {
                let words = "too many other schemas are being compiled; try again in a few seconds";
                Err(Failure::overloaded(words))
            }
            // The answer will say that it was not checked.
            Err(CompileError::Unavailable(problem)) => {
                rounds.warn(format!("the schema of \"response_format\" was not compiled: {problem}"));
                Ok(())
            }
        }
    }

    /// Returns what is wrong with an answer; none: nothing, or it could not be checked, which is noted.
    async fn fault(&self, rounds: &mut Rounds, answer: &str) -> Option<String> {
        let fault = match self.choices.format.as_ref()? {
            Format::Object => structured::object_fault(answer)?,
            Format::Schema(schema) => match self.worker.check(schema, answer, 1).await {
                Verdict::Fits => return None,
                Verdict::Faults(faults) => faults.into_iter().next()?,
                Verdict::NotJson(error) => structured::not_json(&error),
                Verdict::Unchecked(problem) => {
                    self.unchecked.store(true, Ordering::Relaxed);
                    rounds.warn(format!("the answer was not checked against \"response_format\": {problem}"));
                    return None;
                }
            },
        };
        Some(fault.chars().take(FAULT_MAX).collect())
    }

    async fn choice(&mut self, rounds: &mut Rounds, index: u64) -> Result<(), Failure> {
        let mut why = String::new();
        for attempt in 0..TRIES {
            rounds.begin(&self.body_of(index, attempt, &why)).await?;
            let round = self.read(rounds, index).await?;
            let facts = rounds.end_round()?;
            // The prompt counts once in the answer, as it does at OpenAI.
            let others = |usage: Usage| Usage { prompt: None, cached: None, ..usage };
            let usage = if self.usage.is_none() { facts.usage } else { facts.usage.map(others) };
            self.usage = Usage::sum(self.usage, usage);
            let is_cut_or_call = matches!(round.finish_reason.as_deref(), Some("length" | "tool_calls"));
            let fault = if is_cut_or_call { None } else { self.fault(rounds, &round.text).await };
            let Some(fault) = fault else {
                for chunk in round.held {
                    self.send(chunk).await?;
                }
                self.finish_reason = round.finish_reason.unwrap_or_default();
                return Ok(());
            };
            why = fault;
        }
        Err(Failure::from(UpstreamFailure {
            code: "structured_output_invalid",
            ..UpstreamFailure::backend(format!(
                "the model's answer is not what \"response_format\" asks for, {TRIES} times: {why}; \
                 try again, or set structured = true in the profile"
            ))
        }))
    }

    /// Reads a round to its end. Chunks that need no check go on at once.
    async fn read(&mut self, rounds: &mut Rounds, index: u64) -> Result<Round, Failure> {
        let (kept, text, held) = (Assembled::events(), String::new(), Vec::new());
        let mut round = Round { kept, text, held, finish_reason: None };
        while let Some(event) = rounds.next().await? {
            let Event::Chunk(mut chunk, bytes) = event else {
                self.send(event).await?;
                continue;
            };
            self.envelope.apply(&mut chunk);
            if let Some(chunk) = chunk.as_object_mut() {
                chunk.remove("usage");
            }
            let Some(choice) = chunk.get_mut("choices").and_then(|choices| choices.get_mut(0)) else {
                continue;
            };
            choice["index"] = index.into();
            if let Some(reason) = choice["finish_reason"].as_str() {
                round.finish_reason = Some(reason.to_owned());
            }
            if self.choices.format.is_none() {
                self.send(chunk).await?;
                continue;
            }
            if let Some(text) = choice["delta"]["content"].as_str() {
                round.kept.push(&mut round.text, text)?;
            }
            round.kept.keep(bytes)?;
            round.held.push(chunk);
        }
        Ok(round)
    }

    /// The request of a round. The same seed would give the same choice again; what was wrong before is said.
    fn body_of(&self, index: u64, attempt: u32, why: &str) -> Value {
        let mut body = self.body.clone();
        if let Some(seed) = body.get("seed").and_then(Value::as_u64) {
            body.insert("seed".into(), seed.wrapping_add(index + u64::from(attempt)).into());
        }
        if attempt > 0
            && let Some(Value::Array(messages)) = body.get_mut("messages")
        {
            let schema = match self
                .body
                .get("response_format")
                .and_then(|format| format.pointer("/json_schema/schema"))
            {
                Some(schema) => format!("one JSON value that fits this JSON Schema: {schema}"),
                None => "one JSON object".to_owned(),
            };
            let words = format!(
                "Answer with {schema}. Write nothing before or after it. Your last answer was wrong: {why}."
            );
            messages.push(json!({"role": "user", "content": words}));
        }
        Value::Object(body)
    }

    async fn send(&self, event: impl Into<Event>) -> Result<(), Failure> {
        Ok(chat_stream::send(&self.out, event.into()).await?)
    }
}
