//! What a group of profiles with equal launch settings asks of its one backend. Knows nothing of
//! how profiles are grouped, nor of processes.

use crate::config::{EngineKind, KeepAlive, LaunchSettings, Queue, Timeouts};
use std::time::Duration;

/// The launch settings that some profiles share, with the strongest of their other wishes.
#[derive(Debug, Clone, PartialEq)]
pub struct LaunchSpec {
    /// The launch name: the name of the first profile of the group.
    pub id: String,
    pub settings: LaunchSettings,
    /// What the backend calls its model.
    pub served_name: String,
    pub keep_alive: KeepAlive,
    pub pinned: bool,
    pub preload: bool,
    /// Requests the backend may work on at once, over all profiles of the group.
    pub max_concurrent: u32,
    pub queue: Queue,
    pub timeouts: Timeouts,
    pub profiles: Vec<String>,
}

impl LaunchSpec {
    /// How long the backend may be idle before it is stopped; `None`: it stays.
    pub(super) fn idle_limit(&self) -> Option<Duration> {
        match self.keep_alive {
            _ if self.pinned || self.settings.engine == EngineKind::Url => None,
            KeepAlive::For(limit) => Some(limit),
            KeepAlive::Forever => None,
        }
    }
}
