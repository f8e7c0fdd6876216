//! `[engine.*]`: how the engines are found or installed.

use super::reader::Reader;
use super::values::{self, Fault};

/// The `[engine.…]` tables.
#[derive(Debug, Clone, Default)]
pub struct Engines {
    pub mlx_openai_server: ManagedEngine,
}

/// `[engine.mlx-openai-server]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManagedEngine {
    /// Installed by the gateway into its data directory.
    pub managed: bool,
    /// The program to run when it is not managed.
    pub command: Option<Vec<String>>,
    /// The package index to install from, as pip's `--index-url` takes it; `None`: PyPI.
    pub index_url: Option<String>,
}

impl Default for ManagedEngine {
    fn default() -> Self {
        ManagedEngine { managed: true, command: None, index_url: None }
    }
}

impl Engines {
    pub(super) fn read(reader: &Reader<'_>) -> Self {
        Engines { mlx_openai_server: reader.table("mlx-openai-server", ManagedEngine::read) }
    }
}

impl ManagedEngine {
    /// A command given is the command used.
    fn read(reader: &Reader<'_>) -> Self {
        let managed = reader.boolean("managed");
        let command = reader.command("command");
        let index_url = reader.value("index_url", |node| values::http_url(node, "https://HOST/simple"));
        match (&command, managed) {
            _ if reader.is_empty_list("command") => {
                reader.problem(
                    "command",
                    Fault::new("names no program").suggest("write command = [\"PROGRAM\"]"),
                );
            }
            (Some(_), Some(true)) => {
                let fault = Fault::new("is not used, since `command` names a program");
                reader.warning("managed", fault.suggest("remove one of the two"));
            }
            (None, Some(false)) if !reader.has("command") => {
                let fault = Fault::new("is false, but no `command` says what to run instead");
                reader.problem("managed", fault.suggest("add command = [\"PROGRAM\"]"));
            }
            _ => {}
        }
        ManagedEngine { managed: managed.unwrap_or(true) && command.is_none(), command, index_url }
    }
}
