//! The tests' side of the fake hub: starts it over a folder of models, scripts it, asks what it has seen.
//! Use it with `#[path = "../hub/spawn.rs"] mod hub;` beside `mod fake;`.
#![allow(dead_code, reason = "each test uses what it needs")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::fake;

/// A hub of the test's own; ends with the value.
pub struct FakeHub {
    child: Child,
    pub authority: String,
    folder: tempfile::TempDir,
}

/// Bytes that no two models share, the same in every run.
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

impl FakeHub {
    /// A hub without models.
    pub fn start() -> FakeHub {
        let folder = tempfile::tempdir().unwrap();
        let mut child = Command::new(fake::example("fake_hub", "tests/hub"))
            .arg("--root")
            .arg(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("fake_hub starts");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = lines.next().unwrap().unwrap();
        let authority = line.rsplit("http://").next().unwrap().to_owned();
        FakeHub { child, authority, folder }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.authority)
    }

    /// What the gateway needs in its environment.
    pub fn env(&self) -> [(&'static str, String); 1] {
        [("HF_ENDPOINT", self.url())]
    }

    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    /// The folder of a model.
    pub fn folder(&self, id: &str) -> PathBuf {
        self.folder.path().join(id)
    }

    /// Puts a file of a model on the hub.
    pub fn put(&self, id: &str, path: &str, bytes: &[u8]) {
        let place = self.folder(id).join(path);
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        std::fs::write(place, bytes).unwrap();
    }

    /// A model with a configuration, a file in a folder, and `bytes` of weights in two files.
    pub fn model(&self, id: &str, bytes: usize) {
        let config = json!({"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"],
            "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
            "head_dim": 16, "max_position_embeddings": 4096, "quantization": {"bits": 4, "group_size": 64}});
        self.put(id, "config.json", config.to_string().as_bytes());
        self.put(id, "README.md", b"---\nlicense: apache-2.0\n---\n# A model\n");
        self.put(id, "sub dir/notes #1.txt", b"hello");
        self.put(id, "pytorch_model.bin", b"not for MLX");
        let seed = id.len() as u64;
        self.put(id, "model-00001-of-00002.safetensors", &noise(bytes / 2, seed));
        self.put(id, "model-00002-of-00002.safetensors", &noise(bytes - bytes / 2, seed + 1));
        let index = json!({"metadata": {"total_size": bytes}, "weight_map":
            {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}});
        self.put(id, "model.safetensors.index.json", index.to_string().as_bytes());
    }

    /// What goes wrong from now on; see README.md here.
    pub fn faults(&self, faults: &Value) {
        let told = fake::exchange(&self.authority, "POST /__faults", &faults.to_string());
        assert!(told.contains("true"), "{told}");
    }

    pub fn seen(&self) -> Vec<Value> {
        let told: Value = serde_json::from_str(&fake::exchange(&self.authority, "GET /__seen", "")).unwrap();
        told["requests"].as_array().unwrap().clone()
    }

    pub fn forget(&self) {
        fake::exchange(&self.authority, "DELETE /__seen", "");
    }

    /// Nobody answers any more.
    pub fn stop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Drop for FakeHub {
    fn drop(&mut self) {
        self.stop();
    }
}
