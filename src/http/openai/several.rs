//! Chats that one round does not answer: `n` choices, and structured answers that have to be looked at
//! before a client sees them. For engines of ours; other servers do that themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderName, HeaderValue, Response};
use serde_json::{Map, Value, json};

use super::driven::{self, Asking, Ended, Out, Whole};
use crate::dialect::assembled::Assembled;
use crate::dialect::facts::{Facts, Usage};
use crate::dialect::failure::UpstreamFailure;
use crate::dialect::sse;
use crate::dialect::structured::{self, Format};
use crate::http::state::Shared;
use crate::proxy::{Answer, Failure, Opened};
use crate::tools::chat::{Round, Stop};
use crate::worker::{CompileError, Verdict, Worker};

/// Choices of one request.
const CHOICES_MAX: u64 = 16;
/// Tries at a structured answer.
const TRIES: u32 = 2;

/// Characters of a fault that a model and a client read.
const FAULT_MAX: usize = 300;
/// Names what of the request was not checked in the answer.
const UNCHECKED: HeaderName = HeaderName::from_static("x-mlx-gateway-unchecked");

/// What a request asks for beyond one round.
#[derive(Debug)]
pub struct Several {
    choices: u64,
    format: Option<Format>,
}

/// What such a request asks for; none: it passes through.
pub fn wanted(opened: &Opened) -> Result<Option<Several>, Failure> {
    if !opened.is_ours() {
        return Ok(None);
    }
    let choices = match opened.field("n")? {
        None => 1,
        Some(n) => n.as_u64().filter(|n| (1..=CHOICES_MAX).contains(n)).ok_or_else(|| {
            Failure::invalid(
                format!("\"n\" must be a whole number of 1 to {CHOICES_MAX}"),
                Some("n".to_owned()),
            )
        })?,
    };
    let format = match opened.field("response_format")? {
        Some(format) => Format::read(&format)?,
        None => None,
    };
    // Launched without batching, the engine holds to a schema by itself.
    let format = format.filter(|_| !opened.profile().launch.structured);
    Ok((choices > 1 || format.is_some()).then_some(Several { choices, format }))
}

/// Answers with all the choices, each as it has to be.
pub async fn answer(gateway: &Shared, opened: Opened, several: Several) -> Response<Answer> {
    let mut body = match opened.body() {
        Ok(body) => body,
        Err(failure) => return opened.refuse(&failure),
    };
    let asked =
        body.get("stream_options").and_then(|options| options.get("include_usage")) == Some(&json!(true));
    let tells_usage = asked || !opened.wants_stream();
    body.remove("n");
    body.insert("stream".into(), true.into());
    body.insert("stream_options".into(), json!({"include_usage": true}));
    let choices = usize::try_from(several.choices).unwrap_or(1);
    let (worker, is_unchecked) =
        (gateway.proxy.worker.for_lane(&opened.caller.fairness), Arc::new(AtomicBool::new(false)));
    let unchecked = Arc::clone(&is_unchecked);
    let mut response = driven::answer(opened, Whole::Object(choices), move |asking, out| {
        let work = Work { body, several, tells_usage, out, worker, unchecked, sums: Sums::default() };
        Box::pin(work.run(asking)) as BoxFuture<'_, Ended>
    })
    .await;
    // The head of a stream that has sent keep-alive comments has left already.
    if is_unchecked.load(Ordering::Relaxed) {
        response.headers_mut().insert(UNCHECKED, HeaderValue::from_static("response_format"));
    }
    response
}

struct Work {
    body: Map<String, Value>,
    several: Several,
    tells_usage: bool,
    out: Out,
    worker: Worker,
    /// Set when an answer could not be checked.
    unchecked: Arc<AtomicBool>,
    sums: Sums,
}

/// What all rounds come to.
#[derive(Default)]
struct Sums {
    id: Option<Value>,
    usage: Option<Usage>,
    deltas: u64,
    finish_reason: Option<String>,
    /// The first chunk without its choices, for the usage.
    frame: Option<Value>,
}

