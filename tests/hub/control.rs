//! What goes wrong on request, and what was asked. See README.md here.

use std::sync::Mutex;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::http1::Request;

/// Requests that are remembered.
const SEEN_MAX: usize = 10_000;

/// One way to go wrong, for the requests it matches.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fault {
    /// Part of the path; empty matches all.
    pub path: String,
    /// Only so many times; none: always.
    pub times: Option<u32>,
    /// Answers with this status.
    pub status: Option<u16>,
    /// `Retry-After` in seconds, with `status`.
    pub retry_after: Option<u32>,
    /// `X-Error-Code`, with `status`.
    pub code: Option<String>,
    /// Cuts the connection after so many bytes of the body.
    pub cut_after: Option<u64>,
    /// Sends so many bytes a second.
    pub bytes_per_s: Option<u64>,
    /// Sends bytes that are not the file's.
    pub corrupt: bool,
    /// Sends the whole file whatever range was asked for.
    pub ignore_range: bool,
    /// Holds the body back after so many bytes until the faults change.
    pub hold_after: Option<u64>,
    /// Closes the connection without an answer.
    pub close: bool,
}

#[derive(Default)]
pub struct Control {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    faults: Vec<Fault>,
    /// Counts the changes of the faults.
    version: u64,
    seen: Vec<Value>,
}

impl Control {
    /// Remembers a request and gives what is to go wrong with it.
    pub fn note(&self, request: &Request) -> Fault {
        let mut state = self.state.lock().unwrap();
        if state.seen.len() < SEEN_MAX {
            state.seen.push(json!({
                "method": request.method,
                "path": request.path,
                "host": request.header("host"),
                "range": request.header("range"),
                "authorization": request.header("authorization"),
            }));
        }
        let matching = |fault: &Fault| request.path.contains(&fault.path) && fault.times != Some(0);
        let Some(fault) = state.faults.iter_mut().find(|fault| matching(fault)) else {
            return Fault::default();
        };
        fault.times = fault.times.map(|times| times - 1);
        fault.clone()
    }

    /// `POST /__faults` replaces them all.
    pub fn set(&self, body: &[u8]) -> Result<(), String> {
        let faults = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        let mut state = self.state.lock().unwrap();
        state.faults = faults;
        state.version += 1;
        Ok(())
    }

    pub fn version(&self) -> u64 {
        self.state.lock().unwrap().version
    }

    /// `GET /__seen`
    pub fn seen(&self) -> Value {
        json!({"requests": self.state.lock().unwrap().seen})
    }

    /// `DELETE /__seen`
    pub fn forget(&self) {
        self.state.lock().unwrap().seen.clear();
    }
}
