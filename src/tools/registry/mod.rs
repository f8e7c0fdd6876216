//! Which plugins and tools there are, in what state, and what they were granted. A change is prepared
//! on the side and then put in place at once; calls that run finish on what they began with.

mod bundled;
mod change;
mod counters;
mod grant;
mod load;
mod plugin;
mod scan;
mod tool;
mod view;
mod watch;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::{OnceCell, watch as channel};

pub use bundled::{Bundled, bundled};
pub use change::{Added, NewPlugin};
pub use tool::Tool;
pub use view::{PluginView, ToolView};

use counters::Counters;
use plugin::Plugin;

use super::error::PluginError;
use super::sandbox::Sandbox;
use crate::events::{Audience, Bus, Kind};
use crate::store::Store;
use crate::system::clock::Clock;
use crate::system::offload;
use crate::worker::Worker;

/// What the registry works with.
pub struct RegistryDeps {
    /// Where plugins lie.
    pub dir: PathBuf,
    /// Those that come with the program.
    pub bundled: Vec<Bundled>,
    /// Where compiled ones are kept.
    pub cache: PathBuf,
    pub store: Store,
    pub events: Bus,
    pub clock: Arc<dyn Clock>,
    /// Compiles and checks schemas.
    pub worker: Worker,
    /// Where secrets come from.
    pub environment: HashMap<String, String>,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Registry(Arc<Inner>);

struct Inner {
    deps: RegistryDeps,
    /// Made when the first plugin is loaded.
    sandbox: OnceLock<Arc<Sandbox>>,
    set: ArcSwap<Set>,
    loaded: OnceCell<()>,
    /// Held while a change is prepared: one at a time.
    changing: tokio::sync::Mutex<()>,
    changed: channel::Sender<u64>,
    /// Figures outlive a reload.
    counters: Mutex<HashMap<String, Arc<Counters>>>,
}

/// What there is at one moment.
#[derive(Default)]
pub struct Set {
    plugins: BTreeMap<String, Arc<Plugin>>,
    tools: BTreeMap<String, Arc<Tool>>,
}

impl Registry {
    /// Nothing is loaded yet: that happens when something is first asked for, or by [`Registry::load`].
    pub fn new(deps: RegistryDeps) -> Registry {
        Registry(Arc::new(Inner {
            deps,
            sandbox: OnceLock::new(),
            set: ArcSwap::default(),
            loaded: OnceCell::new(),
            changing: tokio::sync::Mutex::new(()),
            changed: channel::Sender::new(0),
            counters: Mutex::default(),
        }))
    }

    /// Loads everything, once.
    pub async fn load(&self) {
        self.0.loaded.get_or_init(|| async { self.reload().await }).await;
    }

    /// Where plugins lie.
    pub fn dir(&self) -> &Path {
        &self.0.deps.dir
    }

    /// Whether there is anything beyond what comes with the program.
    pub async fn has_own(&self) -> bool {
        let dir = self.dir().to_owned();
        let look = move || std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some());
        offload::run(self.dir(), offload::PATIENT_TIME, look).await.unwrap_or(false)
    }

    /// Counts up whenever tools may have come, gone or changed.
    pub fn changes(&self) -> channel::Receiver<u64> {
        self.0.changed.subscribe()
    }

    /// Every tool that can be called, by name.
    pub async fn tools(&self) -> Vec<Arc<Tool>> {
        self.load().await;
        self.0.set.load().tools.values().cloned().collect()
    }

    /// The tool of that name, if its plugin is ready.
    pub async fn tool(&self, name: &str) -> Option<Arc<Tool>> {
        self.load().await;
        self.0.set.load().tools.get(name).cloned()
    }

    /// Every plugin, those that failed included.
    pub async fn plugins(&self) -> Vec<PluginView> {
        self.load().await;
        self.0.set.load().plugins.values().map(|plugin| plugin.view()).collect()
    }

    /// Those that have been loaded so far; loads none.
    pub fn loaded(&self) -> Vec<PluginView> {
        self.0.set.load().plugins.values().map(|plugin| plugin.view()).collect()
    }

    /// The plugin of that name, whatever its state.
    pub async fn plugin(&self, name: &str) -> Result<PluginView, PluginError> {
        self.load().await;
        let set = self.0.set.load();
        let plugin = set.plugins.get(name).ok_or_else(|| PluginError::NotFound(name.to_owned()))?;
        Ok(plugin.view())
    }

    /// Reads the directory and the grants anew, and puts what came of it in place.
    pub async fn reload(&self) {
        let _one = self.0.changing.lock().await;
        self.reload_locked().await;
    }

    async fn reload_locked(&self) {
        let before = self.0.set.load_full();
        let Some(next) = self.prepare(&before).await else { return };
        self.tell(&before, &next);
        self.0.set.store(Arc::new(next));
        self.0.changed.send_modify(|count| *count += 1);
    }

    fn tell(&self, before: &Set, next: &Set) {
        let events = &self.0.deps.events;
        for (name, plugin) in &next.plugins {
            if before.plugins.get(name).is_none_or(|old| !Arc::ptr_eq(old, plugin)) {
                plugin.log();
                events.publish(Kind::PluginChanged, Audience::Readers, &plugin.view());
            }
        }
        for (name, plugin) in before.plugins.iter().filter(|(name, _)| !next.plugins.contains_key(*name)) {
            tracing::info!(plugin.name = name, "A plugin is gone");
            let mut gone = serde_json::json!(plugin.view());
            gone["removed"] = true.into();
            events.publish(Kind::PluginChanged, Audience::Readers, &gone);
        }
    }

    fn sandbox(&self) -> Result<Arc<Sandbox>, PluginError> {
        if let Some(sandbox) = self.0.sandbox.get() {
            return Ok(Arc::clone(sandbox));
        }
        let sandbox = Arc::new(Sandbox::new(self.0.deps.cache.clone())?);
        Ok(Arc::clone(self.0.sandbox.get_or_init(|| sandbox)))
    }

    fn counters(&self, plugin: &str) -> Arc<Counters> {
        let mut all = self.0.counters.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(plugin.to_owned()).or_default())
    }
}

#[cfg(test)]
mod misbehaving;
#[cfg(test)]
mod tests;
