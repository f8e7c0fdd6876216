//! One question of a self-test: what its client sees of the answer, and what its record says afterwards.

use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};

use super::judge::Asked;
use crate::cli::client::{Client, Lines, encode};
use crate::cli::exit::CliError;

/// Questions, with their names and the most tokens that their answers may have.
pub const QUESTIONS: [(&str, &str, usize, u32); 3] = [
    ("short", "Count from one to twenty, in words.", 1, 96),
    ("long answer", "Tell a long story about a lighthouse keeper.", 1, 256),
    ("long prompt", "The lighthouse keeper counted the ships that passed. ", 200, 64),
];

/// How often a record is looked at until it says how the request ended.
const LOOKS: u32 = 50;
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// Asks the `number`th question of a profile.
pub async fn ask(client: &Client, profile: &str, number: usize, run: &str) -> Asked {
    let (name, text, times, max_tokens) = QUESTIONS[number % QUESTIONS.len()];
    let id = format!("selftest-{run}-{number}");
    let mut asked = Asked { prompt: name, ..Asked::default() };
    let body = json!({
        "model": profile, "stream": true, "stream_options": {"include_usage": true}, "max_tokens": max_tokens,
        "messages": [{"role": "user", "content": text.repeat(times)}],
    });
    match answer(client, &body, &id, &mut asked).await {
        Ok(()) => {}
        Err(error) => asked.error = Some(error.to_string()),
    }
    if let Err(error) = recorded(client, &id, &mut asked).await {
        asked.error.get_or_insert(error.to_string());
    }
    asked
}

async fn answer(client: &Client, body: &Value, id: &str, asked: &mut Asked) -> Result<(), CliError> {
    let began = Instant::now();
    let headers = [("x-request-id", id), ("x-mlx-gateway-tools", "none")];
    let body = client.open_with(Method::POST, "/v1/chat/completions", Some(body), &headers).await?;
    let mut lines = Lines::new(body);
    let mut first = None;
    // To its end: what comes before is not recorded yet.
    while let Some(line) = lines.next().await? {
        let Some(data) = line.strip_prefix("data: ") else { continue };
        let event: Value = serde_json::from_str(data).unwrap_or_default();
        if let Some(message) = event["error"]["message"].as_str() {
            return Err(CliError::Failed(message.to_owned()));
        }
        if is_token(&event["choices"][0]["delta"]) {
            first.get_or_insert_with(Instant::now);
        }
        if let Some(tokens) = event["usage"]["completion_tokens"].as_u64() {
            asked.client_tokens = Some(tokens);
        }
    }
    asked.client_ttft_ms = first.map(|first| first.duration_since(began).as_secs_f64() * 1000.0);
    // As records count: from the first token to the answer's end.
    let decoding = first.map(|first| first.elapsed().as_secs_f64()).filter(|took| *took > 0.0);
    let after_first = asked.client_tokens.filter(|tokens| *tokens > 1).map(|tokens| (tokens - 1) as f64);
    asked.client_tokens_per_s = after_first.zip(decoding).map(|(tokens, took)| tokens / took);
    Ok(())
}

fn is_token(delta: &Value) -> bool {
    ["content", "reasoning_content", "reasoning"]
        .iter()
        .any(|key| delta[key].as_str().is_some_and(|text| !text.is_empty()))
}

async fn recorded(client: &Client, id: &str, asked: &mut Asked) -> Result<(), CliError> {
    let record = ended(client, id).await?;
    asked.record_ttft_ms = record["ttft_ms"].as_f64();
    asked.record_tokens = record["completion_tokens"].as_u64();
    asked.record_prompt_tokens = record["prompt_tokens"].as_u64();
    asked.record_tokens_per_s = record["decode_tokens_per_s"].as_f64();
    asked.record_estimated = record["estimated"].as_bool();
    Ok(())
}

/// The record once it is whole: the last bytes of an answer are on their way before it is.
async fn ended(client: &Client, id: &str) -> Result<Value, CliError> {
    let path = format!("/api/v1/requests/{}", encode(id));
    for _ in 0..LOOKS {
        let record = client.get::<Value>(&path).await?.value;
        if record["status"] != "running" {
            return Ok(record);
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
    Err(CliError::Failed(format!("the request {id} has ended, but its record has not")))
}
