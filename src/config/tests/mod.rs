//! The configuration as a whole: what is read from where, and what is said about what is wrong.

mod precedence;
mod problems;
mod robust;
mod shipped;
mod stored;

use std::path::Path;

use super::{Config, Flags, LoadError, Sources, Warning, load};

/// A folder with a configuration file in it, and nothing else around.
struct Folder {
    directory: tempfile::TempDir,
    sources: Sources,
}

impl Folder {
    fn empty() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().canonicalize().unwrap();
        let sources = Sources {
            flags: Flags::default(),
            environment: Default::default(),
            current_dir: path.clone(),
            home: Some(path.join("home")),
            macos: false,
        };
        Folder { directory, sources }
    }

    fn with(config: &str) -> Self {
        let folder = Folder::empty();
        folder.write("config.toml", config);
        folder
    }

    fn path(&self) -> &Path {
        &self.sources.current_dir
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.directory.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn set(mut self, variable: &str, value: &str) -> Self {
        self.sources.environment.insert(variable.to_owned(), value.to_owned());
        self
    }

    fn flags(mut self, flags: Flags) -> Self {
        self.sources.flags = flags;
        self
    }

    fn load(&self) -> Result<(Config, Vec<Warning>), LoadError> {
        load(&self.sources)
    }

    /// Loads what has to be right.
    fn config(&self) -> Config {
        self.load().map(|(config, _)| config).unwrap_or_else(|error| panic!("{error}"))
    }

    fn warnings(&self) -> Vec<String> {
        let (_, warnings) = self.load().unwrap_or_else(|error| panic!("{error}"));
        warnings.iter().map(|warning| self.shown(warning)).collect()
    }

    /// Loads what has to be wrong.
    fn error(&self) -> LoadError {
        self.load().map(|_| ()).expect_err("the configuration was accepted")
    }

    /// Without the folder's own path, so that it is the same everywhere.
    fn shown(&self, what: impl std::fmt::Display) -> String {
        what.to_string().replace(&*self.path().to_string_lossy(), "[folder]")
    }
}

/// The problems of a file, one per line without suggestions.
fn problems_of(config: &str) -> Vec<String> {
    let error = Folder::with(config).error();
    error.problems.iter().map(|p| format!("{}: {}: {}", p.line.unwrap_or(0), p.key, p.message)).collect()
}

/// A profile that needs nothing, with `settings` added.
fn demo(settings: &str) -> String {
    format!("[[profile]]\nname = \"demo\"\nmodel = \"builtin:demo\"\n{settings}\n")
}
