//! Owns the search for Python 3.11 or 3.12 and for uv on this machine. Looks at a path before
//! anything is executed: macOS has stubs in /usr/bin that open a dialog.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::env::Vars;
use super::tool::Tool;

const QUERY_LIMIT: Duration = Duration::from_secs(20);
const MINORS: [u32; 2] = [12, 11];
/// Prints the version if the interpreter can make a virtual environment.
const QUERY: &str = "import sys, venv, ensurepip; print('%d.%d.%d' % sys.version_info[:3])";

/// An interpreter that will do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Python {
    pub path: PathBuf,
    /// Such as `3.12.4`.
    pub version: String,
}

/// Where to look.
#[derive(Debug, Clone)]
pub struct Search<'a> {
    /// PATH, HOME and PYENV_ROOT are read from it.
    pub host: &'a Vars,
    pub is_macos: bool,
    /// Folders of programs outside of PATH, for a gateway started by launchd or systemd.
    pub usual_dirs: Vec<PathBuf>,
}

impl<'a> Search<'a> {
    pub fn new(host: &'a Vars, is_macos: bool) -> Search<'a> {
        let usual = if is_macos {
            &[
                "/opt/homebrew/bin",
                "/usr/local/bin",
                "/Library/Frameworks/Python.framework/Versions/3.12/bin",
                "/Library/Frameworks/Python.framework/Versions/3.11/bin",
            ][..]
        } else {
            &["/usr/local/bin", "/usr/bin"][..]
        };
        Search { host, is_macos, usual_dirs: usual.iter().map(PathBuf::from).collect() }
    }

    /// The first Python 3.12 or 3.11 that can make virtual environments.
    pub async fn python(&self) -> Option<Python> {
        for path in self.python_candidates() {
            if let Some(version) = self.query(&path).await {
                return Some(Python { path, version });
            }
        }
        None
    }

    /// uv, if it is there and runs.
    pub async fn uv(&self) -> Option<PathBuf> {
        for dir in self.dirs().into_iter().chain(self.home_dirs(&[".local/bin", ".cargo/bin"])) {
            let path = dir.join("uv");
            if self.may_run(&path) && self.output(&path, &["--version"]).await.is_some() {
                return Some(path);
            }
        }
        None
    }

    /// A program by name, for `command`.
    pub fn program(&self, name: &str) -> Option<PathBuf> {
        if name.contains('/') {
            return Some(PathBuf::from(name)).filter(|path| is_executable(path));
        }
        self.dirs().into_iter().map(|dir| dir.join(name)).find(|path| is_executable(path))
    }

    /// Named versions first, in every place, since asking a `python3` costs a process.
    fn python_candidates(&self) -> Vec<PathBuf> {
        let dirs = self.dirs();
        let named = MINORS.iter().map(|minor| format!("python3.{minor}"));
        let mut found: Vec<PathBuf> =
            named.flat_map(|name| dirs.iter().map(move |dir| dir.join(&name))).collect();
        found.extend(self.version_managers());
        found.extend(dirs.iter().map(|dir| dir.join("python3")));
        found.retain(|path| self.may_run(path));
        found.dedup();
        found
    }

    fn dirs(&self) -> Vec<PathBuf> {
        let path = self.host.get(OsStr::new("PATH")).cloned().unwrap_or_default();
        let mut dirs: Vec<PathBuf> = std::env::split_paths(&path).filter(|dir| dir.is_absolute()).collect();
        dirs.extend(self.usual_dirs.iter().cloned());
        dirs
    }

    fn home_dirs(&self, names: &[&str]) -> Vec<PathBuf> {
        let Some(home) = self.host.get(OsStr::new("HOME")).map(PathBuf::from) else {
            return Vec::new();
        };
        names.iter().map(|name| home.join(name)).collect()
    }

    /// The interpreters behind the shims of pyenv, asdf and mise, the newest first.
    fn version_managers(&self) -> Vec<PathBuf> {
        let pyenv = self.host.get(OsStr::new("PYENV_ROOT")).map(|root| Path::new(root).join("versions"));
        let roots = pyenv.into_iter().chain(self.home_dirs(&[
            ".pyenv/versions",
            ".asdf/installs/python",
            ".local/share/mise/installs/python",
        ]));
        let mut found = Vec::new();
        for entry in roots.filter_map(|root| std::fs::read_dir(root).ok()).flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if let Some((minor, patch)) = wanted_version(&name) {
                found.push(((minor, patch), entry.path().join("bin/python3")));
            }
        }
        found.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
        found.into_iter().map(|(_, path)| path).collect()
    }

    /// Whether a path may be executed at all. A shim only leads on to some other Python, on macOS
    /// perhaps to the stub, which is not to be run even to ask its version.
    fn may_run(&self, path: &Path) -> bool {
        if !is_executable(path) || is_shim(path) {
            return false;
        }
        let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        !(is_shim(&real) || self.is_macos && (is_system(path) || is_system(&real)))
    }

    async fn query(&self, path: &Path) -> Option<String> {
        let version = self.output(path, &["-I", "-c", QUERY]).await?;
        let version = version.trim();
        let (minor, _) = wanted_version(version)?;
        MINORS.contains(&minor).then(|| version.to_owned())
    }

    async fn output(&self, path: &Path, args: &[&str]) -> Option<String> {
        let env = super::env::installer(self.host, None);
        match Tool::new(path, &env, QUERY_LIMIT).args(args).run(&|_| {}).await {
            Ok(text) => Some(text),
            Err(error) => {
                tracing::debug!(path = %path.display(), error = %error, "Passing over a program that does not answer.");
                None
            }
        }
    }
}

/// `3.12.4` -> (12, 4); `None` for what is not a 3.11 or 3.12.
fn wanted_version(name: &str) -> Option<(u32, u32)> {
    let mut parts = name.strip_prefix("3.")?.split('.');
    let minor = parts.next()?.parse().ok()?;
    let patch = parts.next().and_then(|patch| patch.parse().ok()).unwrap_or(0);
    MINORS.contains(&minor).then_some((minor, patch))
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

fn is_shim(path: &Path) -> bool {
    path.parent().and_then(Path::file_name).is_some_and(|dir| dir == "shims")
}

/// On macOS, Python in /usr/bin is never of a wanted version, only ever the stub or what the
/// command line tools put behind it.
fn is_system(path: &Path) -> bool {
    path.parent() == Some(Path::new("/usr/bin"))
}

#[cfg(test)]
mod tests;
