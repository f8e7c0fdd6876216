//! What the routes share.

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::hosts::Hosts;
use crate::auth::AuthGate;
use crate::backends::engine::Engines;
use crate::events::Bus;
use crate::proxy::Proxy;
use crate::tools::Registry;

/// The parts that the routes reach.
pub struct Parts {
    pub proxy: Arc<Proxy>,
    pub engines: Engines,
    pub auth: AuthGate,
    pub hosts: Hosts,
    pub events: Bus,
    pub tools: Registry,
    /// Rounds that a chat with tools may take.
    pub max_rounds: u32,
    pub about: About,
}

/// The gateway as the HTTP layer sees it.
pub struct Gateway {
    parts: Parts,
    /// Work that goes on after its answer, such as a start nobody waits for.
    pub tasks: TaskTracker,
    draining: AtomicBool,
    /// Ends streams that have no end of their own.
    pub ending: CancellationToken,
}

/// What `GET /api/v1/system` tells.
pub struct About {
    pub started: Instant,
    /// Milliseconds since 1970, UTC.
    pub started_at: i64,
    pub data_dir: PathBuf,
    pub config_file: Option<PathBuf>,
    /// Base URLs, known once the listeners are bound.
    pub listen: OnceLock<Vec<String>>,
    pub auth: &'static str,
    pub memory_budget_bytes: u64,
    pub memory_total_bytes: Option<u64>,
}

/// How routes get at it.
pub type Shared = Arc<Gateway>;

impl Gateway {
    pub fn new(parts: Parts) -> Shared {
        let (tasks, draining) = (TaskTracker::new(), AtomicBool::new(false));
        Arc::new(Gateway { parts, tasks, draining, ending: CancellationToken::new() })
    }

    /// From now on new requests are turned away.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
        self.ending.cancel();
    }

    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }
}

impl Deref for Gateway {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.parts
    }
}
