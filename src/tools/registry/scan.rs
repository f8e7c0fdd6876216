//! Reads what lies in the plugin directory. Blocks; knows nothing of components.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use super::bundled::Bundled;
use crate::system::files;
use crate::tools::error::PluginError;
use crate::tools::manifest::{MANIFEST_MAX, Manifest};
use crate::tools::permissions::Permissions;
use crate::tools::sandbox::digest;

/// Bytes of a component that are read.
const WASM_MAX: u64 = 64 << 20;
/// Plugins that are looked at.
const PLUGINS_MAX: usize = 256;

/// A plugin that may be loaded.
pub struct Found {
    pub name: String,
    /// Its folder or file; none: it comes with the program.
    pub path: Option<PathBuf>,
    pub content: Result<Source, PluginError>,
    /// What it has without being asked about.
    pub given: Permissions,
}

/// What a plugin consists of.
pub struct Source {
    pub manifest: Manifest,
    pub wasm: Cow<'static, [u8]>,
    pub digest: String,
    /// Its component is one that comes with the program.
    pub comes_along: bool,
}

/// Everything there is: what comes with the program first, then the plugins that have their name from before (`installed`,
/// by name), then the others.
pub fn scan(dir: &Path, bundled: &[Bundled], installed: &HashMap<String, PathBuf>) -> Vec<Found> {
    let mut found: Vec<Found> = bundled.iter().filter_map(one).collect();
    let paths = entries(dir).into_iter().take(PLUGINS_MAX);
    let mut contents: Vec<_> = paths.map(|path| (read(&path), path)).collect();
    contents.sort_by_key(|(content, path)| standing(content, path, installed));
    for (content, path) in contents {
        let stem = path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
        let name = content.as_ref().map_or(stem.clone(), |source| source.manifest.name.clone());
        let mut one = Found { name, path: Some(path), content, given: Permissions::default() };
        let same = found.iter().position(|other| other.name == one.name);
        match (same, &mut one.content) {
            // The same component as the one that comes along is that plugin, with its own settings.
            (Some(at), Ok(source)) if is_same(&found[at], source) => {
                source.comes_along = true;
                one.given = found[at].given.clone();
                found[at] = one;
            }
            (Some(at), _) => {
                let taken = match &found[at].path {
                    None => "a plugin of that name comes with the gateway".to_owned(),
                    Some(path) => format!("already installed from {}", path.display()),
                };
                let name = format!("{}@{stem}", one.name);
                let message = format!("the name \"{}\" is taken: {taken}", one.name);
                found.push(Found { name, content: Err(PluginError::Conflict(message)), ..one });
            }
            (None, _) => found.push(one),
        }
    }
    found
}

/// Who has a name first: the plugin that had it before, then the folder of that name, as `plugins add` writes it.
fn standing(content: &Result<Source, PluginError>, path: &Path, installed: &HashMap<String, PathBuf>) -> u8 {
    let Ok(source) = content else { return 2 };
    match installed.get(&source.manifest.name) {
        Some(place) if place == path => 0,
        None if path.file_stem().is_some_and(|stem| *stem == *source.manifest.name) => 1,
        _ => 2,
    }
}

/// Reads a folder with a `plugin.toml`, or a bare component.
pub fn read(path: &Path) -> Result<Source, PluginError> {
    if path.is_file() {
        let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let file = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let manifest = Manifest::bare(&stem, &file).map_err(PluginError::Invalid)?;
        return source(manifest, limited(path, WASM_MAX)?);
    }
    let text = limited(&path.join("plugin.toml"), MANIFEST_MAX)?;
    let text = String::from_utf8(text).map_err(|_| PluginError::Invalid("plugin.toml: not UTF-8".into()))?;
    let manifest = Manifest::parse(&text).map_err(PluginError::Invalid)?;
    let wasm = limited(&path.join(&manifest.wasm), WASM_MAX)?;
    source(manifest, wasm)
}

pub fn source(manifest: Manifest, wasm: Vec<u8>) -> Result<Source, PluginError> {
    let digest = digest(&wasm);
    Ok(Source { manifest, wasm: Cow::Owned(wasm), digest, comes_along: false })
}

fn one(bundled: &Bundled) -> Option<Found> {
    let manifest = Manifest::parse(bundled.manifest).ok()?;
    let given = manifest.permissions();
    let (name, digest) = (manifest.name.clone(), digest(&bundled.wasm));
    let content = Ok(Source { manifest, wasm: bundled.wasm.clone(), digest, comes_along: true });
    Some(Found { name, path: None, content, given })
}

fn is_same(bundled: &Found, source: &Source) -> bool {
    bundled.path.is_none() && bundled.content.as_ref().is_ok_and(|own| own.digest == source.digest)
}

fn entries(dir: &Path) -> BTreeSet<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return BTreeSet::new() };
    let paths = entries.filter_map(Result::ok).map(|entry| entry.path());
    paths.filter(|path| is_plugin(path)).collect()
}

/// A folder with a manifest, or a component; never what is hidden or half written.
fn is_plugin(path: &Path) -> bool {
    let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
    let component = path.extension().is_some_and(|ending| ending == "wasm") && path.is_file();
    !hidden && (component || path.join("plugin.toml").is_file())
}

fn limited(path: &Path, limit: u64) -> Result<Vec<u8>, PluginError> {
    files::read(path, limit)
        .map_err(|error| PluginError::Unreadable { path: path.to_owned(), reason: error.to_string() })
}
