//! The command line: the real flags that matter here, and the fake's own, also taken from the
//! environment (`--ready-after-ms 5` is `FAKE_READY_AFTER_MS=5`). Unknown flags are accepted.

use std::path::PathBuf;

use crate::script::Script;

#[derive(Debug, Clone)]
pub struct Args {
    pub command: Command,
    pub port: u16,
    pub model_path: String,
    pub served_name: Option<String>,
    pub ready_after_ms: u64,
    /// Ready once this file exists.
    pub ready_file: Option<PathBuf>,
    pub fail_load: bool,
    pub exit_code: Option<u8>,
    pub never_ready: bool,
    /// Listens, but `/health` answers 503.
    pub unhealthy: bool,
    pub ignore_sigterm: bool,
    pub flood_log: usize,
    /// Starts a child in its process group that outlives it.
    pub fork_child: bool,
    /// Goes on when its parent dies, as the real server does.
    pub outlive_parent: bool,
    /// Idle connections are closed after this long, as uvicorn does.
    pub idle_ms: u64,
    pub script: Script,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Command {
    Serve,
    /// The process that `--fork-child` starts.
    Child,
    Version,
    Help,
}

impl Args {
    pub fn parse(
        args: impl Iterator<Item = String>,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Args {
        let mut parsed = Args {
            command: Command::Serve,
            port: 8000,
            model_path: "model".into(),
            served_name: None,
            ready_after_ms: 0,
            ready_file: None,
            fail_load: false,
            exit_code: None,
            never_ready: false,
            unhealthy: false,
            ignore_sigterm: false,
            flood_log: 0,
            fork_child: false,
            outlive_parent: false,
            idle_ms: 5_000,
            script: Script::default(),
        };
        for (name, value) in environment {
            if let Some(key) = name.strip_prefix("FAKE_") {
                parsed.set(&key.to_lowercase().replace('_', "-"), &value);
            }
        }
        let args: Vec<String> = args.collect();
        for (at, arg) in args.iter().enumerate() {
            match arg.strip_prefix("--").map(|flag| flag.split_once('=').unwrap_or((flag, ""))) {
                Some((key, "")) => {
                    let next = args.get(at + 1).filter(|next| !next.starts_with("--"));
                    parsed.set(key, next.map_or("", String::as_str));
                }
                Some((key, value)) => parsed.set(key, value),
                None if arg == "child" && at == 0 => parsed.command = Command::Child,
                None => {}
            }
        }
        parsed
    }

    /// The name in answers: what `--served-model-name` says, else the path.
    pub fn model_name(&self) -> &str {
        self.served_name.as_deref().unwrap_or(&self.model_path)
    }

    fn set(&mut self, key: &str, value: &str) {
        let number = || value.parse::<u64>().unwrap_or(0);
        match key {
            "version" => self.command = Command::Version,
            "help" => self.command = Command::Help,
            "port" => self.port = number() as u16,
            "model-path" | "model" => self.model_path = value.to_owned(),
            "served-model-name" => self.served_name = Some(value.to_owned()),
            "ready-after-ms" => self.ready_after_ms = number(),
            "ready-file" => self.ready_file = Some(value.into()),
            "fail-load" => self.fail_load = true,
            "exit-code" => self.exit_code = Some(number() as u8),
            "never-ready" => self.never_ready = true,
            "unhealthy" => self.unhealthy = true,
            "ignore-sigterm" => self.ignore_sigterm = true,
            "flood-log" => self.flood_log = number() as usize,
            "fork-child" => self.fork_child = true,
            "outlive-parent" => self.outlive_parent = true,
            "idle-ms" => self.idle_ms = number(),
            _ => {
                // What neither knows is a flag of the real program that changes nothing here.
                self.script.set(key, value);
            }
        }
    }
}
