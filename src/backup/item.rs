//! The files that a backup may hold, and where each belongs. Names from an archive or a journal become an [`Item`] or are
//! refused; every path is made of [`Places`], never of what was read.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{CONFIG, DATABASE, PLUGINS, Places, SECRET};

/// The write-ahead log and its index belong to the store beside them.
const STORE_LOG: &str = "gateway.db-wal";
const STORE_INDEX: &str = "gateway.db-shm";
const CONFIG_COPY: &str = "config.toml.restored";
/// Bytes of a plugin's file, by its name below the plugin directory.
const PLUGIN_NAME_MAX: usize = 1024;
/// Folders above a plugin's file, and the file.
const PLUGIN_DEPTH_MAX: usize = 32;

/// Bytes that an item may have. A store of ten million records is far below.
const STORE_MAX: u64 = 64 << 30;
const SECRET_MAX: u64 = 64 << 10;
const CONFIG_MAX: u64 = 16 << 20;
const PLUGIN_MAX: u64 = 256 << 20;

/// One file of the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(super) enum Item {
    Store,
    StoreLog,
    StoreIndex,
    Secret,
    Config,
    /// The backup's configuration beside another one that is in use.
    ConfigCopy,
    /// By its path below the plugin directory.
    Plugin(String),
}

impl Item {
    /// Reads the name of an entry in an archive.
    pub(super) fn of_entry(name: &str) -> Option<Item> {
        let item = Item::parse(name)?;
        (!matches!(item, Item::StoreLog | Item::StoreIndex | Item::ConfigCopy)).then_some(item)
    }

    fn parse(name: &str) -> Option<Item> {
        Some(match name {
            DATABASE => Item::Store,
            STORE_LOG => Item::StoreLog,
            STORE_INDEX => Item::StoreIndex,
            SECRET => Item::Secret,
            CONFIG => Item::Config,
            CONFIG_COPY => Item::ConfigCopy,
            other => Item::Plugin(other.strip_prefix(PLUGINS).filter(|path| is_inner(path))?.to_owned()),
        })
    }

    /// Its name in journals and in the folder of what was there before; no two are alike.
    pub(super) fn name(&self) -> String {
        match self {
            Item::Store => DATABASE.to_owned(),
            Item::StoreLog => STORE_LOG.to_owned(),
            Item::StoreIndex => STORE_INDEX.to_owned(),
            Item::Secret => SECRET.to_owned(),
            Item::Config => CONFIG.to_owned(),
            Item::ConfigCopy => CONFIG_COPY.to_owned(),
            Item::Plugin(path) => format!("{PLUGINS}{path}"),
        }
    }

    /// Where it was unpacked below `folder`.
    pub(super) fn unpacked(&self, folder: &Path) -> PathBuf {
        match self {
            Item::ConfigCopy => folder.join(CONFIG),
            other => folder.join(other.name()),
        }
    }

    /// Where the gateway looks for it.
    pub(super) fn place(&self, places: &Places) -> PathBuf {
        let beside = || places.data_dir.join(CONFIG_COPY);
        match (self, &places.config) {
            (Item::Config, Some(config)) => config.clone(),
            (Item::ConfigCopy, Some(config)) => config.with_extension("toml.restored"),
            (Item::Config | Item::ConfigCopy, None) => beside(),
            (Item::Plugin(path), _) => places.plugins.join(path),
            (other, _) => places.data_dir.join(other.name()),
        }
    }

    /// Bytes that it may have.
    pub(super) fn limit(&self) -> u64 {
        match self {
            Item::Store | Item::StoreLog | Item::StoreIndex => STORE_MAX,
            Item::Secret => SECRET_MAX,
            Item::Config | Item::ConfigCopy => CONFIG_MAX,
            Item::Plugin(_) => PLUGIN_MAX,
        }
    }
}

impl From<Item> for String {
    fn from(item: Item) -> String {
        item.name()
    }
}

impl TryFrom<String> for Item {
    type Error = String;

    fn try_from(name: String) -> Result<Item, String> {
        Item::parse(&name).ok_or_else(|| format!("{name:?} is no file of a gateway"))
    }
}

/// Whether a path stays below the folder that it is joined to.
fn is_inner(path: &str) -> bool {
    let is_name = |part: &str| !matches!(part, "" | "." | "..");
    path.len() <= PLUGIN_NAME_MAX
        && !path.contains(char::is_control)
        && path.split('/').all(is_name)
        && path.split('/').count() <= PLUGIN_DEPTH_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_known_files_or_none() {
        for name in
            [DATABASE, SECRET, CONFIG, "plugins/mine/plugin.toml", "plugins/a b/.x/ä.wasm", "plugins/x.wasm"]
        {
            let item = Item::of_entry(name).unwrap();
            assert_eq!(item.name(), name);
            assert_eq!(Item::try_from(name.to_owned()), Ok(item));
        }
        let deep = format!("plugins/{}x", "a/".repeat(PLUGIN_DEPTH_MAX));
        let long = format!("plugins/{}", "x".repeat(PLUGIN_NAME_MAX + 1));
        for name in [
            "moves.json",
            "manifest.json",
            "gateway.db-wal",
            "gateway.lock",
            "GATEWAY.DB",
            "config.toml.restored",
            "../gateway.db",
            "/gateway.db",
            "./gateway.db",
            "plugins",
            "plugins/",
            "plugins//x",
            "plugins/../gateway.db",
            "plugins/a/../../gateway.db",
            "plugins/a/..",
            "plugins/./a",
            "plugins/a/",
            "plugins//etc/passwd",
            "plugins/a\0b",
            "plugins/a\nb",
            "",
            &deep,
            &long,
        ] {
            assert_eq!(Item::of_entry(name), None, "{name:?}");
        }
    }

    #[test]
    fn every_item_has_a_name_of_its_own_and_a_place_below_a_known_folder() {
        let places =
            Places { data_dir: "/d".into(), config: Some("/c/my.toml".into()), plugins: "/p".into() };
        let none = Places { config: None, ..places.clone() };
        let items = [
            (Item::Store, "/d/gateway.db", "/d/gateway.db"),
            (Item::StoreLog, "/d/gateway.db-wal", "/d/gateway.db-wal"),
            (Item::StoreIndex, "/d/gateway.db-shm", "/d/gateway.db-shm"),
            (Item::Secret, "/d/session.key", "/d/session.key"),
            (Item::Config, "/c/my.toml", "/d/config.toml.restored"),
            (Item::ConfigCopy, "/c/my.toml.restored", "/d/config.toml.restored"),
            (Item::Plugin("a/b".into()), "/p/a/b", "/p/a/b"),
        ];
        let names: std::collections::BTreeSet<String> = items.iter().map(|(item, ..)| item.name()).collect();
        assert_eq!(names.len(), items.len());
        for (item, with_config, without) in items {
            assert_eq!(item.place(&places), Path::new(with_config));
            assert_eq!(item.place(&none), Path::new(without));
        }
    }
}
