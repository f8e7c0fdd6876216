//! `[engine.*]`: how the engines are found or installed.

#[derive(Debug, Clone, Default)]
pub struct Engines {
    pub mlx_openai_server: ManagedEngine,
}

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
