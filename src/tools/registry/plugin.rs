//! One plugin as it was loaded.

use std::path::PathBuf;
use std::sync::Arc;

use super::counters::Counters;
use super::tool::Tool;
use super::view::PluginView;
use crate::tools::error::PluginError;
use crate::tools::manifest::Manifest;
use crate::tools::permissions::Permissions;

/// See the module.
pub struct Plugin {
    pub name: String,
    /// None: it comes with the program.
    pub path: Option<PathBuf>,
    /// None: it could not be read.
    pub manifest: Option<Manifest>,
    /// SHA-256 of its component.
    pub digest: String,
    pub size_bytes: u64,
    pub granted: Permissions,
    pub state: State,
    pub tools: Vec<Arc<Tool>>,
    pub load_ms: f64,
    pub counters: Arc<Counters>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    Ready,
    /// It asks for what nobody has granted, and none of its tools can be called.
    NeedsGrant,
    Failed(PluginError),
}

impl Plugin {
    /// What it asks for.
    pub fn asked(&self) -> Permissions {
        self.manifest.as_ref().map(Manifest::permissions).unwrap_or_default()
    }

    pub fn view(&self) -> PluginView {
        PluginView::of(self)
    }

    pub fn log(&self) {
        let name = self.name.as_str();
        match &self.state {
            State::Ready => tracing::info!(
                plugin.name = name,
                plugin.tools = self.tools.len(),
                plugin.load_ms = self.load_ms,
                "A plugin is ready"
            ),
            State::NeedsGrant => tracing::warn!(
                plugin.name = name,
                "A plugin asks for permissions; grant them with: mlx-gateway plugins grant {name}"
            ),
            State::Failed(error) => tracing::warn!(plugin.name = name, %error, "A plugin cannot be used"),
        }
    }
}
