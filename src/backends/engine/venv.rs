//! Owns the making of a virtual environment from a lock, by uv or by pip. Must not know which of
//! several environments is the current one.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Step;
use super::env::Vars;
use super::error::{EngineError, io};
use super::lock::Lock;
use super::python::Python;
use super::tool::{Input, Tool};
use crate::system::private;

/// Stands in for PyTorch in the slim set.
pub const TORCH_SHIM: &str = include_str!("torch_shim.py");

/// The full set has a gigabyte; a slow line needs its time, and what came is cached.
const INSTALL_LIMIT: Duration = Duration::from_secs(2 * 60 * 60);
const VENV_LIMIT: Duration = Duration::from_secs(600);

#[cfg(target_os = "linux")]
const INSTALL_HINT: &str =
    ". The package index has to be reachable, and MLX needs glibc 2.35 or newer (Debian 12, Ubuntu 22.04)";
#[cfg(not(target_os = "linux"))]
const INSTALL_HINT: &str = ". The package index has to be reachable, and MLX needs macOS 14 or newer";

/// What makes the environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Installer {
    /// With an interpreter that was found, else one that uv brings: uv is kept from searching,
    /// for it would run what must not be run on macOS.
    Uv {
        program: PathBuf,
        python: Option<Python>,
        pythons_dir: Option<PathBuf>,
    },
    Pip {
        python: Python,
    },
}

/// A virtual environment's programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Venv {
    pub root: PathBuf,
}

impl Venv {
    pub fn bin(&self) -> PathBuf {
        self.root.join("bin")
    }

    pub fn python(&self) -> PathBuf {
        self.root.join("bin/python")
    }

    pub fn program(&self, name: &str) -> PathBuf {
        self.bin().join(name)
    }

    /// Whether its interpreter is still there: an upgrade of Homebrew or pyenv may take it away.
    pub fn has_interpreter(&self) -> bool {
        self.python().canonicalize().is_ok_and(|path| path.is_file())
    }

    fn site_packages(&self) -> std::io::Result<PathBuf> {
        for entry in std::fs::read_dir(self.root.join("lib"))? {
            let path = entry?.path().join("site-packages");
            if path.is_dir() {
                return Ok(path);
            }
        }
        Err(std::io::Error::new(std::io::ErrorKind::NotFound, "no site-packages folder"))
    }
}

impl Installer {
    /// For messages and marks.
    pub fn name(&self) -> &'static str {
        match self {
            Installer::Uv { .. } => "uv",
            Installer::Pip { .. } => "pip",
        }
    }
}

/// Builds the environment at `root` anew. `held` stays locked until the last helper has ended.
pub async fn build(
    installer: &Installer,
    lock: &Lock,
    root: &Path,
    env: &Vars,
    held: &std::fs::File,
    report: &(dyn Fn(Step) + Send + Sync),
) -> Result<Venv, EngineError> {
    let venv = Venv { root: root.to_owned() };
    let requirements = root.with_extension("lock.txt");
    private::write(&requirements, lock.text.as_bytes()).map_err(io("write", &requirements))?;
    let progress = Progress::new(installer, lock);
    let mut env = env.clone();
    if let Installer::Uv { python, pythons_dir, .. } = installer {
        if python.is_none() {
            env.insert("UV_PYTHON_PREFERENCE".into(), "only-managed".into());
        }
        if let Some(dir) = pythons_dir {
            env.insert("UV_PYTHON_INSTALL_DIR".into(), dir.into());
        }
    }
    let stages = [
        (create_command(installer, &venv), create_hint(installer)),
        (install_command(installer, &venv, &requirements), INSTALL_HINT),
    ];
    for ((program, args, limit), hint) in stages {
        let on_line = |line: &str| {
            // uv ends with a list of everything.
            if !line.starts_with("+ ") {
                report(progress.step(line));
            }
        };
        let tool = Tool::new(&program, &env, limit).args(args).stdin(Input::Held(held));
        tool.run(&on_line).await.map_err(|source| EngineError::Install {
            what: progress.what.clone(),
            installer: installer.name().to_owned(),
            source,
            hint,
        })?;
    }
    if lock.torch_shim {
        let dir = venv.site_packages().map_err(io("find site-packages of", root))?;
        private::write(&dir.join("torch.py"), TORCH_SHIM.as_bytes())
            .map_err(io("write torch.py into", &dir))?;
    }
    Ok(venv)
}

