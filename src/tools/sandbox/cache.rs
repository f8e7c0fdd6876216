//! Compiled components on disk, in a folder of our own: named after what they were compiled from and
//! for which engine, for their owner alone, and whole or not there.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use wasmtime::Engine;
use wasmtime::component::Component;

use crate::system::private;
use crate::tools::error::PluginError;

/// Compiled components that are kept; the ones longest unused go first.
const KEPT: usize = 64;

/// See the module.
#[derive(Debug, Clone)]
pub struct Cache(PathBuf);

impl Cache {
    pub fn new(folder: PathBuf) -> Cache {
        Cache(folder)
    }

    /// The component, from the cache where it is there. Blocks.
    pub fn component(&self, engine: &Engine, wasm: &[u8], digest: &str) -> Result<Component, PluginError> {
        let file = self.0.join(format!("{digest}-{:016x}.cwasm", fingerprint(engine)));
        if let Some(component) = self.load(engine, &file) {
            return Ok(component);
        }
        let component = Component::from_binary(engine, wasm)
            .map_err(|error| PluginError::Compile(format!("{error:#}")))?;
        if let Err(error) = self.keep(&component, &file) {
            tracing::warn!(%error, "A compiled plugin could not be kept; it is compiled again next time");
        }
        Ok(component)
    }

    fn load(&self, engine: &Engine, file: &Path) -> Option<Component> {
        if !self.is_ours() || !file.exists() {
            return None;
        }
        #[expect(
            unsafe_code,
            reason = "the file was written by this program into a folder that is its owner's alone"
        )]
        // SAFETY: compiled code is trusted as this program itself is: whoever can write to a folder of
        // mode 0700 that belongs to this user can replace the program too. Files are renamed into place
        // when they are whole, and wasmtime refuses those of another engine.
        let loaded = unsafe { Component::deserialize_file(engine, file) };
        match loaded {
            Ok(component) => {
                touch(file);
                Some(component)
            }
            Err(error) => {
                tracing::warn!(%error, "A compiled plugin cannot be used and is compiled anew");
                None
            }
        }
    }

    fn keep(&self, component: &Component, file: &Path) -> Result<(), std::io::Error> {
        private::create_dir(&self.0)?;
        if !self.is_ours() {
            return Err(std::io::Error::other("the folder is not this user's alone"));
        }
        let bytes = component.serialize().map_err(|error| std::io::Error::other(error.to_string()))?;
        let mut new = tempfile::NamedTempFile::new_in(&self.0)?;
        new.write_all(&bytes)?;
        new.as_file().sync_all()?;
        new.persist(file).map_err(|error| error.error)?;
        self.tidy()
    }

    /// A folder, no link, of the user this program runs as, closed to all others.
    fn is_ours(&self) -> bool {
        let Ok(folder) = fs::symlink_metadata(&self.0) else { return false };
        let own = self.0.parent().and_then(|parent| fs::metadata(parent).ok()).map(|parent| parent.uid());
        folder.is_dir() && folder.permissions().mode() & 0o077 == 0 && own == Some(folder.uid())
    }

    fn tidy(&self) -> Result<(), std::io::Error> {
        let mut files: Vec<_> = fs::read_dir(&self.0)?
            .filter_map(Result::ok)
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        files.sort();
        let surplus = files.len().saturating_sub(KEPT);
        files.iter().take(surplus).try_for_each(|(_, path)| fs::remove_file(path))
    }
}

/// Notes that a file was used; a cache that cannot note it works as well.
#[expect(clippy::disallowed_methods, reason = "opens a file that is there and creates none")]
fn touch(file: &Path) {
    let touched = File::options()
        .append(true)
        .open(file)
        .and_then(|open| open.set_modified(std::fs::metadata(file)?.accessed()?));
    if let Err(error) = touched {
        tracing::debug!(%error, "The use of a compiled plugin was not noted");
    }
}

/// What compiled code depends on besides its component.
fn fingerprint(engine: &Engine) -> u64 {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.finish()
}
