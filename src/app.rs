//! The composition root: a checked configuration becomes a gateway that can serve, or one that only
//! answers commands while none runs.

mod data_dir;
mod host;
mod reload;

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio_util::task::TaskTracker;

use crate::auth::{Accounts, AuthFault, Revocations, Tokens, Transport};
use crate::backends::engine::{Arrival, Engines, EnginesDeps, ModelFetcher};
use crate::backends::{Backends, BackendsDeps, Launcher, reap_orphans};
use crate::backup::BackupError;
use crate::bodies::Bodies;
use crate::captures::Captures;
use crate::cli::SOCKET_NAME;
use crate::config::{Config, Sources};
use crate::events::Bus;
use crate::http::{
    About, ConfigStatus, Edge, Gateway, Hosts, Listeners, Parts, Routes, Shared, load_profiles,
    publish_backends, publish_requests, routes, tls_acceptor,
};
use crate::hub::downloads::{DownloadView, Downloads};
use crate::hub::{Hub, HubDeps, HubError, TokenPlaces};
use crate::models::hub_cache;
use crate::outward::Fetcher;
use crate::profiles::{Apply, LocalModels, ProfileBook};
use crate::proxy::{Contexts, Media, Proxy, Upstreams};
use crate::responses;
use crate::store::{Store, StoreError, audit};
use crate::system::clock::{Clock, SystemClock};
use crate::system::offload;
use crate::system::private::ForeignError;
use crate::system::{SystemProbe, memory};
use crate::tools::{Registry, RegistryDeps, bundled};
use crate::usage::{Recorder, retain};
use crate::worker::{Program, Worker};

pub use host::ThisMachine;
use reload::Reload;

/// How long an asked-for stop of one backend waits for the requests inside.
const STOP_GRACE: Duration = Duration::from_secs(30);

