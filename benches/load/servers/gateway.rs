//! The gateway under test, started as a user would: a configuration file and a data folder.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::processes::Running;

use super::{free_port, wait_until_served};

pub const KEY: &str = "sk-bench-0123456789abcdef";
/// The profile that passes on to the mock.
pub const URL_PROFILE: &str = "bench";
/// The profile that starts a mock of mlx-openai-server.
pub const MLX_PROFILE: &str = "bench-mlx";
/// Under a profiler it takes seconds.
const START_MAX: Duration = Duration::from_secs(60);

pub struct Gateway {
    pub running: Running,
    pub port: u16,
    /// From the start of the process to the first answer of /livez.
    pub start: Duration,
    /// What its commands are called with.
    program: PathBuf,
    config: PathBuf,
    data: PathBuf,
    /// Its log.
    pub log: PathBuf,
    pub ready_at: PathBuf,
}

impl Gateway {
    /// `load`: how long the mock of mlx-openai-server takes until it is ready.
    pub fn start(program: &Path, folder: &Path, upstream: u16, load: Duration) -> Outcome<Gateway> {
        Gateway::start_by(Command::new(program), program, folder, upstream, load)
    }

    /// Starts it by `command`, which ends with `program` (a profiler may come before it).
    pub fn start_by(
        mut command: Command,
        program: &Path,
        folder: &Path,
        upstream: u16,
        load: Duration,
    ) -> Outcome<Gateway> {
        std::fs::create_dir_all(folder)?;
        let port = free_port()?;
        let ready_at = folder.join("ready-at");
        let model = folder.join("model");
        std::fs::create_dir_all(&model)?;
        std::fs::write(model.join("config.json"), r#"{"model_type":"qwen3"}"#)?;
        let config = folder.join("config.toml");
        std::fs::write(&config, configuration(port, upstream, load, &ready_at)?)?;
        let log = folder.join("gateway.log");
        command.arg("serve").arg("--config").arg(&config).arg("--data-dir").arg(folder.join("data"));
        command.env("MLX_GATEWAY_API_KEY", KEY).stdin(Stdio::null());
        command.stdout(File::create(folder.join("gateway.out"))?).stderr(File::create(&log)?);
        let before = Instant::now();
        let mut running = Running::start("the gateway", &mut command)?;
        let served = wait_until_served(&mut running, port, "/livez", START_MAX).map_err(|error| {
            let log = std::fs::read_to_string(&log).unwrap_or_default();
            format!("the gateway does not serve: {error}\n{log}")
        })?;
        let (program, data) = (program.to_owned(), folder.join("data"));
        Ok(Gateway { running, port, start: served - before, program, config, data, log, ready_at })
    }

    /// Makes a key without limits.
    pub fn free_key(&self) -> Outcome<String> {
        self.create_key("free", &[])
    }

    /// Makes a key with every limit there is, none of which a run reaches.
    pub fn limited_key(&self) -> Outcome<String> {
        self.create_key("limited", &LIMITS)
    }

    fn create_key(&self, name: &str, limits: &[&str]) -> Outcome<String> {
        let told = self.command(&[&["keys", "create", name, "--json"], limits].concat())?;
        let made: serde_json::Value =
            serde_json::from_slice(&told).map_err(|error| format!("no key was made: {error}"))?;
        Ok(made["key"].as_str().ok_or("the answer has no key")?.to_owned())
    }

    /// Asks how it is, over the way that commands take.
    pub fn status(&self) -> Outcome<()> {
        self.command(&["status"]).map(drop)
    }

    /// Has both bundled plugins loaded and listed.
    pub fn load_plugins(&self) -> Outcome<()> {
        let told = self.command(&["plugins", "ls", "--json"])?;
        let ready = String::from_utf8_lossy(&told).matches("\"ready\"").count();
        if ready == 2 { Ok(()) } else { Err(format!("{ready} plugins are ready, not 2").into()) }
    }

    /// What one of its commands says.
    fn command(&self, words: &[&str]) -> Outcome<Vec<u8>> {
        let mut command = Command::new(&self.program);
        command.arg("--config").arg(&self.config).arg("--data-dir").arg(&self.data).args(words);
        let told = command.stdin(Stdio::null()).output()?;
        if told.status.success() {
            return Ok(told.stdout);
        }
        Err(format!("{}: {}", words.join(" "), String::from_utf8_lossy(&told.stderr)).into())
    }
}

/// Every limit there is.
const LIMITS: [&str; 8] = [
    "--rpm",
    "4000000000",
    "--tpm",
    "1000000000000",
    "--parallel",
    "4000",
    "--day-budget",
    "1000000000000000",
];

fn configuration(port: u16, upstream: u16, load: Duration, ready_at: &Path) -> Outcome<String> {
    let this = std::env::current_exe()?;
    Ok(format!(
        r#"[server]
listen = "127.0.0.1:{port}"

[engine.mlx-openai-server]
managed = false
command = [{this:?}, "mock-mlx", "--ready-after-ms", "{load_ms}", "--ready-at", {ready_at:?}]

[[profile]]
name = "{URL_PROFILE}"
engine = "url"
url = "http://127.0.0.1:{upstream}/v1"
model = "{URL_PROFILE}"
max_concurrent = 2000
queue = {{ size = 2000, timeout = "1m" }}

[[profile]]
name = "{MLX_PROFILE}"
engine = "mlx-openai-server"
model = "./model"
model_type = "lm"
keep_alive = "forever"
max_concurrent = 2000
queue = {{ size = 2000, timeout = "1m" }}
"#,
        load_ms = load.as_millis(),
    ))
}
