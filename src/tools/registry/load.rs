//! From what lies in the directory to the next set: each plugin loaded on the side, or taken over from
//! the set before when nothing of it has changed.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::grant::Grants;
use super::plugin::{Plugin, State};
use super::scan::{Found, Source, scan};
use super::tool::Tool;
use super::{Registry, Set};
use crate::system::offload;
use crate::tools::error::PluginError;
use crate::tools::manifest::Manifest;
use crate::tools::permissions::Permissions;
use crate::tools::sandbox::{Access, Component, SecretHeader};

/// Tools of one plugin.
const TOOLS_MAX: usize = 128;

impl Registry {
    /// Returns the next set. None: the directory does not answer, and what was loaded stays.
    pub(super) async fn prepare(&self, before: &Set) -> Option<Set> {
        let grants = self.grants().await;
        let (dir, bundled) = (self.0.deps.dir.clone(), self.0.deps.bundled.clone());
        let installed = installed(before, &grants, &dir);
        let scanning = move || scan(&dir, &bundled, &installed);
        let found = match offload::run(self.dir(), offload::PATIENT_TIME, scanning).await {
            Ok(found) => found,
            Err(error) if before.plugins.is_empty() => {
                tracing::error!(%error, "Could not read the plugin directory; only the plugins that come along are there");
                scan(Path::new(""), &self.0.deps.bundled, &HashMap::new())
            }
            Err(error) => {
                tracing::error!(%error, "Could not read the plugin directory; plugins stay as they are");
                return None;
            }
        };
        let mut next = Set::default();
        for one in found {
            let granted = grants.of(&one, self.dir());
            let plugin = match unchanged(before, &one, &granted) {
                Some(plugin) => plugin,
                None => Arc::new(self.load_one(one, granted).await),
            };
            self.bind(&grants, &plugin).await;
            next.insert(plugin);
        }
        Some(next)
    }

    async fn load_one(&self, found: Found, granted: Permissions) -> Plugin {
        let counters = self.counters(&found.name);
        let mut plugin = Plugin {
            name: found.name,
            path: found.path,
            manifest: None,
            digest: String::new(),
            size_bytes: 0,
            granted,
            state: State::Ready,
            tools: Vec::new(),
            load_ms: 0.0,
            counters,
        };
        let source = match found.content {
            Ok(source) => source,
            Err(error) => {
                plugin.state = State::Failed(error);
                return plugin;
            }
        };
        plugin.digest.clone_from(&source.digest);
        plugin.size_bytes = source.wasm.len() as u64;
        plugin.manifest = Some(source.manifest.clone());
        if !plugin.asked().beyond(&plugin.granted).is_empty() {
            plugin.state = State::NeedsGrant;
        }
        let began = Instant::now();
        match self.tools_of(&plugin, source).await {
            Ok(tools) => plugin.tools = tools,
            Err(error) => plugin.state = State::Failed(error),
        }
        plugin.load_ms = began.elapsed().as_secs_f64() * 1000.0;
        plugin
    }

    async fn tools_of(&self, plugin: &Plugin, source: Source) -> Result<Vec<Arc<Tool>>, PluginError> {
        let withheld = (plugin.state == State::NeedsGrant).then(|| {
            let name = &plugin.name;
            format!("the plugin \"{name}\" asks for permissions that nobody has granted; an administrator can: mlx-gateway plugins grant {name}")
        });
        let access = match &withheld {
            Some(_) => Access::none(),
            None => self.access(&source.manifest)?,
        };
        // A test compiles the schemas of the plugins that come along.
        let is_compiled = source.comes_along;
        let component = self.component(source, access).await?;
        let listed = component.list().await.map_err(PluginError::List)?;
        if listed.len() > TOOLS_MAX {
            return Err(PluginError::Invalid(format!("it has {} tools, {TOOLS_MAX} at most", listed.len())));
        }
        let mut tools = Vec::with_capacity(listed.len());
        for listed in listed {
            let (worker, counters) = (self.0.deps.worker.clone(), Arc::clone(&plugin.counters));
            let component = Arc::clone(&component);
            let tool = Tool::new(listed, worker, &plugin.name, withheld.clone(), component, counters)?;
            if !is_compiled {
                tool.compile().await?;
            }
            tools.push(Arc::new(tool));
        }
        Ok(tools)
    }