/// How often it is written when keys were last used.
const ACCOUNTS_EVERY: Duration = Duration::from_secs(60);
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

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
    #[error(
        "the data directory {path} cannot be used: {source}; the gateway keeps its store there and has to write to it"
    )]
    DataDir { path: PathBuf, source: std::io::Error },
    #[error("{0}")]
    Foreign(#[from] ForeignError),
    #[error("another gateway uses the data directory {0}; stop it, or choose another with --data-dir")]
    InUse(PathBuf),
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("{0}")]
    Backup(#[from] BackupError),
    #[error("{0}")]
    Accounts(#[from] AuthFault),
    #[error("{0}")]
    Hub(#[from] HubError),
    #[error("there is no folder for models: set HOME or HF_HOME")]
    NoCache,
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

impl App {
    /// Takes the data directory and puts everything together; nothing is bound or started yet.
    pub async fn open(config: Config) -> Result<App, AppError> {
        let data_dir = config.server.data_dir.clone();
        let lock = data_dir::take(&data_dir)?;
        data_dir::tidy(&data_dir::places(&config))?;
        data_dir::check_store(&data_dir)?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let store = Store::open(&data_dir.join("gateway.db"))?;
        let budget = config.memory.budget.bytes(memory::usable_bytes().unwrap_or(0));
        let events = Bus::new();
        let hub = open_hub(&config, &store, &events, &clock)?;
        let engines = Engines::new(EnginesDeps {
            data_dir: data_dir.clone(),
            config: config.engines.clone(),
            hub: config.hub.clone(),
            models: Arc::new(FromHub(hub.downloads.clone())),
            budget_bytes: budget,
            environment: std::env::vars_os().collect(),
        });
        let backends = open_backends(&config, &engines, &store, &clock, budget);
        backends.recall().await?;
        let captures = Captures::open(store.clone(), Arc::clone(&clock)).await?;
        let tokens = Tokens::open(&data_dir)?;
        let revocations = Revocations::open(&data_dir)?;
        let accounts =
            Accounts::open(&config.auth, store.clone(), tokens, revocations, Arc::clone(&clock)).await?;
        let recorder = Recorder::new(store.clone(), Arc::clone(&clock));
        end_with_rights(&accounts, &recorder);
        let models = local_models()?;
        let worker = Worker::new(Program::Own);
        let bodies = Bodies::new(config.server.max_body);
        let proxy = Arc::new(Proxy {
            profiles: ArcSwap::default(),
            backends: backends.clone(),
            recorder,
            upstreams: Upstreams::default(),
            contexts: Contexts::new(Arc::clone(&models), worker.clone(), bodies.clone()),
            worker: worker.clone(),
            models,
            media: Media(media(&config)),
            clock: Arc::clone(&clock),
            max_body: config.server.max_body,
            bodies,
        });
        let tools = open_tools(&config, &store, &events, &clock, worker);
        let applied = Arc::clone(&proxy);
        let apply: Apply = Box::new(move |profiles| applied.apply(profiles));
        let profiles = ProfileBook::new(config.profiles.clone(), load_profiles(&store)?, apply);
        let gateway = Gateway::new(Parts {
            proxy,
            engines,
            accounts: Arc::new(accounts),
            hub,
            profiles,
            store: store.clone(),
            hosts: Hosts::new(
                memory::host_name().as_deref(),
                &config.server.allowed_hosts,
                &config.server.cors_origins,
            ),
            trusted_proxies: config.server.trusted_proxies.clone(),
            events,
            tools,
            captures,
            body_timeout: config.server.body_timeout,
            max_rounds: config.plugins.max_rounds,
            about: about(&config, clock.unix_ms(), budget, memory::total_bytes()),
        });
        let (routes, background) = (routes(gateway.clone()), TaskTracker::new());
        Ok(App { gateway, routes, store, backends, config, background, _lock: lock })
    }

    /// Ends what a gateway that died has left behind, and begins what goes on beside requests.
    pub async fn start(&self) -> Result<(), AppError> {
        let data_dir = self.config.server.data_dir.clone();
        let reaped = tokio::task::spawn_blocking(move || reap_orphans(&data_dir)).await;
        tracing::debug!(?reaped, "Looked for what an earlier gateway left behind");
        let (store, days) = (self.store.clone(), self.config.usage.retention_days);
        self.background.spawn(async move { retain(&store, &SystemClock, days).await });
        let (accounts, store) = (Arc::clone(&self.gateway.accounts), self.store.clone());
        let audit_days = self.config.auth.audit_days;
        self.background.spawn(async move { keep_accounts(&accounts, &store, audit_days).await });
        let accounts = Arc::clone(&self.gateway.accounts);
        self.background.spawn(async move { accounts.end_expired().await });
        let accounts = Arc::clone(&self.gateway.accounts);
        self.background.spawn(async move { accounts.keep_revocations().await });
        self.background.spawn(self.gateway.captures.write_down());
        let (store, days) = (self.store.clone(), self.config.responses.retention_days);
        self.background.spawn(async move { responses::retain(&store, &SystemClock, days).await });
        self.background.spawn(self.plugins());
        self.background.spawn(self.backends.watch_over());
        self.background.spawn(publish_backends(Arc::clone(&self.gateway)));
        self.background.spawn(publish_requests(Arc::clone(&self.gateway)));
        if let Err(error) = self.gateway.hub.downloads.resume_all().await {
            tracing::warn!(%error, "What an earlier run was downloading is not known");
        }
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
        let needed =
            self.gateway.proxy.profiles.load().entries().iter().any(|entry| !entry.profile.tools.is_empty());
        async move {
            if needed {
                tools.load().await;
            }
            tools.follow().await;
        }
    }

    /// From now on a change of the configuration file takes effect while running.
    pub fn follow(&self, sources: Sources) {
        if let Some(file) = self.config.file.clone() {
            let reload = Reload::new(sources, self.config.clone(), Arc::clone(&self.gateway));
            self.background.spawn(reload.follow(file));
        }
    }

    /// The routes for this process itself, as over the local socket.
    pub fn local(&self) -> Edge {
        Edge::new(self.routes.clone(), self.gateway.clone(), Transport::UnixSocket)
    }

    /// Binds every listener.
    pub async fn bind(&self) -> Result<Listeners, AppError> {
        let addresses: &[SocketAddr] = &self.config.server.listen;
        let tls = self.config.server.tls.as_ref();
        let tls = tls.map(|tls| tls_acceptor(&tls.cert, &tls.key)).transpose()?;
        let socket = self.config.server.data_dir.join(SOCKET_NAME);
        let listeners = Listeners::bind(addresses, &socket, tls).await?;
        let scheme = listeners.scheme();
        let urls = listeners.addresses().iter().map(|address| format!("{scheme}://{address}")).collect();
        if self.gateway.about.listen.set(urls).is_err() {
            tracing::debug!("The listeners were bound twice");
        }
        Ok(listeners)
    }
}

/// Cancels requests whose callers lose their right.
fn end_with_rights(accounts: &Accounts, recorder: &Recorder) {
    let recorder = recorder.clone();
    accounts.index().on_end(move || {
        let ended = recorder.cancel_ended();
        if ended > 0 {
            tracing::info!(requests = ended, "Cancelled requests whose callers lost their right");
        }
    });
}

/// Writes when keys were last used, and forgets old entries of the audit log.
async fn keep_accounts(accounts: &Accounts, store: &Store, audit_days: u32) {
    loop {
        let oldest = SystemClock.unix_ms() - i64::from(audit_days) * DAY_MS;
        for done in [accounts.note_use().await, audit::prune(store, oldest).await.map(drop)] {
            match done {
                Ok(()) => {}
                Err(StoreError::Closed) => return,
                Err(error) => tracing::warn!(%error, "The store of accounts could not be kept in order"),
            }
        }
        tokio::time::sleep(ACCOUNTS_EVERY).await;
    }
}

/// Returns the models on this machine.
fn local_models() -> Result<Arc<LocalModels>, AppError> {
    let cache = hub_cache::location(|name| std::env::var_os(name)).ok_or(AppError::NoCache)?;
    Ok(Arc::new(LocalModels::new(cache)))
}

/// Fetches pictures, where the operator allows it.
fn media(config: &Config) -> Option<Fetcher> {
    let media = &config.media;
    let size_max = usize::try_from(media.max_size).unwrap_or(usize::MAX);
    media.fetch.then(|| Fetcher::new(media.allow_private.clone(), size_max, media.timeout))
}

fn open_tools(
    config: &Config,
    store: &Store,
    events: &Bus,
    clock: &Arc<dyn Clock>,
    worker: Worker,
) -> Registry {
    Registry::new(RegistryDeps {
        dir: config.plugins.dir.clone(),
        bundled: bundled(),
        cache: config.server.data_dir.join("plugin-cache"),
        store: store.clone(),
        events: events.clone(),
        clock: Arc::clone(clock),
        worker,
        environment: std::env::vars().collect(),
    })
}

fn open_backends(
    config: &Config,
    engines: &Engines,
    store: &Store,
    clock: &Arc<dyn Clock>,
    budget_bytes: u64,
) -> Backends {
    Backends::new(BackendsDeps {
        data_dir: config.server.data_dir.clone(),
        launcher: Arc::new(engines.clone()) as Arc<dyn Launcher>,
        clock: Arc::clone(clock),
        stop_grace: STOP_GRACE,
        probe: Arc::new(SystemProbe::default()),
        store: Some(store.clone()),
        budget_bytes,
        min_stay: config.memory.min_stay,
    })
}

fn open_hub(config: &Config, store: &Store, events: &Bus, clock: &Arc<dyn Clock>) -> Result<Hub, AppError> {
    let cache = hub_cache::location(|name| std::env::var_os(name)).ok_or(AppError::NoCache)?;
    let login = std::env::var_os("HF_TOKEN_PATH").map(PathBuf::from);
    let token = TokenPlaces {
        environment: config.hub.token.as_ref().map(|token| token.0.clone()),
        file: config.hub.token_file.clone(),
        login: login.or_else(|| Some(cache.parent()?.join("token"))),
    };
    Ok(Hub::new(HubDeps {
        endpoint: config.hub.endpoint.clone(),
        token,
        cache,
        folders: config.hub.folders.clone(),
        store: store.clone(),
        events: events.clone(),
        clock: Arc::clone(clock),
    })?)
}

/// The gateway's own downloads, as engines ask for them: one way on which models come here.
struct FromHub(Downloads);

impl ModelFetcher for FromHub {
    fn find(&self, id: &str) -> Option<PathBuf> {
        hub_cache::cached_snapshot(self.0.cache(), id)
    }

    fn fetch<'a>(
        &'a self,
        id: &'a str,
        report: &'a (dyn Fn(Arrival) + Send + Sync),
    ) -> BoxFuture<'a, Result<PathBuf, String>> {
        let told = |view: &DownloadView| {
            report(Arrival {
                done_bytes: view.done_bytes,
                total_bytes: view.total_bytes.unwrap_or_default(),
            });
        };
        async move {
            self.0.fetch(id, &told).await?;
            let (downloads, wanted) = (self.0.clone(), id.to_owned());
            let look = move || hub_cache::cached_snapshot(downloads.cache(), &wanted);
            let found = offload::run(Path::new(id), offload::PATIENT_TIME, look).await;
            let found = found.map_err(|error| error.to_string())?;
            found.ok_or_else(|| format!("{id} was fetched, and is not a model that can be served"))
        }
        .boxed()
    }
}

fn about(config: &Config, started_at: i64, budget: u64, total: Option<u64>) -> About {
    About {
        started: Instant::now(),
        started_at,
        data_dir: config.server.data_dir.clone(),
        config_file: config.file.clone(),
        listen: std::sync::OnceLock::new(),
        config: ArcSwap::from_pointee(ConfigStatus::loaded(started_at)),
        memory_budget_bytes: budget,
        memory_total_bytes: total,
        configured_listen: config.server.listen.clone(),
        hub_endpoint: config.hub.endpoint.clone(),
        settings: crate::config::shown(config),
    }
}
