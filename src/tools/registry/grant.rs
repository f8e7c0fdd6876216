//! Grants of plugins: to a component in its place, not to a name. A folder that claims the name of a granted plugin has
//! neither its component nor its place, and gets nothing.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::Registry;
use super::plugin::Plugin;
use super::scan::Found;
use crate::store::plugins::GrantRow;
use crate::tools::permissions::Permissions;

/// The grants in force, by the name of the plugin.
#[derive(Default)]
pub(super) struct Grants(HashMap<String, Grant>);

struct Grant {
    row: GrantRow,
    permissions: Permissions,
}

impl Registry {
    /// Reads what was granted to each plugin.
    pub(super) async fn grants(&self) -> Grants {
        match self.0.deps.store.plugin_grants().await {
            Ok(rows) => Grants::new(rows),
            Err(error) => {
                tracing::error!(%error, "Grants of plugins cannot be read, none is in force");
                Grants::default()
            }
        }
    }

    /// Binds a grant from before bindings to the plugin that has it.
    pub(super) async fn bind(&self, grants: &Grants, plugin: &Plugin) {
        let unbound = grants.0.get(&plugin.name).filter(|grant| !grant.is_bound());
        let (Some(grant), Some(path)) = (unbound, &plugin.path) else { return };
        let row = GrantRow {
            digest: Some(plugin.digest.clone()),
            path: place(self.dir(), path),
            ..grant.row.clone()
        };
        if let Err(error) = self.0.deps.store.grant_plugin(row).await {
            tracing::warn!(%error, plugin.name = plugin.name, "A plugin's grant cannot be bound to it");
        }
    }
}

impl Grants {
    fn new(rows: Vec<GrantRow>) -> Grants {
        let grant = |row: GrantRow| {
            let permissions = serde_json::from_str(&row.permissions).ok()?;
            Some((row.plugin.clone(), Grant { row, permissions }))
        };
        Grants(rows.into_iter().filter_map(grant).collect())
    }

    /// What a plugin has: what it was granted, and what comes with the program.
    pub(super) fn of(&self, found: &Found, dir: &Path) -> Permissions {
        let grant = self.0.get(&found.name).filter(|grant| grant.is_for(found, dir));
        let mut granted = grant.map(|grant| grant.permissions.clone()).unwrap_or_default();
        granted.http.extend(found.given.http.iter().cloned());
        granted.allow_private.extend(found.given.allow_private.iter().cloned());
        granted.secrets.extend(found.given.secrets.iter().cloned());
        granted
    }

    /// The places of the plugins that were granted something.
    pub(super) fn places(&self, dir: &Path) -> HashMap<String, PathBuf> {
        let place = |grant: &Grant| Some((grant.row.plugin.clone(), dir.join(grant.row.path.as_ref()?)));
        self.0.values().filter_map(place).collect()
    }
}

impl Grant {
    fn is_bound(&self) -> bool {
        self.row.digest.is_some() || self.row.path.is_some()
    }

    /// An upgrade in its place keeps it, and so does a component that was moved; anything else asks again.
    fn is_for(&self, found: &Found, dir: &Path) -> bool {
        let same_place =
            self.row.path.is_some() && found.path.as_ref().and_then(|path| place(dir, path)) == self.row.path;
        let digest = found.content.as_ref().ok().map(|source| &source.digest);
        !self.is_bound() || same_place || (digest.is_some() && digest == self.row.digest.as_ref())
    }
}

/// A plugin's place as grants name it, so that they hold when the directory is elsewhere.
pub(super) fn place(dir: &Path, path: &Path) -> Option<String> {
    Some(path.strip_prefix(dir).ok()?.to_str()?.to_owned())
}
