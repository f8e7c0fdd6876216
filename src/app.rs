//! The composition root: a checked configuration becomes a gateway that can serve, or one that only
//! answers commands while none runs.

use std::fs::{DirBuilder, File, TryLockError};
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio_util::task::TaskTracker;

use crate::auth::{AuthGate, Road};
use crate::backends::engine::{Engines, EnginesDeps};
use crate::backends::{Backends, BackendsDeps, Launcher, reap_orphans};
use crate::cli::SOCKET_NAME;
use crate::config::{ApiAuth, Config};
use crate::events::Bus;
use crate::http::{About, Edge, Gateway, Hosts, Listeners, Parts, Routes, Shared, routes};
use crate::profiles::ProfileSet;
use crate::proxy::{Proxy, Upstreams};
use crate::store::{Store, StoreError};
use crate::system::clock::{Clock, SystemClock};
use crate::system::memory;
use crate::tools::{Registry, RegistryDeps};
use crate::usage::{Recorder, retain};

/// How long an asked-for stop of one backend waits for the requests inside.
const STOP_GRACE: Duration = Duration::from_secs(30);

/// Everything, wired.
pub struct App {
    pub gateway: Shared,
    pub routes: Routes,
    pub store: Store,
    pub backends: Backends,
    pub config: Config,
    /// Work in the background that ends with the process.
    background: TaskTracker,
    /// Held as long as this process uses the data directory.
    _lock: File,
}

/// Why there is no gateway.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error("the data directory {path} cannot be made: {source}")]
    DataDir { path: PathBuf, source: std::io::Error },
    #[error("another gateway uses the data directory {0}; stop it, or choose another with --data-dir")]
    InUse(PathBuf),
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

impl App {
    /// Takes the data directory and puts everything together; nothing is bound or started yet.
    pub fn open(config: Config) -> Result<App, AppError> {
        let data_dir = config.server.data_dir.clone();
        let lock = take(&data_dir)?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let store = Store::open(&data_dir.join("gateway.db"))?;
        let total = memory::total_bytes();
        let budget = config.memory.budget.bytes(total.unwrap_or(0));
        let engines = Engines::new(EnginesDeps {
            data_dir: data_dir.clone(),
            config: config.engines.clone(),
            hub: config.hub.clone(),
            budget_bytes: budget,
            environment: std::env::vars_os().collect(),
        });
        let backends = Backends::new(BackendsDeps {
            data_dir: data_dir.clone(),
            launcher: Arc::new(engines.clone()) as Arc<dyn Launcher>,
            clock: Arc::clone(&clock),
            stop_grace: STOP_GRACE,
        });
        let profiles = ProfileSet::new(config.profiles.clone());
        backends.declare(profiles.launches());
        let proxy = Proxy {
            profiles: ArcSwap::from_pointee(profiles),
            backends: backends.clone(),
            recorder: Recorder::new(store.clone(), Arc::clone(&clock)),
            upstreams: Upstreams::new(),
            clock: Arc::clone(&clock),
            max_body: config.server.max_body,
        };
        let events = Bus::new();
        let tools = Registry::new(RegistryDeps {
            dir: config.plugins.dir.clone(),
            cache: data_dir.join("plugin-cache"),
            store: store.clone(),
            events: events.clone(),
            clock: Arc::clone(&clock),
            environment: std::env::vars().collect(),
        });
        let gateway = Gateway::new(Parts {
            proxy: Arc::new(proxy),
            engines,
            auth: AuthGate::new(&config.auth),
            hosts: Hosts::new(
                memory::host_name().as_deref(),
                &config.server.allowed_hosts,
                &config.server.cors_origins,
            ),
            events,
            tools,
            max_rounds: config.plugins.max_rounds,
            about: about(&config, clock.unix_ms(), budget, total),
        });
        let routes = routes(gateway.clone());
        let background = TaskTracker::new();
        Ok(App { gateway, routes, store, backends, config, background, _lock: lock })
    }

    /// Ends what a gateway that died has left behind, and begins what goes on beside requests.
    pub async fn start(&self) -> Result<(), AppError> {
        let data_dir = self.config.server.data_dir.clone();
        let reaped = tokio::task::spawn_blocking(move || reap_orphans(&data_dir)).await;
        tracing::debug!(?reaped, "Looked for what an earlier gateway left behind");
        let (store, days) = (self.store.clone(), self.config.usage.retention_days);
        self.background.spawn(async move { retain(&store, &SystemClock, days).await });
        self.background.spawn(self.plugins());
        for launch in self.gateway.proxy.profiles.load().launches().iter().filter(|launch| launch.preload) {
            let (backends, launch) = (self.backends.clone(), Arc::clone(launch));
            self.background.spawn(async move {
                if let Err(error) = backends.start(&launch).await {
                    tracing::warn!(backend.id = launch.id, %error, "A backend could not be preloaded");
                }
            });
        }
        Ok(())
    }

    /// Follows the plugin directory. What comes with the program is loaded when it is first needed,
    /// unless a profile is going to need it.
    fn plugins(&self) -> impl Future<Output = ()> + Send + use<> {
        let tools = self.gateway.tools.clone();
        let needed = self.config.profiles.iter().any(|profile| !profile.tools.is_empty());
        async move {
            if needed {
                tools.load().await;
            }
            tools.follow().await;
        }
    }

    /// The routes for this process itself, as over the local socket.
    pub fn local(&self) -> Edge {
        Edge::new(self.routes.clone(), self.gateway.clone(), Road::LocalSocket)
    }

    /// Binds every listener.
    pub async fn bind(&self) -> Result<Listeners, AppError> {
        let addresses: &[SocketAddr] = &self.config.server.listen;
        let listeners = Listeners::bind(addresses, &self.config.server.data_dir.join(SOCKET_NAME)).await?;
        let urls = listeners.addresses().iter().map(|address| format!("http://{address}")).collect();
        if self.gateway.about.listen.set(urls).is_err() {
            tracing::debug!("The listeners were bound twice");
        }
        Ok(listeners)
    }
}

fn about(config: &Config, started_at: i64, budget: u64, total: Option<u64>) -> About {
    About {
        started: Instant::now(),
        started_at,
        data_dir: config.server.data_dir.clone(),
        config_file: config.file.clone(),
        listen: std::sync::OnceLock::new(),
        auth: match (config.auth.api, &config.auth.environment_key) {
            (ApiAuth::Auto, Some(_)) | (ApiAuth::Required, _) => "required",
            (ApiAuth::Auto, None) => "open on loopback (auto)",
            (ApiAuth::Open, _) => "open",
        },
        memory_budget_bytes: budget,
        memory_total_bytes: total,
    }
}

/// The data directory's lock: one process at a time.
fn take(data_dir: &Path) -> Result<File, AppError> {
    let failed = |source| AppError::DataDir { path: data_dir.to_owned(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(data_dir).map_err(failed)?;
    let lock =
        File::options().create(true).append(true).open(data_dir.join("gateway.lock")).map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(AppError::InUse(data_dir.to_owned())),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}
