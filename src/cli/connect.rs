//! Which gateway a command reaches: one that is named, the one that runs over the data directory, or
//! this process in its place. Knows which commands make sense without a gateway, not what they do.

use std::path::{Path, PathBuf};

use http::HeaderValue;

use super::args::{ClientCommand, Global, RequestsCommand};
use super::exit::CliError;
use super::transport::{Base, Transport, TransportError, knock};
use crate::backup::Restored;

/// The socket's name in the data directory.
pub const SOCKET_NAME: &str = "gateway.sock";
/// Where a key may stand when it is not given as a flag, first one first.
const KEY_VARIABLES: [&str; 2] = ["MLX_GATEWAY_API_KEY", "MLX_MANAGER_API_KEY"];

/// What the commands need of the program around them.
pub trait Host: Sync {
    /// The data directory that the flags, the environment and the file lead to. Only asked where
    /// no `--server` is given.
    fn data_dir(&self) -> Result<PathBuf, CliError>;

    /// Takes the data directory's lock, opens the store, and gives the admin API's routes (see
    /// [`super::in_process`]), for commands that make sense while no gateway runs.
    fn offline(&self) -> impl Future<Output = Result<Transport, CliError>> + Send;

    /// Takes the data directory's lock and puts a backup in place. Blocks.
    fn restore(&self, file: &Path) -> Result<Restored, CliError>;
}

/// Finds the road that the flags and the state of the data directory leave.
pub async fn connect(
    command: &ClientCommand,
    global: &Global,
    host: &impl Host,
) -> Result<Transport, CliError> {
    if let Some(server) = &global.server {
        let base = Base::parse(server).map_err(CliError::Usage)?;
        let key = key(global.key.clone(), |name| std::env::var(name).ok());
        let key = key.as_deref().map(bearer).transpose()?;
        return Ok(Transport::Http { base, key });
    }
    if global.key.is_some() {
        return Err(CliError::Usage(
            "--key goes with --server; this machine's own gateway needs none".into(),
        ));
    }
    let data_dir = host.data_dir()?;
    let socket = data_dir.join(SOCKET_NAME);
    match knock(&socket).await {
        Ok(()) => Ok(Transport::Socket(socket)),
        Err(TransportError::Absent { .. }) if works_offline(command) => host.offline().await,
        Err(TransportError::Absent { .. }) => Err(CliError::Unreachable(absence(&socket, global))),
        Err(error) => Err(error.into()),
    }
}

/// Says that no gateway runs, and how one would.
fn absence(socket: &Path, global: &Global) -> String {
    let mut start = String::from("mlx-gateway");
    if let Some(file) = &global.config {
        start.push_str(&format!(" --config {}", file.display()));
    }
    if let Some(dir) = &global.data_dir {
        start.push_str(&format!(" --data-dir {}", dir.display()));
    }
    format!(
        "no gateway is running (nothing answers at {}); start one with `{start}`, \
         or name one with --server URL",
        socket.display()
    )
}

/// What is in the data directory can be read without a gateway; what runs cannot.
fn works_offline(command: &ClientCommand) -> bool {
    match command {
        ClientCommand::Doctor
        | ClientCommand::Backup(_)
        | ClientCommand::Usage(_)
        | ClientCommand::Engine(_)
        | ClientCommand::Keys(_)
        | ClientCommand::Users(_)
        | ClientCommand::Models(_)
        | ClientCommand::Plugins(_)
        | ClientCommand::Profiles(_) => true,
        ClientCommand::Requests(args) => !matches!(args.command, Some(RequestsCommand::Cancel { .. })),
        _ => false,
    }
}

pub fn key(flag: Option<String>, variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    let variables = KEY_VARIABLES.iter().filter_map(|name| variable(name));
    flag.into_iter().chain(variables).find(|key| !key.is_empty())
}

fn bearer(key: &str) -> Result<HeaderValue, CliError> {
    let mut value = HeaderValue::from_str(&format!("Bearer {key}")).map_err(|error| {
        // The error does not repeat the key.
        CliError::Usage(format!("the key cannot be sent ({error}); does it hold a line break?"))
    })?;
    value.set_sensitive(true);
    Ok(value)
}
