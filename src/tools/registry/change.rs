//! Adding, removing and granting.

use std::fs;
use std::path::{Path, PathBuf};

use super::Registry;
use super::grant::place;
use super::scan::{self, Source};
use super::view::PluginView;
use crate::store::plugins::GrantRow;
use crate::system::private;
use crate::tools::error::PluginError;
use crate::tools::manifest::Manifest;
use crate::tools::permissions::Permissions;
use crate::tools::sandbox::Access;

/// A plugin that somebody wants to add.
#[derive(Debug, Clone)]
pub struct NewPlugin {
    /// The text of its `plugin.toml`; none: it is bare and asks for nothing.
    pub manifest: Option<String>,
    /// For one without a manifest.
    pub name: Option<String>,
    pub wasm: Vec<u8>,
}

/// What came of adding it.
#[derive(Debug)]
pub struct Added {
    pub plugin: PluginView,
    /// It took the place of an earlier one.
    pub replaced: bool,
}

impl Registry {
    /// Adds a plugin, or puts a new version in the place of the old one. What cannot be loaded is not
    /// written.
    pub async fn add(&self, new: NewPlugin) -> Result<Added, PluginError> {
        self.load().await;
        let _one = self.0.changing.lock().await;
        let manifest = match (&new.manifest, &new.name) {
            (Some(text), _) => Manifest::parse(text),
            (None, Some(name)) => Manifest::bare(name, &format!("{name}.wasm")),
            (None, None) => Err("a plugin without a plugin.toml needs a name".to_owned()),
        };
        let source = scan::source(manifest.map_err(PluginError::Invalid)?, new.wasm.clone())?;
        let name = source.manifest.name.clone();
        let before = self.0.set.load_full();
        let existing = before.plugins.get(&name);
        if existing.is_some_and(|plugin| plugin.path.is_none() && plugin.digest != source.digest) {
            let message =
                format!("the name \"{name}\" is taken: a plugin of that name comes with the gateway");
            return Err(PluginError::Conflict(message));
        }
        let file = source.manifest.wasm.clone();
        self.try_out(source).await?;
        let folder = existing.and_then(|plugin| plugin.path.clone()).filter(|path| path.is_dir());
        let folder = folder.unwrap_or_else(|| self.0.deps.dir.join(&name));
        let text = new.manifest.unwrap_or_else(|| format!("name = \"{name}\"\nwasm = \"{file}\"\n"));
        write(folder, text, file, new.wasm).await?;
        self.reload_locked().await;
        let replaced = existing.is_some();
        let set = self.0.set.load();
        let plugin = set.plugins.get(&name).ok_or_else(|| PluginError::NotFound(name.clone()))?;
        Ok(Added { plugin: plugin.view(), replaced })
    }

    /// Removes a plugin, its files and its grants.
    pub async fn remove(&self, name: &str) -> Result<PluginView, PluginError> {
        self.load().await;
        let _one = self.0.changing.lock().await;
        let set = self.0.set.load_full();
        let plugin = set.plugins.get(name).ok_or_else(|| PluginError::NotFound(name.to_owned()))?;
        let Some(path) = plugin.path.clone() else {
            let message = format!("\"{name}\" comes with the gateway and cannot be removed");
            return Err(PluginError::Conflict(message));
        };
        let removed = tokio::task::spawn_blocking(move || {
            let done = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            done.map_err(|error| PluginError::Unreadable { path, reason: error.to_string() })
        });
        removed.await.map_err(|error| PluginError::Invalid(error.to_string()))??;
        let revoked = self.0.deps.store.revoke_plugin(name.to_owned()).await;
        revoked.map_err(|error| PluginError::Store(error.to_string()))?;
        self.reload_locked().await;
        Ok(plugin.view())
    }

    /// Grants what a plugin asks for, or of that only what `only` names. In force when it answers.
    pub async fn grant(
        &self,
        name: &str,
        only: Option<&Permissions>,
        by: Option<String>,
    ) -> Result<PluginView, PluginError> {
        self.load().await;
        let _one = self.0.changing.lock().await;
        let set = self.0.set.load_full();
        let plugin = set.plugins.get(name).ok_or_else(|| PluginError::NotFound(name.to_owned()))?;
        let asked = plugin.asked();
        if let Some(beyond) = only.map(|only| only.beyond(&asked)).filter(|beyond| !beyond.is_empty()) {
            let words = beyond.in_words().join(", ");
            return Err(PluginError::Invalid(format!("\"{name}\" does not ask to {words}")));
        }
        let granted = only.unwrap_or(&asked);
        let permissions =
            serde_json::to_string(granted).map_err(|error| PluginError::Store(error.to_string()))?;
        let row = GrantRow {
            plugin: name.to_owned(),
            permissions,
            granted_at: self.0.deps.clock.unix_ms(),
            granted_by: by,
            digest: Some(plugin.digest.clone()),
            path: plugin.path.as_deref().and_then(|path| place(self.dir(), path)),
        };
        let kept = self.0.deps.store.grant_plugin(row).await;
        kept.map_err(|error| PluginError::Store(error.to_string()))?;
        self.reload_locked().await;
        let set = self.0.set.load();
        let plugin = set.plugins.get(name).ok_or_else(|| PluginError::NotFound(name.to_owned()))?;
        Ok(plugin.view())
    }

    /// Whether it compiles, fits the interface and lists tools that can be offered.
    async fn try_out(&self, source: Source) -> Result<(), PluginError> {
        let name = source.manifest.name.clone();
        let component = self.component(source, Access::none()).await?;
        let set = self.0.set.load();
        for tool in component.list().await.map_err(PluginError::List)? {
            if let Some(other) = set.tools.get(&tool.name).filter(|other| other.plugin != name) {
                let message =
                    format!("its tool \"{}\" is one of the plugin \"{}\" already", tool.name, other.plugin);
                return Err(PluginError::Conflict(message));
            }
            crate::tools::schema::check_name(&tool.name).map_err(PluginError::Invalid)?;
        }
        Ok(())
    }
}

/// Each file is whole or as before.
async fn write(folder: PathBuf, manifest: String, file: String, wasm: Vec<u8>) -> Result<(), PluginError> {
    let written = tokio::task::spawn_blocking(move || {
        let failed = |error: std::io::Error| PluginError::Unreadable {
            path: folder.clone(),
            reason: error.to_string(),
        };
        private::create_dir(&folder).map_err(failed)?;
        replace(&folder, &file, &wasm).map_err(failed)?;
        replace(&folder, "plugin.toml", manifest.as_bytes()).map_err(failed)
    });
    written.await.map_err(|error| PluginError::Invalid(error.to_string()))?
}

fn replace(folder: &Path, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    let mut new = tempfile::Builder::new().prefix(".new-").tempfile_in(folder)?;
    std::io::Write::write_all(&mut new, bytes)?;
    new.persist(folder.join(name)).map_err(|error| error.error)?;
    Ok(())
}