type CommandLine = (PathBuf, Vec<OsString>, Duration);

fn create_command(installer: &Installer, venv: &Venv) -> CommandLine {
    match installer {
        Installer::Uv { program, python, .. } => {
            let python: OsString = match python {
                Some(python) => python.path.clone().into(),
                None => "3.12".into(),
            };
            let mut args: Vec<OsString> = ["venv", "--no-project", "--python"].map(Into::into).into();
            args.push(python);
            args.push(venv.root.clone().into());
            // uv may fetch an interpreter first.
            (program.clone(), args, INSTALL_LIMIT)
        }
        Installer::Pip { python } => {
            let mut args: Vec<OsString> = ["-I", "-m", "venv", "--clear"].map(Into::into).into();
            args.push(venv.root.clone().into());
            (python.path.clone(), args, VENV_LIMIT)
        }
    }
}

/// Wheels only: nothing that was downloaded is executed while it is installed. No dependencies are
/// followed: the lock is complete.
fn install_command(installer: &Installer, venv: &Venv, requirements: &Path) -> CommandLine {
    let mut args: Vec<OsString> = match installer {
        Installer::Uv { .. } => {
            let mut args: Vec<OsString> =
                ["pip", "install", "--compile-bytecode", "--python"].map(Into::into).into();
            args.push(venv.python().into());
            args
        }
        Installer::Pip { .. } => ["-m", "pip", "install", "--progress-bar", "off"].map(Into::into).into(),
    };
    args.extend(["--no-deps", "--only-binary", ":all:", "--require-hashes", "-r"].map(OsString::from));
    args.push(requirements.into());
    let program = match installer {
        Installer::Uv { program, .. } => program.clone(),
        Installer::Pip { .. } => venv.python(),
    };
    (program, args, INSTALL_LIMIT)
}

/// Turns the installer's lines into steps.
struct Progress {
    what: String,
    installer: &'static str,
    total: usize,
    seen: std::sync::atomic::AtomicUsize,
}

impl Progress {
    fn new(installer: &Installer, lock: &Lock) -> Progress {
        Progress {
            what: format!("mlx-openai-server {}", lock.version()),
            installer: installer.name(),
            total: lock.text.lines().filter(|line| line.contains("==")).count(),
            seen: 0.into(),
        }
    }

    fn step(&self, line: &str) -> Step {
        use std::sync::atomic::Ordering::Relaxed;
        // pip collects every package before it installs any.
        if line.starts_with("Collecting ") {
            self.seen.fetch_add(1, Relaxed);
        }
        Step::Installing {
            what: self.what.clone(),
            installer: self.installer,
            packages_seen: self.seen.load(Relaxed).min(self.total),
            packages: self.total,
            line: line.chars().take(120).collect(),
        }
    }
}

fn create_hint(installer: &Installer) -> &'static str {
    match installer {
        Installer::Uv { python: None, .. } => {
            ". There is no Python 3.11 or 3.12 on this machine, and uv could not fetch one: install one"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(command: CommandLine) -> String {
        let (program, args, _) = command;
        let args: Vec<_> = args.iter().map(|arg| arg.to_string_lossy()).collect();
        format!("{} {}", program.display(), args.join(" "))
    }

    #[test]
    fn both_installers_take_wheels_with_hashes_only() {
        let venv = Venv { root: "/v".into() };
        let python = Python { path: "/py".into(), version: "3.12.0".into() };
        let pip = Installer::Pip { python: python.clone() };
        assert_eq!(line(create_command(&pip, &venv)), "/py -I -m venv --clear /v");
        assert_eq!(
            line(install_command(&pip, &venv, Path::new("/l"))),
            "/v/bin/python -m pip install --progress-bar off --no-deps --only-binary :all: --require-hashes -r /l"
        );
        let uv = Installer::Uv { program: "/uv".into(), python: Some(python), pythons_dir: None };
        assert_eq!(line(create_command(&uv, &venv)), "/uv venv --no-project --python /py /v");
        assert_eq!(
            line(install_command(&uv, &venv, Path::new("/l"))),
            "/uv pip install --compile-bytecode --python /v/bin/python --no-deps --only-binary :all: --require-hashes -r /l"
        );
        let alone = Installer::Uv { program: "/uv".into(), python: None, pythons_dir: None };
        assert_eq!(line(create_command(&alone, &venv)), "/uv venv --no-project --python 3.12 /v");
    }
}