    pub(super) async fn component(
        &self,
        source: Source,
        access: Access,
    ) -> Result<Arc<Component>, PluginError> {
        let registry = self.clone();
        let compiled = tokio::task::spawn_blocking(move || {
            let sandbox = registry.sandbox()?;
            let Source { manifest, wasm, .. } = source;
            Component::load(&sandbox, &wasm, &manifest.name, manifest.config, access, manifest.limits)
        });
        let compiled = compiled.await.map_err(|error| PluginError::Compile(error.to_string()))?;
        compiled.map(Arc::new)
    }

    /// What a plugin may reach, all of it having been granted.
    fn access(&self, manifest: &Manifest) -> Result<Access, PluginError> {
        let mut secrets = Vec::new();
        for secret in &manifest.secrets {
            let missing =
                || PluginError::Invalid(format!("the environment variable {} is not set", secret.env));
            let value = self.0.deps.environment.get(&secret.env).ok_or_else(missing)?;
            let mut value: http::HeaderValue = value.parse().map_err(|_| {
                PluginError::Invalid(format!("the value of {} cannot stand in a header", secret.env))
            })?;
            value.set_sensitive(true);
            let (destination, header) = (secret.destination.clone(), secret.header.clone());
            secrets.push(SecretHeader { destination, header, value });
        }
        Ok(Access {
            destinations: manifest.destinations.clone(),
            allow_private: manifest.allow_private.clone(),
            secrets,
            ..Access::none()
        })
    }
}

impl Set {
    /// Names of tools are global: whoever comes later with a taken one is refused.
    fn insert(&mut self, plugin: Arc<Plugin>) {
        let taken = plugin.tools.iter().find_map(|tool| self.tools.get(&tool.name));
        let twice = plugin
            .tools
            .iter()
            .enumerate()
            .find(|(at, tool)| plugin.tools[..*at].iter().any(|other| other.name == tool.name));
        let reason = match (taken, twice) {
            (Some(tool), _) => {
                Some(format!("its tool \"{}\" is one of the plugin \"{}\" already", tool.name, tool.plugin))
            }
            (None, Some((_, tool))) => Some(format!("it has two tools \"{}\"", tool.name)),
            (None, None) => None,
        };
        let plugin = match reason {
            None => plugin,
            Some(reason) => Arc::new(Plugin {
                name: plugin.name.clone(),
                path: plugin.path.clone(),
                manifest: plugin.manifest.clone(),
                digest: plugin.digest.clone(),
                granted: plugin.granted.clone(),
                state: State::Failed(PluginError::Conflict(reason)),
                tools: Vec::new(),
                counters: Arc::clone(&plugin.counters),
                ..*plugin
            }),
        };
        for tool in &plugin.tools {
            self.tools.insert(tool.name.clone(), Arc::clone(tool));
        }
        self.plugins.insert(plugin.name.clone(), plugin);
    }
}

/// The place of each plugin that is loaded or was granted something: it keeps its name and its tools.
fn installed(before: &Set, grants: &Grants, dir: &Path) -> HashMap<String, PathBuf> {
    let mut places = grants.places(dir);
    let loaded = before.plugins.values().filter(|plugin| plugin.manifest.is_some());
    places.extend(loaded.filter_map(|plugin| Some((plugin.name.clone(), plugin.path.clone()?))));
    places
}

/// The plugin as it is, when nothing of it is different. One that failed is tried again.
fn unchanged(before: &Set, found: &Found, granted: &Permissions) -> Option<Arc<Plugin>> {
    let source = found.content.as_ref().ok()?;
    let plugin = before.plugins.get(&found.name)?;
    let same = plugin.digest == source.digest
        && plugin.manifest.as_ref() == Some(&source.manifest)
        && plugin.path == found.path
        && plugin.granted == *granted
        && !matches!(plugin.state, State::Failed(_));
    same.then(|| Arc::clone(plugin))
}
