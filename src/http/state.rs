//! What the routes share.

use std::net::{IpAddr, SocketAddr};
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::audit::Refusals;
use super::hosts::Hosts;
use super::replays::Replays;
use crate::auth::Accounts;
use crate::backends::engine::Engines;
use crate::captures::Captures;
use crate::config::Shown;
use crate::events::Bus;
use crate::hub::Hub;
use crate::profiles::ProfileBook;
use crate::proxy::Proxy;
use crate::responses::Jobs;
use crate::store::Store;
use crate::tools::Registry;
use crate::tools::chat::Aside;

/// The parts that the routes reach.
pub struct Parts {
    pub proxy: Arc<Proxy>,
    pub engines: Engines,
    pub accounts: Arc<Accounts>,
    pub hub: Hub,
    pub profiles: ProfileBook,
    pub store: Store,
    pub hosts: Hosts,
    /// Whose `X-Forwarded-*` headers count.
    pub trusted_proxies: Vec<IpAddr>,
    pub events: Bus,
    pub tools: Registry,
    pub captures: Captures,
    /// How long the gateway waits for each part of a request's body.
    pub body_timeout: Duration,
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
    /// A proxy that does not count has forwarded a request.
    proxied: AtomicBool,
    /// Bounds the rows of the audit log that refused strangers make.
    pub refusals: Refusals,
    /// What the gateway's tools said in chats whose client runs other calls first.
    pub aside: Aside,
    /// Responses that are made while their clients may be away.
    pub making: Jobs,
    /// What was answered to changes that may be sent again.
    replays: Mutex<Replays>,
    /// The OpenAPI document, known once the routes are made.
    pub openapi: OnceLock<String>,
    /// Ends what would otherwise last as long as the gateway: event streams, watching.
    ending: CancellationToken,
}

/// What `GET /api/v1/system` tells.
pub struct About {
    pub started: Instant,
    /// Milliseconds since 1970, UTC.
    pub started_at: i64,
    pub data_dir: PathBuf,
    pub config_file: Option<PathBuf>,
    /// What became of the newest look at that file.
    pub config: ArcSwap<ConfigStatus>,
    /// Base URLs, known once the listeners are bound.
    pub listen: OnceLock<Vec<String>>,
    pub memory_budget_bytes: u64,
    pub memory_total_bytes: Option<u64>,
    /// The configured addresses, whether or not they are bound.
    pub configured_listen: Vec<SocketAddr>,
    pub hub_endpoint: String,
    pub settings: Vec<Shown>,
}

/// Whether the configuration file is what the gateway goes by.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct ConfigStatus {
    /// Milliseconds since 1970, UTC: when what is in force was read.
    pub loaded_at_ms: i64,
    /// Everything that is wrong with the file as it is now; what was read before stays in force.
    pub error: Option<String>,
    /// Sections that have changed and take effect with the next start.
    pub needs_restart: Vec<&'static str>,
}

impl ConfigStatus {
    /// The file was read at that time (milliseconds since 1970, UTC) without a fault.
    pub fn loaded(at_ms: i64) -> ConfigStatus {
        ConfigStatus { loaded_at_ms: at_ms, error: None, needs_restart: Vec::new() }
    }
}

/// How routes get at it.
pub type Shared = Arc<Gateway>;

impl Gateway {
    /// The state that all handlers share.
    pub fn new(parts: Parts) -> Shared {
        let (tasks, draining, proxied) = (TaskTracker::new(), AtomicBool::new(false), AtomicBool::new(false));
        let ending = CancellationToken::new();
        let (replays, aside) = (Mutex::default(), Aside::default());
        let making = Jobs::default();
        Arc::new(Gateway {
            parts,
            tasks,
            draining,
            proxied,
            refusals: Refusals::default(),
            aside,
            making,
            replays,
            openapi: OnceLock::new(),
            ending,
        })
    }

    /// Answers that are kept for `Idempotency-Key`.
    pub fn replays(&self) -> MutexGuard<'_, Replays> {
        self.replays.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the links by which the first account is made; none once there is one.
    pub fn setup_links(&self) -> Vec<String> {
        if self.accounts.index().has_accounts() {
            return Vec::new();
        }
        let token = self.accounts.setup_token();
        self.about
            .listen
            .get()
            .into_iter()
            .flatten()
            .map(|url| format!("{url}/setup?token={token}"))
            .collect()
    }

    /// Remembers that a request was forwarded by a peer that is not a trusted proxy, or names no client.
    pub fn note_proxy(&self, address: Option<IpAddr>) {
        if !self.has_seen_proxy() && !self.proxied.swap(true, Ordering::Relaxed) {
            let address = address.map(tracing::field::display);
            tracing::warn!(
                peer.address = address,
                "Request was forwarded by a proxy that is not in server.trusted_proxies or names no client; it needs a credential"
            );
        }
    }

    /// Whether [`Gateway::note_proxy`] was called.
    pub fn has_seen_proxy(&self) -> bool {
        self.proxied.load(Ordering::Relaxed)
    }

    /// Since the start.
    pub fn uptime(&self) -> Duration {
        self.about.started.elapsed()
    }

    /// From now on new requests are turned away.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
        self.ending.cancel();
    }

    /// Whether it is shutting down and takes no new requests.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// The same as a token, for those who end by one.
    pub fn ending_token(&self) -> CancellationToken {
        self.ending.clone()
    }

    /// Ready once the gateway is draining.
    pub async fn ending(&self) {
        self.ending.cancelled().await;
    }
}

impl Deref for Gateway {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.parts
    }
}
