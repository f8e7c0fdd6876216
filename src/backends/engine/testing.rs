//! A made-up machine for tests: a `uv` that is a script and makes environments of scripts, and a
//! data directory. Nothing is fetched.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::env::Vars;
use super::lock::{Lock, Locks};
use super::managed::Managed;
use super::platform::Platform;
use super::{Arrival, Engines, EnginesDeps, ModelFetcher};
use crate::config::{self, EngineKind, LaunchSettings, ModelRef};

pub const OLD: Lock =
    Lock { set: "text", text: "mlx-openai-server==1.7.1 \\\n    --hash=sha256:aa\n", torch_shim: true };
pub const NEW: Lock =
    Lock { set: "text", text: "mlx-openai-server==1.8.1 \\\n    --hash=sha256:bb\n", torch_shim: true };

/// `uv`: notes what it is asked, makes an environment, fails where a file beside it says so.
const UV: &str = r#"#!/bin/sh
here=${0%/*}
echo "$*" >>"$here/uv.asked"
for last; do :; done
case "$1" in
  --version) echo uv 9.9.9 ;;
  venv) mkdir -p "$last/bin" "$last/lib/python3.12/site-packages" && cp "$here/fake-python" "$last/bin/python" ;;
  pip)
    [ ! -e "$here/no-network" ] || { echo no network >&2; exit 1; }
    bin=${5%/*}
    cp "$here/fake-server" "$bin/mlx-openai-server"
    cp "$here/fake-server" "$bin/mlx_lm.server"
    ;;
esac
"#;

/// `python`: makes a "demo model".
const PYTHON: &str = r#"#!/bin/sh
cat >/dev/null
mkdir -p "$3" && echo '{"model_type":"llama"}' >"$3/config.json"
"#;

/// The server: tells its options and, when launched, answers; or ends at once, without an error
/// code, as one that could not load its model does.
const SERVER: &str = r#"#!/usr/bin/env python3
import http.server, json, os, sys
if "--version" in sys.argv:
    print("Version: 1.8.1")
    sys.exit()
if "--help" in sys.argv:
    print(open("HELP").read())
    sys.exit()
print("Loading the model")
if os.path.exists("BROKEN"):
    print("The model could not be loaded")
    sys.exit(0)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer({"status": "ok"})
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.answer({"choices": [{"message": {"content": "Hello"}}]})
    def answer(self, value):
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
port = int(sys.argv[sys.argv.index("--port") + 1])
http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"#;

/// Fetches a model that the test put there, and notes it.
struct Shelf(PathBuf);

impl ModelFetcher for Shelf {
    fn find(&self, _id: &str) -> Option<PathBuf> {
        self.0.with_file_name("fetched").exists().then(|| self.0.clone())
    }

    fn fetch<'a>(
        &'a self,
        id: &'a str,
        report: &'a (dyn Fn(Arrival) + Send + Sync),
    ) -> BoxFuture<'a, Result<PathBuf, String>> {
        report(Arrival { done_bytes: 5, total_bytes: 10 });
        std::fs::write(self.0.with_file_name("fetched"), id).unwrap();
        std::future::ready(Ok(self.0.clone())).boxed()
    }
}

/// The machine; gone when dropped.
pub struct Machine {
    pub root: tempfile::TempDir,
    pub host: Vars,
}

impl Machine {
    pub fn new() -> Machine {
        let root = tempfile::tempdir().unwrap();
        let bin = root.path().join("bin");
        std::fs::create_dir_all(&bin).unwrap();
        std::fs::create_dir_all(root.path().join("home")).unwrap();
        let help = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/engine/help-1.8.1.txt");
        let broken = root.path().join("broken");
        let server = SERVER.replace("HELP", help).replace("BROKEN", &broken.display().to_string());
        for (name, text) in [("uv", UV), ("fake-python", PYTHON), ("fake-server", &server)] {
            let path = bin.join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let path = std::env::var_os("PATH").unwrap();
        let path = std::env::join_paths(std::iter::once(bin).chain(std::env::split_paths(&path)));
        let host = Vars::from([
            ("PATH".into(), path.unwrap()),
            ("HOME".into(), root.path().join("home").into()),
            ("HF_TOKEN".into(), "hub-token".into()),
        ]);
        Machine { root, host }
    }

    pub fn managed(&self) -> Managed {
        Managed {
            root: self.root.path().join("data/engines"),
            locks: Locks::shipped(Platform::LinuxX86_64),
            host: self.host.clone(),
            platform: Platform::LinuxX86_64,
            index_url: None,
        }
    }

    /// Engines of a gateway that ships `lock`.
    pub fn engines(&self, lock: Lock) -> Engines {
        self.engines_with(lock, config::ManagedEngine::default())
    }

    pub fn engines_with(&self, lock: Lock, server: config::ManagedEngine) -> Engines {
        let deps = EnginesDeps {
            data_dir: self.root.path().join("data"),
            config: config::Engines { mlx_openai_server: server },
            hub: config::Hub {
                endpoint: "http://hub.invalid".to_owned(),
                token: None,
                token_file: None,
                folders: vec![],
            },
            models: Arc::new(Shelf(self.root.path().join("home/hub-model"))),
            budget_bytes: 16 * 1024 * 1024 * 1024,
            environment: self.host.clone(),
        };
        let platform = Platform::LinuxX86_64;
        Engines::with(deps, platform, Locks::shipped(platform).with_lm(lock))
    }

    /// What uv was asked to do, its version aside.
    pub fn asked(&self) -> Vec<String> {
        let asked = std::fs::read_to_string(self.bin("uv.asked")).unwrap_or_default();
        asked.lines().filter(|line| *line != "--version").map(str::to_owned).collect()
    }

    pub fn bin(&self, name: &str) -> PathBuf {
        self.root.path().join("bin").join(name)
    }

    pub fn set(&self, path: &str, is_there: bool) {
        let path = self.root.path().join(path);
        if is_there {
            std::fs::write(path, "").unwrap();
        } else {
            std::fs::remove_file(path).unwrap();
        }
    }

    /// A model's folder with a configuration and a chat template.
    pub fn model(&self, path: &str, config: &str, template: &str) -> PathBuf {
        let folder = self.root.path().join(path);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("config.json"), config).unwrap();
        std::fs::write(folder.join("chat_template.jinja"), template).unwrap();
        std::fs::write(folder.join("model.safetensors"), "").unwrap();
        folder
    }

    /// Text with the machine's own folder left out, to compare.
    pub fn neutral(&self, text: &str) -> String {
        text.replace(&self.root.path().display().to_string(), "ROOT")
    }

    pub fn instance(&self) -> PathBuf {
        self.root.path().join("instance")
    }
}

pub fn settings(engine: EngineKind, model: Option<ModelRef>) -> LaunchSettings {
    LaunchSettings {
        engine,
        model,
        command: Vec::new(),
        upstream: None,
        model_type: None,
        context_length: None,
        structured: false,
        extra_args: Vec::new(),
        env: Default::default(),
        trust_remote_code: false,
        memory: None,
    }
}

pub fn folder(path: &Path) -> Option<ModelRef> {
    Some(ModelRef::Folder(path.to_owned()))
}