/// One round's answer.
struct Heard {
    kept: Assembled,
    text: String,
    /// Why the round failed, as the backend told it.
    failure: Option<Value>,
    finish_reason: Option<String>,
    usage: Option<Usage>,
    /// What is held back until it is known to be good, as events.
    held: Vec<u8>,
}

impl Heard {
    fn new() -> Heard {
        let kept = Assembled::events();
        Heard { kept, text: String::new(), failure: None, finish_reason: None, usage: None, held: Vec::new() }
    }
}

impl Work {
    async fn run(mut self, asking: &mut Asking) -> Ended {
        asking.admit(&self.body_of(0, 0, "")).map_err(Stop::Failed)?;
        self.compile(asking).await?;
        for index in 0..self.several.choices {
            self.choice(asking, index).await?;
        }
        if self.tells_usage
            && let (Some(mut frame), Some(usage)) = (self.sums.frame.take(), self.sums.usage)
        {
            let (prompt, completion) = (usage.prompt.unwrap_or(0), usage.completion.unwrap_or(0));
            frame["choices"] = json!([]);
            frame["usage"] = json!({
                "prompt_tokens": prompt,
                "completion_tokens": completion,
                "total_tokens": usage.total(),
                "prompt_tokens_details": {"cached_tokens": usage.cached.unwrap_or(0)},
            });
            self.say(&frame).await?;
        }
        Ok(Facts {
            deltas: self.sums.deltas,
            usage: self.sums.usage,
            finish_reason: self.sums.finish_reason,
            done: true,
            ..Facts::default()
        })
    }

    /// Compiles the schema, so that one that cannot be used is refused before a model works for it.
    async fn compile(&self, asking: &mut Asking) -> Result<(), Stop<Failure>> {
        let Some(Format::Schema(schema)) = &self.several.format else { return Ok(()) };
        match self.worker.compile(schema).await {
            Ok(unchecked) => {
                for pattern in unchecked {
                    asking.warn(format!("the pattern \"{pattern}\" of \"response_format\" is not checked"));
                }
                Ok(())
            }
            Err(CompileError::Refused(problem)) => {
                let words = format!("\"response_format\": {problem}");
                Err(Stop::Failed(Failure::invalid(words, Some("response_format".to_owned()))))
            }
            Err(CompileError::Busy) => {
                let words = "too many other schemas are being compiled; try again in a few seconds";
                Err(Stop::Failed(Failure::overloaded(words)))
            }
            // The answer will say that it was not checked.
            Err(CompileError::Unavailable(problem)) => {
                asking.warn(format!("the schema of \"response_format\" was not compiled: {problem}"));
                Ok(())
            }
        }
    }

    /// Returns what is wrong with an answer; none: nothing, or it could not be checked, which is noted.
    async fn fault(&self, asking: &mut Asking, answer: &str) -> Option<String> {
        let fault = match self.several.format.as_ref()? {
            Format::Object => structured::object_fault(answer)?,
            Format::Schema(schema) => match self.worker.check(schema, answer, 1).await {
                Verdict::Fits => return None,
                Verdict::Faults(faults) => faults.into_iter().next()?,
                Verdict::NotJson(error) => structured::not_json(&error),
                Verdict::Unchecked(problem) => {
                    self.unchecked.store(true, Ordering::Relaxed);
                    asking.warn(format!("the answer was not checked against \"response_format\": {problem}"));
                    return None;
                }
            },
        };
        Some(fault.chars().take(FAULT_MAX).collect())
    }

