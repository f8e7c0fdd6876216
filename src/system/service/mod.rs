//! Starting the gateway with the machine: what is written for launchd and systemd, and which commands
//! put it in force. Knows nothing of what the gateway does.

mod launchd;
mod systemd;

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The service's name, everywhere.
const NAME: &str = "mlx-gateway";
/// Where programs lie that a supervisor's own PATH leaves out.
const USUAL_PATH: &str = "/opt/homebrew/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin";

/// Which supervisor, and on whose behalf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// launchd, from log-in on.
    LaunchAgent,
    /// launchd, from the machine's start on, for one without a screen; needs root.
    LaunchDaemon,
    /// systemd, for the user.
    SystemdUser,
}

/// What a service needs to know of this installation; every path is absolute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setup {
    pub program: PathBuf,
    pub config: Option<PathBuf>,
    pub data_dir: PathBuf,
    pub home: PathBuf,
    pub user: String,
    pub user_id: u32,
    /// Where programs are looked for; a supervisor's own is short.
    pub path: String,
}

/// A file to write and what to run after that, before removing it, and to see whether it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub file: PathBuf,
    pub text: String,
    pub install: Vec<Vec<String>>,
    pub uninstall: Vec<Vec<String>>,
    /// Succeeds while it runs.
    pub is_running: Vec<String>,
}

/// Why a service could not be put in or taken out.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    #[error("{path} cannot be written: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error("`{command}` cannot be run: {source}")]
    Missing { command: String, source: io::Error },
    #[error("`{command}` failed: {said}")]
    Failed { command: String, said: String },
}

impl Kind {
    /// The one for this system.
    pub fn here(for_the_machine: bool) -> Kind {
        match (cfg!(target_os = "macos"), for_the_machine) {
            (true, true) => Kind::LaunchDaemon,
            (true, false) => Kind::LaunchAgent,
            (false, _) => Kind::SystemdUser,
        }
    }

    /// As people know it: `launchd user agent`, `systemd user service`.
    pub fn name(self) -> &'static str {
        match self {
            Kind::LaunchAgent => "launchd user agent",
            Kind::LaunchDaemon => "launchd system daemon",
            Kind::SystemdUser => "systemd user service",
        }
    }
}

impl Setup {
    /// For the program that runs now, as the user who runs it.
    pub fn of_process(config: Option<PathBuf>, data_dir: PathBuf) -> io::Result<Setup> {
        let absolute = |path: PathBuf| std::path::absolute(path);
        let no_home = || io::Error::new(io::ErrorKind::NotFound, "there is no home directory");
        Ok(Setup {
            program: std::env::current_exe()?,
            config: config.map(absolute).transpose()?,
            data_dir: absolute(data_dir)?,
            home: std::env::home_dir().ok_or_else(no_home)?,
            user: std::env::var("SUDO_USER").or_else(|_| std::env::var("USER")).unwrap_or_default(),
            user_id: super::process::user_id(),
            path: USUAL_PATH.to_owned(),
        })
    }

    /// What the supervisor is to run.
    fn arguments(&self) -> Vec<String> {
        let mut arguments = vec![self.program.display().to_string(), "serve".to_owned()];
        if let Some(config) = &self.config {
            arguments.extend(["--config".to_owned(), config.display().to_string()]);
        }
        arguments.extend(["--data-dir".to_owned(), self.data_dir.display().to_string()]);
        arguments
    }
}

/// Everything about a service, decided.
pub fn plan(kind: Kind, setup: &Setup) -> Plan {
    match kind {
        Kind::LaunchAgent | Kind::LaunchDaemon => launchd::plan(kind, setup),
        Kind::SystemdUser => systemd::plan(setup),
    }
}

/// Writes the file and puts it in force.
#[expect(clippy::disallowed_methods, reason = "the service manager reads it, so the umask decides")]
pub fn install(plan: &Plan) -> Result<(), ServiceError> {
    let failed = |source| ServiceError::File { path: plan.file.clone(), source };
    if let Some(folder) = plan.file.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    std::fs::write(&plan.file, &plan.text).map_err(failed)?;
    plan.install.iter().try_for_each(|command| run(command))
}

/// Ends it and removes the file; false: there was none.
pub fn uninstall(plan: &Plan) -> Result<bool, ServiceError> {
    if !plan.file.exists() {
        return Ok(false);
    }
    // One that does not run any more cannot be ended; the file goes in any case.
    let ended: Result<Vec<()>, ServiceError> = plan.uninstall.iter().map(|command| run(command)).collect();
    std::fs::remove_file(&plan.file)
        .map_err(|source| ServiceError::File { path: plan.file.clone(), source })?;
    ended.map(|_| true)
}

/// `None`: its supervisor does not answer.
pub fn is_running(plan: &Plan) -> Option<bool> {
    let (program, arguments) = plan.is_running.split_first()?;
    let output = Command::new(program).args(arguments).output().ok()?;
    Some(output.status.success())
}

fn run(command: &[String]) -> Result<(), ServiceError> {
    let Some((program, arguments)) = command.split_first() else { return Ok(()) };
    let shown = || command.join(" ");
    let output = Command::new(program)
        .args(arguments)
        .output()
        .map_err(|source| ServiceError::Missing { command: shown(), source })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(ServiceError::Failed { command: shown(), said })
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn log_file(data_dir: &Path) -> PathBuf {
    data_dir.join("gateway.log")
}

#[cfg(test)]
mod tests;
