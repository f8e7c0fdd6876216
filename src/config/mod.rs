//! Owns the settings: raw file, environment and flags in, a validated [`Config`] with the origin of
//! every value out. Knows nothing of what the settings are used for.

mod auth;
mod defaults;
mod engine;
mod environment;
mod hub;
mod launch_read;
mod load;
mod locate;
mod log;
mod media;
mod memory;
mod names;
mod plugins;
mod problem;
mod profile;
mod profile_read;
mod reader;
mod responses;
mod server;
mod shown;
mod stored;
#[cfg(test)]
mod tests;
mod tree;
mod units;
mod usage;
mod values;

pub use auth::{ApiAuth, Auth, Registration, Secret};
pub use engine::{Engines, ManagedEngine};
pub use hub::Hub;
pub use load::{Flags, Sources, load};
pub use locate::FILE_MAX;
pub use log::Log;
pub use media::Media;
pub use memory::{Memory, MemoryBudget};
pub use names::{MAX_NAME_LEN, valid_alias, valid_hub_id, valid_profile_name};
pub use plugins::Plugins;
pub use problem::{LoadError, Problem, Warning};
pub use profile::{
    EngineKind, KeepAlive, KeySource, LaunchSettings, ModelRef, ModelType, Profile, Queue, Timeouts, Upstream,
};
pub use responses::Responses;
pub use server::{DEFAULT_PORT, Server, Tls};
pub use shown::{Shown, shown};
pub use stored::{read_stored, settings_from_toml, settings_of, to_toml};
pub use units::{ByteSize, parse_bytes, parse_duration, show_duration};
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
    pub responses: Responses,
    pub media: Media,
    pub hub: Hub,
    pub log: Log,
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
    File {
        line: usize,
    },
    Environment {
        variable: String,
    },
    Flag {
        flag: String,
    },
}

/// The origin of every value that is not a default.
#[derive(Debug, Clone, Default)]
pub struct Origins(pub BTreeMap<String, Origin>);

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::Store => f.write_str("store"),
            Origin::File { line } => write!(f, "line {line}"),
            Origin::Environment { variable } => f.write_str(variable),
            Origin::Flag { flag } => f.write_str(flag),
        }
    }
}

impl Origins {
    /// Where the value under `key` came from.
    pub fn of(&self, key: &str) -> Origin {
        self.0.get(key).cloned().unwrap_or(Origin::Default)
    }
}