    async fn choice(&mut self, asking: &mut Asking, index: u64) -> Result<(), Stop<Failure>> {
        let mut why = String::new();
        for attempt in 0..TRIES {
            let body = self.body_of(index, attempt, &why);
            asking.begin(&body).await.map_err(Stop::Failed)?;
            let heard = self.hear(asking, index).await?;
            if !asking.completed() {
                let told = heard.failure.unwrap_or_else(|| {
                    json!({"error": {"message": "the backend broke off", "type": "server_error", "param": null, "code": "backend_error"}})
                });
                return Err(Stop::Told(format!("data: {told}\n\n").into_bytes()));
            }
            self.sums.add(&heard);
            let cut_or_call = matches!(heard.finish_reason.as_deref(), Some("length" | "tool_calls"));
            let fault = if cut_or_call { None } else { self.fault(asking, &heard.text).await };
            match fault {
                None => {
                    if !heard.held.is_empty() {
                        self.send(heard.held.into()).await?;
                    }
                    self.sums.finish_reason = heard.finish_reason;
                    return Ok(());
                }
                Some(fault) => why = fault,
            }
        }
        let mut failure = Failure::backend(format!(
            "the model's answer is not what \"response_format\" asks for, {TRIES} times: {why}; \
             try again, or set structured = true in the profile"
        ));
        (failure.status, failure.code) = (502, "structured_output_invalid");
        Err(Stop::Failed(failure))
    }

    /// Reads a round to its end. What needs no look goes on at once.
    async fn hear(&mut self, asking: &mut Asking, index: u64) -> Result<Heard, Stop<Failure>> {
        let mut heard = Heard::new();
        while let Some(bytes) = asking.next().await {
            if bytes.starts_with(b":") {
                self.send(bytes).await?;
                continue;
            }
            for data in sse::events(&bytes).filter(|data| data.as_ref() != sse::DONE) {
                let Ok(mut chunk) = serde_json::from_slice::<Value>(&data) else { continue };
                if chunk["error"].is_object() {
                    heard.failure = Some(chunk);
                    continue;
                }
                let usage = chunk.as_object_mut().and_then(|chunk| chunk.remove("usage"));
                heard.usage = usage.as_ref().and_then(Usage::of).or(heard.usage);
                self.note(&mut chunk, &mut heard, index).map_err(Stop::Broken)?;
                if chunk["choices"].as_array().is_none_or(Vec::is_empty) {
                    continue;
                }
                if self.several.format.is_some() {
                    let event = format!("data: {chunk}\n\n");
                    heard.kept.extend(&mut heard.held, event.as_bytes()).map_err(Stop::Broken)?;
                } else {
                    self.say(&chunk).await?;
                }
            }
        }
        Ok(heard)
    }

    /// Makes a chunk part of the one answer, and notes what it says.
    fn note(&mut self, chunk: &mut Value, heard: &mut Heard, index: u64) -> Result<(), UpstreamFailure> {
        let id = self.sums.id.get_or_insert_with(|| chunk["id"].clone());
        chunk["id"] = id.clone();
        self.sums.frame.get_or_insert_with(|| {
            let mut frame = chunk.clone();
            frame["choices"] = json!([]);
            frame
        });
        for choice in chunk["choices"].as_array_mut().into_iter().flatten() {
            choice["index"] = index.into();
            if let Some(text) = choice["delta"]["content"].as_str().filter(|_| self.several.format.is_some())
            {
                heard.kept.push(&mut heard.text, text)?;
            }
            let spoken = ["content", "reasoning_content", "tool_calls"];
            let speaks =
                |key: &&str| choice["delta"].get(*key).is_some_and(|said| !said.is_null() && said != "");
            self.sums.deltas += u64::from(spoken.iter().any(speaks));
            if let Some(reason) = choice["finish_reason"].as_str() {
                heard.finish_reason = Some(reason.to_owned());
            }
        }
        Ok(())
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

    async fn say(&self, chunk: &Value) -> Result<(), Stop<Failure>> {
        self.send(Bytes::from(format!("data: {chunk}\n\n"))).await
    }

    async fn send(&self, bytes: Bytes) -> Result<(), Stop<Failure>> {
        self.out.send(bytes).await.map_err(|_left| Stop::Gone)
    }
}

impl Sums {
    /// A prompt is counted once, as OpenAI does.
    fn add(&mut self, heard: &Heard) {
        let Some(more) = heard.usage else { return };
        self.usage = Some(match self.usage {
            None => more,
            Some(sum) => sum.plus(Usage { prompt: None, cached: None, ..more }),
        });
    }
}
