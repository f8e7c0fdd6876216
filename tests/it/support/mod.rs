//! A gateway of a test's own: a real process with a folder of its own, ended with the value.

pub mod bombs;
pub mod http;
pub mod people;
pub mod process;
pub mod raw;
pub mod weather;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// How long a test waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Gateway {
    child: Child,
    pub address: String,
    pub folder: Arc<tempfile::TempDir>,
    /// How long it is waited for; longer where it installs an engine first.
    pub patience: Duration,
    log: Arc<Mutex<Vec<String>>>,
}

/// The environment a test's processes get: nothing of the machine's own settings.
fn clean(command: &mut Command, folder: &Path) {
    command.env_clear().env("HOME", folder);
    for name in ["PATH", "TMPDIR", "LLVM_PROFILE_FILE"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
}

impl Gateway {
    /// Serves `profiles` (TOML), with the scripted server as `mlx-openai-server`.
    pub fn start(profiles: &str) -> Gateway {
        Gateway::start_in(Arc::new(tempfile::tempdir().unwrap()), profiles, &[])
    }

    /// The same with variables.
    pub fn with_env(profiles: &str, env: &[(&str, &str)]) -> Gateway {
        Gateway::start_in(Arc::new(tempfile::tempdir().unwrap()), profiles, env)
    }

    /// The same in a folder that is there, as after a crash.
    pub fn start_in(folder: Arc<tempfile::TempDir>, profiles: &str, env: &[(&str, &str)]) -> Gateway {
        write_config(folder.path(), profiles);
        Gateway::serve(folder, env)
    }

    /// Serves the config.toml that the folder holds.
    pub fn serve(folder: Arc<tempfile::TempDir>, env: &[(&str, &str)]) -> Gateway {
        Gateway::serve_under(folder, env, "exec \"$0\" \"$@\"")
    }

    /// The same, started by a shell that runs `script`: `$0` is the gateway, `$@` its arguments, and the folder
    /// is where it stands. The script ends with `exec`.
    pub fn serve_under(folder: Arc<tempfile::TempDir>, env: &[(&str, &str)], script: &str) -> Gateway {
        let mut child = serve_command(&folder, script).envs(env.iter().copied()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let log = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&log);
        let address = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let found = line
                .split_once("listening on http")
                .map(|(_, rest)| rest.trim_start_matches('s').trim_start_matches("://"))
                .map(|rest| rest.split(' ').next().unwrap().to_owned());
            kept.lock().unwrap().push(line);
            found
        });
        let Some(address) = address else { panic!("the gateway did not start: {:#?}", log.lock().unwrap()) };
        std::thread::spawn(move || {
            lines.map_while(Result::ok).for_each(|line| kept.lock().unwrap().push(line));
        });
        Gateway { child, address, folder, patience: PATIENCE, log }
    }

    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// Its exit code, once it has ended by itself.
    pub fn ended(&mut self) -> Option<i32> {
        wait_for("the gateway's end", || self.child.try_wait().unwrap()).code()
    }

    /// Waits for its end, whichever way it comes.
    pub fn wait(&mut self) {
        self.child.wait().unwrap();
    }

    pub fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    /// Ends it as a crash would.
    pub fn crash(mut self) -> Arc<tempfile::TempDir> {
        self.signal(Signal::SIGKILL);
        self.child.wait().unwrap();
        Arc::clone(&self.folder)
    }

    /// A command of the CLI against it.
    pub fn cli(&self, arguments: &[&str]) -> Output {
        self.cli_with(&[], arguments)
    }

    /// The same with variables.
    pub fn cli_with(&self, env: &[(&str, &str)], arguments: &[&str]) -> Output {
        let mut command = cli_command(&self.folder, arguments);
        command.envs(env.iter().copied()).output().unwrap()
    }

    /// What such a command printed as JSON.
    pub fn cli_json(&self, arguments: &[&str]) -> Value {
        let output = self.cli(&[arguments, &["--json"]].concat());
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {told}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The newest record, once it has the status.
    pub fn record(&self, status: &str) -> Value {
        wait_at_most(self.patience, &format!("a {status} record"), || {
            let requests = self.get("/api/v1/requests?limit=1").json();
            let newest = requests["requests"].get(0).cloned()?;
            (newest["status"] == status).then_some(newest)
        })
    }

    /// The backend of a profile, once it is in the state.
    pub fn backend(&self, profile: &str, state: &str) -> Value {
        wait_at_most(self.patience, &format!("{profile} to be {state}"), || {
            let servers = self.get("/api/v1/servers").json();
            let all = servers["servers"].as_array().unwrap().clone();
            all.into_iter().find(|server| server["id"] == profile && server["state"] == state)
        })
    }

    /// Where the backend of a profile listens.
    pub fn backend_address(&self, profile: &str) -> String {
        format!("127.0.0.1:{}", self.backend(profile, "ready")["port"])
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // TERM, so that its backends end with it; a test that hangs is the runner's to end.
            self.signal(Signal::SIGTERM);
            let until = Instant::now() + Duration::from_secs(20);
            while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < until {
                std::thread::yield_now();
            }
            if matches!(self.child.try_wait(), Ok(None)) {
                drop(self.child.kill());
            }
        }
        if std::thread::panicking() {
            eprintln!("--- the gateway's log\n{}", self.log());
        }
        drop(self.child.wait());
    }
}

