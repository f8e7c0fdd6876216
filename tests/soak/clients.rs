//! Ordinary clients, and how the end of an answer is named.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::support::http::body;
use crate::{CLIENTS, DEFAULT_CLIENTS, Kind, Soak, chaos};

/// How long a client waits for the next byte of an answer: longer than any deadline of the profiles.
const PATIENCE: Duration = Duration::from_secs(90);

/// The client left in the middle of an answer.
pub const LEFT: &str = "left by the client";
/// The client left before the first byte: the gateway may not even have read the request.
pub const UNHEARD: &str = "left by the client unheard";
pub const COMPLETED: &str = "completed";
/// A wait for the queue or the answer has passed, as it does on a busy machine.
pub const LATE: &str = "504 timeout";
/// An upstream closed the connection, as the scripted one does after a while without a request.
pub const BROKEN: &str = "502 backend_error";
/// The body did not come in time: the gateway may not have known what it asks for.
pub const SLOW_BODY: &str = "408 request_timeout";
/// The connection ended without the end of an answer.
pub const CUT_OFF: &str = "cut off";

pub fn kinds() -> Vec<Kind> {
    vec![Kind {
        name: "ordinary",
        clients: (DEFAULT_CLIENTS, CLIENTS),
        ask,
        ends: &[
            COMPLETED,
            LEFT,
            UNHEARD,
            "429 queue_full",
            "502 backend_error",
            "503 backend_failed",
            "503 insufficient_memory",
            "504 timeout",
            "503 shutting_down",
        ],
    }]
}

/// A small generator of its own, so that a run can be told by its seed.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

impl Soak {
    /// A request with an id of its own; `headers` are lines, each with its end.
    pub fn request(&self, id: &str, path: &str, headers: &str, body: &str) -> String {
        self.gateway.request(path, &format!("x-request-id: {id}\r\n{headers}"), body)
    }

    /// A connection that has sent `bytes`.
    pub fn connect(&self, bytes: &[u8]) -> Option<TcpStream> {
        let mut connection = TcpStream::connect(&self.gateway.address).ok()?;
        connection.set_nodelay(true).ok()?;
        connection.set_read_timeout(Some(PATIENCE)).ok()?;
        connection.write_all(bytes).ok()?;
        Some(connection)
    }

    /// Sends a request, and reads its answer to the end.
    pub fn post(&self, id: &str, path: &str, headers: &str, body: &str) -> Option<String> {
        Some(end_of(&mut self.connect(self.request(id, path, headers, body).as_bytes())?))
    }
}

fn ask(soak: &Soak, dice: &mut Dice, id: &str) -> Option<String> {
    let (model, streamed) = (format!("p{}", dice.roll(chaos::PROFILES as u64)), dice.roll(3) > 0);
    let prompt = format!("#chunks={} #interval-us={}", 1 + dice.roll(20), dice.roll(20_000));
    let request = soak.request(id, "/v1/chat/completions", "", &body(&model, &prompt, streamed));
    let mut connection = soak.connect(request.as_bytes())?;
    if dice.roll(20) == 0 {
        // Reads a little, at most, and leaves.
        connection.set_read_timeout(Some(Duration::from_millis(1 + dice.roll(300)))).ok()?;
        let has_heard = connection.read(&mut [0; 64]).unwrap_or(0) > 0;
        return Some(if has_heard { LEFT } else { UNHEARD }.into());
    }
    Some(end_of(&mut connection))
}

/// Reads an answer to its end, and says how it ended.
pub fn end_of(connection: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    match connection.read_to_end(&mut answer) {
        Err(error) if answer.is_empty() => format!("no answer: {error}"),
        Err(error) => format!("no end: {error}"),
        Ok(_) => name(&answer),
    }
}

/// `completed`, or status and code of an error.
pub fn name(answer: &[u8]) -> String {
    // Long ones end with what says how they ended.
    let head = String::from_utf8_lossy(&answer[..answer.len().min(4096)]);
    let tail = String::from_utf8_lossy(&answer[answer.len().saturating_sub(4096)..]);
    let status = head.split(' ').nth(1).unwrap_or("none");
    let code = tail.split_once("\"code\":\"").and_then(|(_, rest)| rest.split('"').next());
    match code.filter(|_| tail.contains("\"error\"")) {
        Some(code) if status != "200" => format!("{status} {code}"),
        // In a stream the code says what the status would have been.
        Some(code) => {
            let status = match code {
                "queue_full" | "rate_limit_exceeded" => "429",
                "backend_error" | "answer_too_large" => "502",
                "timeout" => "504",
                _ => "503",
            };
            format!("{status} {code}")
        }
        None if status == "200" && head.contains("text/event-stream") && !tail.contains("data: [DONE]") => {
            CUT_OFF.into()
        }
        None if status == "200" => COMPLETED.into(),
        None => format!("status {status}"),
    }
}
