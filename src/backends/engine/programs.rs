//! Owns which program an engine is: installed by the gateway, or named in the configuration; and
//! what such a program says of its options.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::Report;
use super::capabilities::Capabilities;
use super::env;
use super::error::EngineError;
use super::managed::Installed;
use super::prepare::Preparer;
use super::python::Search;
use super::tool::Tool;
use crate::config::{LaunchSettings, ModelType};
use crate::system::files;

const QUERY_LIMIT: Duration = Duration::from_secs(180);
/// Programs whose options are remembered.
const MAX_ASKED: usize = 32;
/// Enough of a script to find its interpreter.
const SHEBANG_BYTES: u64 = 1024;

/// A program that was found or installed.
#[derive(Debug, Clone)]
pub struct Program {
    pub path: PathBuf,
    /// Stand before the engine's own arguments.
    pub first_args: Vec<String>,
    pub installed: Option<Installed>,
}

impl Preparer {
    /// `mlx-openai-server`, installed for the model type if it is managed.
    pub(super) async fn server_program(
        &self,
        model_type: ModelType,
        report: Report<'_>,
    ) -> Result<Program, EngineError> {
        if self.server.managed {
            let installed = self.managed.ensure(model_type, report).await?;
            let path = installed.venv.program("mlx-openai-server");
            return Ok(Program { path, first_args: Vec::new(), installed: Some(installed) });
        }
        let command = self.server.command.as_deref().unwrap_or_default();
        let (name, first_args) = command.split_first().ok_or(EngineError::NoCommand)?;
        Ok(Program { path: self.find(name)?, first_args: first_args.to_vec(), installed: None })
    }

    /// A Python that has the engine's packages.
    pub(super) async fn python(
        &self,
        settings: &LaunchSettings,
        report: Report<'_>,
    ) -> Result<PathBuf, EngineError> {
        let model_type = settings.model_type.unwrap_or(ModelType::Lm);
        let server = self.server_program(model_type, report).await?;
        if let Some(installed) = server.installed {
            return Ok(installed.venv.python());
        }
        let beside = server.path.with_file_name("python");
        if beside.is_file() {
            return Ok(beside);
        }
        interpreter(&server.path)
            .ok_or_else(|| EngineError::NoProgram(format!("python beside {}", server.path.display())))
    }

    /// A program by name or path.
    pub(super) fn find(&self, name: &str) -> Result<PathBuf, EngineError> {
        Search::new(&self.host, self.platform.is_macos())
            .program(name)
            .ok_or_else(|| EngineError::NoProgram(name.to_owned()))
    }

    /// What a server that the gateway did not install can do.
    pub(super) async fn ask_server(&self, program: &Program) -> Result<Capabilities, EngineError> {
        let first: Vec<&str> = program.first_args.iter().map(String::as_str).collect();
        let version = [first.as_slice(), &["--version"]].concat();
        let help = [first.as_slice(), &["launch", "--help"]].concat();
        self.ask(&program.path, &version, &help).await
    }

    /// Asks once for each program and time of its change.
    pub(super) async fn ask(
        &self,
        path: &Path,
        version: &[&str],
        help: &[&str],
    ) -> Result<Capabilities, EngineError> {
        let changed: Option<SystemTime> = path.metadata().and_then(|meta| meta.modified()).ok();
        let key = (path.to_owned(), help.join(" "), changed);
        let mut asked = self.asked.lock().await;
        if let Some(known) = asked.get(&key) {
            return Ok(known.clone());
        }
        let mut vars = env::installer(&self.host, None);
        vars.insert("HF_HUB_OFFLINE".into(), "1".into());
        let run = async |args: &[&str]| {
            if args.is_empty() {
                return Ok(String::new());
            }
            let tool = Tool::new(path, &vars, QUERY_LIMIT).args(args);
            let inspect = |source| EngineError::Inspect { program: path.to_owned(), source };
            tool.run(&|_| {}).await.map_err(inspect)
        };
        let (version, help) = tokio::try_join!(run(version), run(help))?;
        let known = Capabilities::parse(&version, &help);
        if asked.len() >= MAX_ASKED {
            asked.clear();
        }
        asked.insert(key, known.clone());
        Ok(known)
    }
}

/// The interpreter in a script's first line.
fn interpreter(script: &Path) -> Option<PathBuf> {
    let mut head = Vec::new();
    files::open(script).ok()?.take(SHEBANG_BYTES).read_to_end(&mut head).ok()?;
    let head = String::from_utf8_lossy(&head);
    let mut lines = head.lines();
    let first = lines.next()?.strip_prefix("#!")?.trim();
    // Where the path is too long for a first line, installers write `'''exec' "PATH" …` below sh.
    let path = match first {
        "/bin/sh" => {
            lines.next()?.strip_prefix("'''exec' ")?.split('"').find(|part| part.starts_with('/'))?
        }
        path => path,
    };
    Some(PathBuf::from(path)).filter(|path| path.is_file() && path.to_string_lossy().contains("python"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scripts_interpreter_is_read_from_its_first_lines() {
        let dir = tempfile::tempdir().unwrap();
        let python = dir.path().join("python3");
        std::fs::write(&python, "").unwrap();
        let script = dir.path().join("server");
        std::fs::write(&script, format!("#!{}\nimport x\n", python.display())).unwrap();
        assert_eq!(interpreter(&script).as_deref(), Some(python.as_path()));
        let long = format!("#!/bin/sh\n'''exec' \"{}\" \"$0\" \"$@\"\n' '''\n", python.display());
        std::fs::write(&script, long).unwrap();
        assert_eq!(interpreter(&script).as_deref(), Some(python.as_path()));
        std::fs::write(&script, "#!/usr/bin/env bash\n").unwrap();
        assert_eq!(interpreter(&script), None);
        std::fs::write(&script, b"\x7fELF").unwrap();
        assert_eq!(interpreter(&script), None);
    }
}
