//! A backend as the admin API and the event stream show it.

use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;

use crate::backends::{BackendSnapshot, LaunchSpec, NeedSource};
use crate::http::state::Shared;

/// `GET /api/v1/servers`
#[derive(Debug, Serialize, ToSchema)]
pub struct Servers {
    pub servers: Vec<Server>,
}

/// One backend. What is not known is null, never 0.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Server {
    pub id: String,
    pub profiles: Vec<String>,
    pub engine: String,
    pub model: Option<String>,
    /// `stopped`, `preparing`, `loading`, `ready`, `draining`, `stopping` or `failed`.
    pub state: &'static str,
    /// What goes on in that state, in words.
    pub detail: Option<String>,
    /// Milliseconds since 1970, UTC: when it came into this state.
    pub since_ms: Option<i64>,
    pub uptime_s: Option<f64>,
    pub pid: Option<u32>,
    pub port: Option<u16>,
    /// Requests that it is serving.
    pub in_flight: u32,
    /// Requests that wait for it.
    pub queued: usize,
    /// How long a request that came now would wait for its turn, in seconds.
    pub queue_wait_s: Option<f64>,
    pub pinned: bool,
    /// By its profiles, so that it cannot be let go by a request.
    pub pinned_by_profile: bool,
    /// Milliseconds since 1970, UTC, to the second: when it is stopped if nobody uses it until then.
    pub idle_stop_at_ms: Option<i64>,
    /// Memory of its whole process tree: on Linux the proportional set, on macOS the footprint.
    pub memory_bytes: Option<u64>,
    /// What it is expected to need, and where that comes from.
    pub memory_expected_bytes: Option<u64>,
    pub memory_expected_from: Option<NeedSource>,
    /// Of its process tree; 100 is one processor.
    pub cpu_percent: Option<f64>,
    pub processes: Option<u32>,
    /// Completion tokens per second of its profiles over the last five seconds.
    pub tokens_per_s: f64,
    /// Completion tokens of its profiles since the gateway started.
    pub total_tokens: u64,
    /// Why it failed.
    pub error: Option<String>,
    pub log_tail: Vec<String>,
    pub command: Vec<String>,
}

impl Server {
    /// Every backend, by id.
    pub fn all(gateway: &Shared) -> Vec<Server> {
        gateway.proxy.backends.snapshot().into_iter().map(|s| Server::from_snapshot(gateway, s)).collect()
    }

    /// The backend of that spec, whether or not it has ever run.
    pub fn of(gateway: &Shared, spec: &LaunchSpec) -> Server {
        let all = gateway.proxy.backends.snapshot();
        let snapshot = all.into_iter().find(|snapshot| snapshot.id == spec.id);
        snapshot.map_or_else(|| Server::unknown(spec), |snapshot| Server::from_snapshot(gateway, snapshot))
    }

    /// What makes an event at once; the rest are figures, told at most once a second.
    pub fn is_like(&self, other: &Server) -> bool {
        (self.state, &self.detail, self.since_ms, self.pid, &self.error, &self.profiles)
            == (other.state, &other.detail, other.since_ms, other.pid, &other.error, &other.profiles)
    }

    /// Whether anything but the uptime differs.
    pub fn differs(&self, other: &Server) -> bool {
        let timeless = Server { uptime_s: other.uptime_s, ..self.clone() };
        timeless != *other
    }

    fn from_snapshot(gateway: &Shared, backend: BackendSnapshot) -> Server {
        let since = gateway.proxy.clock.unix_ms() - backend.since_ms;
        let throughput = gateway.proxy.recorder.throughput();
        Server {
            tokens_per_s: backend.profiles.iter().map(|name| throughput.tokens_per_s(name)).sum(),
            total_tokens: backend.profiles.iter().map(|name| throughput.total_tokens(name)).sum(),
            id: backend.id,
            profiles: backend.profiles,
            engine: backend.engine.to_owned(),
            model: backend.model,
            state: backend.state,
            detail: backend.step,
            since_ms: Some(backend.since_ms),
            uptime_s: (backend.state == "ready").then_some(since as f64 / 1000.0),
            pid: backend.pid,
            port: backend.port,
            in_flight: backend.in_flight,
            queued: backend.queued,
            queue_wait_s: backend.queue_wait.map(|wait| wait.as_secs_f64()),
            pinned: backend.pinned,
            pinned_by_profile: backend.pinned_by_profile,
            idle_stop_at_ms: backend.idle_stop_in.map(|left| second(gateway.proxy.clock.unix_ms(), left)),
            memory_bytes: backend.figures.and_then(|figures| figures.memory_bytes),
            memory_expected_bytes: backend.need.map(|need| need.bytes),
            memory_expected_from: backend.need.map(|need| need.source),
            cpu_percent: backend.figures.and_then(|figures| figures.cpu_percent),
            processes: backend.figures.map(|figures| figures.processes),
            error: backend.error,
            log_tail: backend.log_tail,
            command: backend.argv,
        }
    }

    fn unknown(spec: &LaunchSpec) -> Server {
        Server {
            id: spec.id.clone(),
            profiles: spec.profiles.clone(),
            engine: spec.settings.engine.name().to_owned(),
            model: spec.settings.model.as_ref().map(ToString::to_string),
            state: "stopped",
            detail: None,
            since_ms: None,
            uptime_s: None,
            pid: None,
            port: None,
            in_flight: 0,
            queued: 0,
            queue_wait_s: None,
            pinned: spec.pinned,
            pinned_by_profile: spec.pinned,
            idle_stop_at_ms: None,
            memory_bytes: None,
            memory_expected_bytes: spec.settings.memory,
            memory_expected_from: spec.settings.memory.map(|_| NeedSource::Configured),
            cpu_percent: None,
            processes: None,
            tokens_per_s: 0.0,
            total_tokens: 0,
            error: None,
            log_tail: Vec::new(),
            command: Vec::new(),
        }
    }
}

/// The moment that is `left` away, to the second, so that it stays the same while it comes closer.
fn second(now_ms: i64, left: Duration) -> i64 {
    let at = now_ms.saturating_add(i64::try_from(left.as_millis()).unwrap_or(i64::MAX));
    at.saturating_add(500) / 1000 * 1000
}
