//! Plugins and tools as others see them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::plugin::{Plugin, State};
use super::tool::Tool;
use crate::tools::permissions::Permissions;

/// What `GET /api/v1/plugins` shows.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PluginView {
    pub name: String,
    pub version: String,
    pub description: String,
    /// `ready`, `needs_grant` or `failed`.
    pub state: String,
    /// Why it failed.
    pub reason: Option<String>,
    /// It comes with the gateway.
    pub bundled: bool,
    pub path: Option<String>,
    pub tools: Vec<String>,
    pub size_bytes: u64,
    /// SHA-256 of the component.
    pub digest: String,
    /// What it asks for.
    pub permissions: Permissions,
    /// What it has.
    pub granted: Permissions,
    /// What it asks for and has not.
    pub asks: Permissions,
    pub limits: Option<LimitsView>,
    /// Compiling or finding it compiled, and listing its tools.
    pub load_ms: f64,
    pub calls: u64,
    /// Calls whose tool reported a failure.
    pub failures: u64,
    /// Calls that did not come to their end, by code.
    pub errors: BTreeMap<String, u64>,
    pub mean_ms: Option<f64>,
}

#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LimitsView {
    pub memory_bytes: u64,
    pub cpu_ms: u64,
    pub wall_ms: u64,
    pub output_bytes: u64,
    pub concurrent: u32,
}

/// What `GET /api/v1/tools` shows.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct ToolView {
    pub name: String,
    pub title: Option<String>,
    pub description: String,
    #[schema(value_type = Object)]
    pub input_schema: Value,
    #[schema(value_type = Option<Object>)]
    pub output_schema: Option<Value>,
    /// MCP's hints, as far as the plugin gives them.
    #[schema(value_type = Object)]
    pub annotations: Value,
    pub plugin: String,
    /// Whether it can be called.
    pub available: bool,
    pub reason: Option<String>,
}

impl PluginView {
    pub(super) fn of(plugin: &Plugin) -> PluginView {
        let manifest = plugin.manifest.as_ref();
        let asked = plugin.asked();
        let (state, reason) = match &plugin.state {
            State::Ready => ("ready", None),
            State::NeedsGrant => ("needs_grant", None),
            State::Failed(error) => ("failed", Some(error.to_string())),
        };
        let errors = plugin.counters.errors();
        PluginView {
            name: plugin.name.clone(),
            version: manifest.map_or_else(String::new, |manifest| manifest.version.clone()),
            description: manifest.map_or_else(String::new, |manifest| manifest.description.clone()),
            state: state.to_owned(),
            reason,
            bundled: plugin.path.is_none(),
            path: plugin.path.as_ref().map(|path| path.display().to_string()),
            tools: plugin.tools.iter().map(|tool| tool.name.clone()).collect(),
            size_bytes: plugin.size_bytes,
            digest: plugin.digest.clone(),
            asks: asked.beyond(&plugin.granted),
            permissions: asked,
            granted: plugin.granted.clone(),
            limits: manifest.map(|manifest| LimitsView {
                memory_bytes: manifest.limits.memory_bytes,
                cpu_ms: manifest.limits.cpu_ms,
                wall_ms: manifest.limits.wall_ms,
                output_bytes: manifest.limits.output_bytes,
                concurrent: manifest.limits.concurrent,
            }),
            load_ms: plugin.load_ms,
            calls: plugin.counters.calls(),
            failures: plugin.counters.failures(),
            errors: errors.into_iter().map(|(code, count)| (code.to_owned(), count)).collect(),
            mean_ms: plugin.counters.mean_ms(),
        }
    }
}

impl ToolView {
    /// What a tool says of itself.
    pub fn of(tool: &Tool) -> ToolView {
        ToolView {
            name: tool.name.clone(),
            title: tool.title.clone(),
            description: tool.description.clone(),
            input_schema: tool.input.value.clone(),
            output_schema: tool.output.as_ref().map(|schema| schema.value.clone()),
            annotations: tool.annotations(),
            plugin: tool.plugin.clone(),
            available: tool.withheld.is_none(),
            reason: tool.withheld.clone(),
        }
    }
}
