//! Owns the settings: raw file, environment and flags in, a validated [`Config`] with the origin of
//! every value out. Knows nothing of what the settings are used for.

mod auth;
mod engine;
mod hub;
mod load;
mod memory;
mod plugins;
mod problem;
mod profile;
mod reader;
mod server;
mod units;
mod usage;

pub use auth::{ApiAuth, Auth, Registration, Secret};
pub use engine::{Engines, ManagedEngine};
pub use hub::Hub;
pub use memory::{Memory, MemoryBudget};
pub use plugins::Plugins;
pub use profile::{
    EngineKind, KeepAlive, KeySource, LaunchSettings, ModelRef, ModelType, Profile, Queue, Timeouts,
    Upstream,
};
pub use server::{Server, Tls};
pub use units::{ByteSize, parse_bytes, parse_duration};
pub use usage::Usage;

use std::collections::BTreeMap;
use std::path::PathBuf;

/// Everything the gateway was told, checked.
#[derive(Debug, Clone)]
pub struct Config {
    pub server: Server,
    pub auth: Auth,
    pub memory: Memory,
    pub usage: Usage,
    pub hub: Hub,
    pub plugins: Plugins,
    pub engines: Engines,
    /// In the order of the file.
    pub profiles: Vec<Profile>,
    /// The file that was read, if there was one.
    pub file: Option<PathBuf>,
    /// Where each value that is not a default came from, by dotted key (`server.listen`,
    /// `profile.qwen.keep_alive`).
    pub origins: Origins,
}

/// Where a value came from; later variants win over earlier ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    Default,
    Store,
    /// One-based line in the configuration file.
    File { line: usize },
    Environment { variable: String },
    Flag { flag: String },
}

/// The origin of every value that is not a default.
#[derive(Debug, Clone, Default)]
pub struct Origins(pub BTreeMap<String, Origin>);

impl Origins {
    /// Where the value under `key` came from.
    pub fn of(&self, key: &str) -> Origin {
        self.0.get(key).cloned().unwrap_or(Origin::Default)
    }
}
