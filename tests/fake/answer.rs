//! Answers requests in the way of mlx-openai-server, or in the way the script wants it to go wrong.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::args::Args;
use crate::endless;
use crate::form;
use crate::http1::{Connection, Request};
use crate::process::{burn, die, leak, log};
use crate::script::{Script, numbered};
use crate::seen::{End, Seen};
use crate::wire::{Identity, Piece, error_event, frame, json_response, plain_response, stream_head};

/// What ends a connection after an answer.
enum Next {
    KeepAlive,
    Close,
}

pub async fn serve(stream: TcpStream, args: Arc<Args>, seen: Arc<Seen>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut connection = Connection::new(stream);
    let idle = Duration::from_millis(args.idle_ms);
    while let Some(request) = connection.next_request(idle).await? {
        let next = answer(&mut connection, &request, &args, &seen).await?;
        if matches!(next, Next::Close) || !request.keep_alive {
            break;
        }
    }
    Ok(())
}

async fn answer(
    connection: &mut Connection,
    request: &Request,
    args: &Args,
    seen: &Seen,
) -> io::Result<Next> {
    let name = args.model_name();
    let response = match (request.method.as_str(), request.path()) {
        ("POST", "/v1/chat/completions") => {
            return tracked_chat(connection, request, args, seen).await;
        }
        ("POST", "/v1/embeddings") => {
            seen.begin(request);
            seen.end(End::Finished);
            embeddings(&request.body, name)
        }
        ("POST", "/v1/images/edits") => {
            seen.begin(request);
            seen.end(End::Finished);
            let said = STANDARD.encode(form::heard(&form::fields(request)));
            json_response(200, &json!({"created": now_seconds(), "data": [{"b64_json": said}]}).to_string())
        }
        ("POST", "/v1/audio/transcriptions") => {
            seen.begin(request);
            seen.end(End::Finished);
            let fields = form::fields(request);
            if form::text(&fields, "stream") == "true" {
                connection.write(stream_head()).await?;
                connection.write(&frame(form::stream(&fields).as_bytes())).await?;
                connection.write(b"0\r\n\r\n").await?;
                return Ok(Next::KeepAlive);
            }
            json_response(200, &form::transcription(&fields).to_string())
        }
        ("POST", "/v1/completions") => {
            seen.begin(request);
            seen.end(End::Finished);
            json_response(
                200,
                &json!({"id": "cmpl-1", "object": "text_completion", "created": now_seconds(), "model": name,
                "choices": [{"index": 0, "text": " a time", "logprobs": null, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 2, "completion_tokens": 2, "total_tokens": 4}})
                .to_string(),
            )
        }
        ("GET", "/health") if args.unhealthy => {
            json_response(503, r#"{"status":"unhealthy","model_id":null,"model_status":"no_models"}"#)
        }
        ("GET", "/health") => json_response(
            200,
            &json!({"status": "ok", "model_id": name, "model_status": "initialized (1 model(s))"})
                .to_string(),
        ),
        ("GET", "/v1/models") => json_response(
            200,
            &json!({"object": "list", "data": [{"id": name, "object": "model",
                "created": now_seconds(), "owned_by": "local", "metadata": null}]})
            .to_string(),
        ),
        ("GET", "/__seen") => json_response(200, &seen.report(&request.target).await),
        ("DELETE", "/__seen") => {
            seen.forget();
            json_response(200, "{}")
        }
        ("POST", "/__gate") => {
            seen.set_gate(request.body != b"closed");
            json_response(200, "{}")
        }
        _ => json_response(404, r#"{"detail":"Not Found"}"#),
    };
    connection.write(&response).await?;
    Ok(Next::KeepAlive)
}

/// As many numbers as the real one would give, usage unknown.
fn embeddings(body: &[u8], name: &str) -> Vec<u8> {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let texts = match &body["input"] {
        Value::String(text) => vec![text.clone()],
        Value::Array(list) => list.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => return json_response(422, r#"{"detail":[{"type":"missing","loc":["body","input"]}]}"#),
    };
    let data: Vec<Value> = texts
        .iter()
        .enumerate()
        .map(|(index, text)| {
            let embedding = [0.6, 0.8, 0.0, text.len() as f64];
            json!({"object": "embedding", "index": index, "embedding": embedding})
        })
        .collect();
    json_response(200, &json!({"object": "list", "data": data, "model": name, "usage": null}).to_string())
}

async fn tracked_chat(
    connection: &mut Connection,
    request: &Request,
    args: &Args,
    seen: &Seen,
) -> io::Result<Next> {
    seen.begin(request);
    let outcome = chat(connection, request, args, seen).await;
    let left = |error: &io::Error| {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
        matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset)
    };
    seen.end(if outcome.as_ref().is_err_and(left) { End::Cancelled } else { End::Finished });
    outcome
}

async fn chat(connection: &mut Connection, request: &Request, args: &Args, seen: &Seen) -> io::Result<Next> {
    let body = match checked(&request.body, args.model_name()) {
        Ok(body) => body,
        Err((status, message)) => {
            connection.write(&json_response(status, &message.to_string())).await?;
            return Ok(Next::KeepAlive);
        }
    };
    let script = args.script.for_request(&body);
    for line in 0..script.log_lines {
        log("INFO", "app.handler.mlx_lm:generate:1", &format!("log line {line}"));
    }
    leak(script.leak_mib);
    connection.cut_at(script.cut_at);
    if script.hang {
        connection.client_left().await;
        return Err(io::ErrorKind::BrokenPipe.into());
    }
    if let Some(what) = &script.stall {
        return endless::stall(connection, what).await.map(|()| Next::Close);
    }
    if script.endless_line {
        return endless::line(connection).await.map(|()| Next::Close);
    }
    if let Some(bytes) = script.endless {
        let id = identity(args);
        return endless::tokens(connection, &id, &body, bytes).await.map(|()| Next::Close);
    }
    if seen.requests_so_far() <= script.close_first {
        return Ok(Next::Close);
    }
    if script.http_garbage {
        connection.write(b"\x00\xffthis is not HTTP\r\n\r\n\r\n").await?;
        return Ok(Next::Close);
    }
    if let Some(error) = &script.error {
        connection.write(&error_response(error)).await?;
        return Ok(Next::KeepAlive);
    }
    let talk = Talk { identity: identity(args), pieces: script.pieces(&body), script, body };
    if talk.body.get("stream").and_then(Value::as_bool) == Some(true) {
        talk.stream(connection, seen).await
    } else {
        talk.whole(connection, seen).await
    }
}

fn identity(args: &Args) -> Identity {
    Identity {
        id: format!("chatcmpl_{:032x}", u128::from(nanos())),
        model: args.model_name().to_owned(),
        created: now_seconds(),
    }
}

/// One answer being given.
struct Talk {
    identity: Identity,
    script: Script,
    pieces: Vec<Piece>,
    body: Value,
}

impl Talk {
    async fn stream(&self, connection: &mut Connection, seen: &Seen) -> io::Result<Next> {
        let script = &self.script;
        connection.write(stream_head()).await?;
        let mut waiting = self.framed(self.identity.role_event().as_bytes());
        let mut gathered = 1;
        if script.repeats {
            connection.write(&std::mem::take(&mut waiting)).await?;
            let token = Piece::Content(numbered("w", 1, script.token_bytes));
            let event = self.framed(self.identity.event_of(&token).as_bytes());
            loop {
                if script.interval_us > 0 {
                    let interval = Duration::from_micros(script.interval_us);
                    unless_left(connection, tokio::time::sleep(interval)).await?;
                }
                connection.write(&event).await?;
            }
        }
        for (n, piece) in self.pieces.iter().enumerate() {
            if self.pauses_before(n) {
                connection.write(&std::mem::take(&mut waiting)).await?;
                gathered = 0;
            }
            if self.before(n, connection, seen).await? {
                return Ok(Next::Close);
            }
            if script.garbage_after == Some(n) {
                waiting.extend(self.framed(b"data: {\"id\": \"chatcmpl_1\", nonsense\n\n"));
            }
            if script.stream_error.is_some() && script.stream_error_after == n {
                break;
            }
            waiting.extend(self.framed(self.identity.event_of(piece).as_bytes()));
            gathered += 1;
            if gathered >= script.batch {
                connection.write(&std::mem::take(&mut waiting)).await?;
                gathered = 0;
            }
        }
        connection.write(&waiting).await?;
        if self.before(self.pieces.len(), connection, seen).await? {
            return Ok(Next::Close);
        }
        connection.write(&self.ending()).await?;
        Ok(Next::KeepAlive)
    }

    /// The last events with the end of the body: no usage after an error, as in the real one.
    fn ending(&self) -> Vec<u8> {
        let script = &self.script;
        let mut bytes = Vec::new();
        let mut usage = script.usage_json(&self.body, self.pieces.len());
        if let Some(code) = &script.stream_error {
            bytes.extend(self.framed(error_event(code).as_bytes()));
            usage = None;
        } else if script.tool {
            let empty = self.identity.event_of(&Piece::Content(String::new()));
            bytes.extend(self.framed(empty.as_bytes()));
        }
        let reason = if script.stream_error.is_some() { "stop" } else { script.finish_reason() };
        if !script.without_finish {
            bytes.extend(self.framed(self.identity.last_event(reason, usage).as_bytes()));
        }
        if !script.without_done {
            bytes.extend(self.framed(b"data: [DONE]\n\n"));
        }
        bytes.extend_from_slice(b"0\r\n\r\n");
        bytes
    }

    async fn whole(&self, connection: &mut Connection, seen: &Seen) -> io::Result<Next> {
        for n in 0..=self.pieces.len() {
            if self.before(n, connection, seen).await? {
                return Ok(Next::Close);
            }
        }
        let response = match &self.script.stream_error {
            Some(code) => error_response(code),
            None => {
                let usage = self.script.usage_json(&self.body, self.pieces.len());
                let reason = self.script.finish_reason();
                json_response(200, &self.identity.completion(&self.pieces, reason, usage))
            }
        };
        connection.write(&response).await?;
        Ok(Next::KeepAlive)
    }

    fn pauses_before(&self, n: usize) -> bool {
        let script = &self.script;
        if script.burn_ms > 0 && script.burn_after == n {
            return true;
        }
        let here = [script.die_after, script.close_after, script.hang_after, script.gate_after];
        script.interval_us > 0 || here.contains(&Some(n)) || (n == 0 && script.first_delay_ms > 0)
    }

    /// Whatever is due before token `n`; true when the connection is to be cut.
    async fn before(&self, n: usize, connection: &Connection, seen: &Seen) -> io::Result<bool> {
        let script = &self.script;
        if script.burn_ms > 0 && script.burn_after == n {
            burn(Duration::from_millis(script.burn_ms)).await;
        }
        if n == 0 && script.first_delay_ms > 0 {
            let delay = Duration::from_millis(script.first_delay_ms);
            unless_left(connection, tokio::time::sleep(delay)).await?;
        } else if n < self.pieces.len() && script.interval_us > 0 {
            let interval = Duration::from_micros(script.interval_us);
            unless_left(connection, tokio::time::sleep(interval)).await?;
        }
        if script.die_after == Some(n) {
            die();
        }
        if script.gate_after == Some(n) {
            unless_left(connection, seen.gate()).await?;
        }
        if script.hang_after == Some(n) {
            unless_left(connection, std::future::pending::<()>()).await?;
        }
        Ok(script.close_after == Some(n))
    }

    fn framed(&self, event: &[u8]) -> Vec<u8> {
        match self.script.split {
            0 => frame(event),
            size => event.chunks(size).flat_map(frame).collect(),
        }
    }
}

/// Waits for `what`, but not longer than the client.
async fn unless_left(connection: &Connection, what: impl Future<Output = ()>) -> io::Result<()> {
    tokio::select! {
        () = what => Ok(()),
        () = connection.client_left() => Err(io::ErrorKind::BrokenPipe.into()),
    }
}

/// The checks of the real server, with its messages.
fn checked(bytes: &[u8], served: &str) -> Result<Value, (u16, Value)> {
    let refused = |kind: &str, location: Value, message: &str, input: Value| {
        let detail = json!({"type": kind, "loc": location, "msg": message, "input": input});
        Err((422, json!({"detail": [detail]})))
    };
    let Ok(body) = serde_json::from_slice::<Value>(bytes) else {
        let place = json!(["body", bytes.len()]);
        return refused("json_invalid", place, "JSON decode error", json!({}));
    };
    let Some(messages) = body.get("messages").and_then(Value::as_array) else {
        return refused("missing", json!(["body", "messages"]), "Field required", body);
    };
    for (n, message) in messages.iter().enumerate() {
        let role = message.get("role").and_then(Value::as_str).unwrap_or_default();
        if !["system", "user", "assistant", "tool"].contains(&role) {
            let expected = "Input should be 'system', 'user', 'assistant' or 'tool'";
            let place = json!(["body", "messages", n, "role"]);
            return refused("literal_error", place, expected, json!(role));
        }
    }
    if let Some(stop) = body.get("stop").filter(|stop| stop.is_string()) {
        let place = json!(["body", "stop"]);
        return refused("list_type", place, "Input should be a valid list", stop.clone());
    }
    if let Some(hot) = body.get("temperature").filter(|t| t.is_string()) {
        let expected = "Input should be a valid number, unable to parse string as a number";
        return refused("float_parsing", json!(["body", "temperature"]), expected, hot.clone());
    }
    let model = body.get("model").and_then(Value::as_str).unwrap_or(served);
    if model != served {
        let message = format!("Model '{model}' not found. Available models: {served}");
        let error = json!({"message": message, "type": "model_not_found", "code": 404});
        return Err((404, json!({"detail": {"error": error}})));
    }
    if messages.is_empty() {
        let message = "Failed to generate text response: Cannot apply chat template to an empty \
                       conversation. Provide at least one message.";
        return Err((500, detail_error(message, "server_error", "500")));
    }
    Ok(body)
}

/// The shapes errors come in; the name says which.
fn error_response(name: &str) -> Vec<u8> {
    match name {
        "429" => {
            let message = "Too many requests. Service is at capacity.";
            json_response(429, &detail_error(message, "rate_limit_exceeded", "429").to_string())
        }
        "500-empty" => plain_response(500, "text/plain; charset=utf-8", ""),
        "500-bare" => plain_response(500, "text/plain; charset=utf-8", "Internal Server Error"),
        "500-no-message" => {
            let error = r#"{"error":{"message":"","type":"internal_error","param":null,"code":"500"}}"#;
            json_response(500, error)
        }
        "404" => json_response(404, r#"{"detail":"Not Found"}"#),
        "422" => json_response(
            422,
            r#"{"detail":[{"type":"missing","loc":["body","messages"],"msg":"Field required","input":{}}]}"#,
        ),
        other => {
            let status = other.parse().unwrap_or(500);
            let text = "Failed to generate text response: scripted failure";
            let body = match status {
                400 => json!({"error": {"message": text, "type": "unsupported_request",
                    "param": null, "code": "400"}}),
                _ => detail_error(text, "server_error", other),
            };
            json_response(status, &body.to_string())
        }
    }
}

fn detail_error(message: &str, kind: &str, code: &str) -> Value {
    json!({"detail": {"error": {"message": message, "type": kind, "param": null, "code": code}}})
}

fn now_seconds() -> u64 {
    nanos() / 1_000_000_000
}

fn nanos() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_nanos() as u64
}