/// A gateway that is to be served, by a shell that runs `script`.
fn serve_command(folder: &tempfile::TempDir, script: &str) -> Command {
    let mut command = Command::new("sh");
    clean(&mut command, folder.path());
    command.current_dir(folder.path()).args(["-c", script, env!("CARGO_BIN_EXE_mlx-gateway")]);
    command.args(["serve", "--config"]).arg(folder.path().join("config.toml"));
    command.arg("--data-dir").arg(folder.path().join("data"));
    command.stdin(Stdio::null()).stderr(Stdio::piped());
    command
}

/// One that cannot be served, until it has ended.
pub fn run_under(folder: &tempfile::TempDir, script: &str) -> Output {
    serve_command(folder, script).output().unwrap()
}

/// One that says nothing on standard error; its end is the caller's.
pub fn spawn_under(folder: &tempfile::TempDir, script: &str) -> Child {
    serve_command(folder, script).stderr(Stdio::null()).spawn().unwrap()
}

/// A command of the CLI over a folder's configuration and data, whether or not a gateway runs there.
pub fn cli_in(folder: &tempfile::TempDir, arguments: &[&str]) -> Output {
    cli_command(folder, arguments).output().unwrap()
}

pub fn cli_command(folder: &tempfile::TempDir, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mlx-gateway"));
    clean(&mut command, folder.path());
    command.arg("--config").arg(folder.path().join("config.toml"));
    command.arg("--data-dir").arg(folder.path().join("data")).args(arguments).stdin(Stdio::null());
    command
}

pub fn write_config(folder: &Path, profiles: &str) {
    let model = folder.join("model");
    std::fs::create_dir_all(&model).unwrap();
    std::fs::write(
        model.join("config.json"),
        r#"{"model_type":"qwen3","architectures":["Qwen3ForCausalLM"]}"#,
    )
    .unwrap();
    let fake = crate::fake::program();
    let sections = if profiles.contains("[server]") {
        ""
    } else {
        "[server]\nlisten = \"127.0.0.1:0\"\nshutdown_grace = \"5s\"\n"
    };
    let engine = format!(
        "[engine.mlx-openai-server]\nmanaged = false\ncommand = [{:?}]\n",
        fake.display().to_string()
    );
    std::fs::write(folder.join("config.toml"), format!("{sections}{engine}{profiles}")).unwrap();
}

/// Looks until `found` gives something; the condition is always one that another process brings about.
pub fn wait_for<T>(what: &str, found: impl FnMut() -> Option<T>) -> T {
    wait_at_most(PATIENCE, what, found)
}

fn wait_at_most<T>(patience: Duration, what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + patience;
    loop {
        if let Some(value) = found() {
            return value;
        }
        assert!(Instant::now() < until, "waited {} s in vain for {what}", patience.as_secs());
        std::thread::yield_now();
    }
}

/// Whether a process is there.
pub fn lives(pid: i64) -> bool {
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), None).is_ok()
}

/// Processes of a group that still run; one that has ended and waits to be collected does not.
pub fn living_members(group: i64) -> Vec<i64> {
    let listed = Command::new("ps").args(["-A", "-o", "pid=,pgid=,stat="]).output().unwrap();
    let text = String::from_utf8(listed.stdout).unwrap();
    let members = text.lines().filter_map(|line| {
        let mut columns = line.split_whitespace();
        let pid: i64 = columns.next()?.parse().ok()?;
        let in_group = columns.next()? == group.to_string();
        (in_group && !columns.next()?.starts_with('Z')).then_some(pid)
    });
    members.collect()
}

/// Two profiles on the scripted server, and one that shares the first one's backend.
pub const PROFILES: &str = r#"
[[profile]]
name = "qwen"
aliases = ["gpt-4o-mini", "claude-*"]
model = "./model"

[[profile]]
name = "qwen-terse"
model = "./model"
system_prompt = "Be terse."
defaults = { temperature = 0.5 }

[[profile]]
name = "other"
model = "./model"
context_length = 1000
"#;
