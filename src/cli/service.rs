//! `service`: starting the gateway with the machine. Works on this machine's supervisor and asks no
//! gateway; what is written for it lies in `system::service`.

use std::path::PathBuf;

use serde_json::json;

use super::args::{Global, ServiceArgs, ServiceCommand};
use super::connect::Host;
use super::exit::CliError;
use super::out::Out;
use crate::system::service::{self, Kind, Plan, ServiceError, Setup};

pub fn run(
    command: &ServiceCommand,
    global: &Global,
    host: &impl Host,
    out: &mut Out,
) -> Result<(), CliError> {
    let (ServiceCommand::Install(args) | ServiceCommand::Uninstall(args) | ServiceCommand::Status(args)) =
        command;
    let kind = kind(args)?;
    let setup = setup(global, host.data_dir()?)?;
    let plan = service::plan(kind, &setup);
    match command {
        ServiceCommand::Install(args) if args.dry_run => out.text(&plan.text),
        ServiceCommand::Install(_) => {
            service::install(&plan)?;
            told(out, kind, &plan, "installed; the gateway runs now, and whenever this machine does")
        }
        ServiceCommand::Uninstall(_) if service::uninstall(&plan)? => told(out, kind, &plan, "removed"),
        ServiceCommand::Uninstall(_) => told(out, kind, &plan, "was not installed"),
        ServiceCommand::Status(_) => {
            let words = match (plan.file.exists(), service::is_running(&plan)) {
                (false, _) => "not installed",
                (true, Some(true)) => "installed and running",
                (true, Some(false)) => "installed, not running",
                (true, None) => "installed; its supervisor does not answer",
            };
            told(out, kind, &plan, words)
        }
    }
}

fn kind(args: &ServiceArgs) -> Result<Kind, CliError> {
    let kind = Kind::here(args.system);
    if args.system && kind != Kind::LaunchDaemon {
        let words = "--system is for macOS; on Linux the user service runs without a log-in after `loginctl enable-linger`";
        return Err(CliError::Usage(words.into()));
    }
    Ok(kind)
}

fn setup(global: &Global, data_dir: PathBuf) -> Result<Setup, CliError> {
    // The file that this command itself would go by: a service starts in another folder.
    let named = global.config.clone().or_else(|| std::env::var_os("MLX_GATEWAY_CONFIG").map(Into::into));
    let config = named.or_else(|| Some(PathBuf::from("config.toml")).filter(|file| file.is_file()));
    Setup::of_process(config, data_dir)
        .map_err(|error| CliError::Failed(format!("this installation's paths are not known: {error}")))
}

fn told(out: &mut Out, kind: Kind, plan: &Plan, words: &str) -> Result<(), CliError> {
    if out.json() {
        let view = json!({
            "kind": kind.name(),
            "file": plan.file,
            "installed": plan.file.exists(),
            "running": service::is_running(plan),
        });
        return out.raw_json(view.to_string().as_bytes());
    }
    out.line(&format!("{}: {words}", kind.name()))?;
    out.note(&plan.file.display().to_string())
}

impl From<ServiceError> for CliError {
    fn from(error: ServiceError) -> CliError {
        CliError::Failed(error.to_string())
    }
}
