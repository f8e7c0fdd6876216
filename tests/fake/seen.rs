//! What reached the fake: the last requests byte for byte, how they ended, and the gate that holds
//! streams back. Tests read it at `/__seen` and wait there for a state instead of sleeping.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;

use crate::http1::Request;

/// Older requests are forgotten.
const REQUESTS_KEPT: usize = 200;
const WAIT_MS_MAX: u64 = 30_000;

pub struct Seen {
    requests: Mutex<VecDeque<Value>>,
    counts: watch::Sender<Counts>,
    gate_open: watch::Sender<bool>,
}

#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    pub requests: u64,
    pub active: u64,
    pub finished: u64,
    /// The client left before the end.
    pub cancelled: u64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum End {
    Finished,
    Cancelled,
}

impl Seen {
    pub fn new() -> Seen {
        Seen {
            requests: Mutex::default(),
            counts: watch::Sender::default(),
            gate_open: watch::Sender::default(),
        }
    }

    pub fn begin(&self, request: &Request) {
        let headers: Vec<Value> = request.headers.iter().map(|(name, value)| json!([name, value])).collect();
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.push_back(json!({
            "method": request.method,
            "target": request.target,
            "headers": headers,
            "body": String::from_utf8_lossy(&request.body),
        }));
        if requests.len() > REQUESTS_KEPT {
            requests.pop_front();
        }
        drop(requests);
        self.counts.send_modify(|counts| {
            counts.requests += 1;
            counts.active += 1;
        });
    }

    pub fn end(&self, end: End) {
        self.counts.send_modify(|counts| {
            counts.active -= 1;
            match end {
                End::Finished => counts.finished += 1,
                End::Cancelled => counts.cancelled += 1,
            }
        });
    }

    pub fn requests_so_far(&self) -> u64 {
        self.counts.borrow().requests
    }

    /// Waits until the gate is open.
    pub async fn gate(&self) {
        // The sender lives as long as `self`, so that this ends only when the gate opens.
        if self.gate_open.subscribe().wait_for(|open| *open).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    pub fn set_gate(&self, open: bool) {
        self.gate_open.send_replace(open);
    }

    pub fn forget(&self) {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.counts.send_modify(|counts| {
            *counts = Counts { active: counts.active, ..Counts::default() };
        });
    }

    pub async fn all_ended(&self) {
        if self.counts.subscribe().wait_for(|counts| counts.active == 0).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// The answer to `GET /__seen?requests=1&finished=1&cancelled=1&active=0&wait-ms=5000`: waits
    /// until at least so many were seen, finished and cancelled and at most so many are active.
    pub async fn report(&self, target: &str) -> String {
        let asked = |key: &str| {
            let query = target.split_once('?').map_or("", |(_, query)| query);
            let value = query.split('&').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='));
            value.and_then(|value| value.parse::<u64>().ok())
        };
        let least = |key: &str, count: u64| asked(key).is_none_or(|wanted| count >= wanted);
        let wait = Duration::from_millis(asked("wait-ms").unwrap_or(0).min(WAIT_MS_MAX));
        let mut counts = self.counts.subscribe();
        let reached = tokio::time::timeout(
            wait,
            counts.wait_for(|counts| {
                least("requests", counts.requests)
                    && least("finished", counts.finished)
                    && least("cancelled", counts.cancelled)
                    && asked("active").is_none_or(|wanted| counts.active <= wanted)
            }),
        )
        .await
        .is_ok();
        let counts = *self.counts.borrow();
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone();
        json!({
            "reached": reached,
            "count": counts.requests,
            "active": counts.active,
            "finished": counts.finished,
            "cancelled": counts.cancelled,
            "requests": requests,
            "pid": std::process::id(),
            "argv": std::env::args().collect::<Vec<_>>(),
            "env": std::env::vars().collect::<std::collections::BTreeMap<_, _>>(),
            "cwd": std::env::current_dir().map(|p| p.display().to_string()).unwrap_or_default(),
        })
        .to_string()
    }
}
