//! The models below the root: folders `OWNER/NAME`, what `.hub.json` in them says, their files.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};
use std::time::SystemTime;

use serde_json::{Value, json};

use crate::digest;

/// What the hub says of a model beyond its files; not served as a file.
const ABOUT: &str = ".hub.json";

pub struct Model {
    pub id: String,
    pub about: Value,
    pub files: Vec<File>,
    pub commit: String,
}

#[derive(Clone)]
pub struct File {
    pub path: String,
    pub place: PathBuf,
    pub size: u64,
    pub oid: String,
    /// SHA-256 of one that is stored apart.
    pub lfs: Option<String>,
}

impl Model {
    pub fn find(root: &Path, id: &str, large: u64) -> Option<Model> {
        let folder = root.join(id);
        if id.split('/').count() != 2 || id.contains("..") || !folder.is_dir() {
            return None;
        }
        let about = std::fs::read(folder.join(ABOUT)).ok();
        let about = about.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or(json!({}));
        let mut files = Vec::new();
        list(&folder, "", large, &mut files);
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let state: String = files.iter().map(|file| format!("{} {}\n", file.path, file.oid)).collect();
        Some(Model { id: id.to_owned(), about, files, commit: digest::of_text(&state) })
    }

    pub fn all(root: &Path, large: u64) -> Vec<Model> {
        let mut ids = Vec::new();
        for owner in folders(root) {
            for name in folders(&root.join(&owner)) {
                ids.push(format!("{owner}/{name}"));
            }
        }
        ids.sort();
        ids.iter().filter_map(|id| Model::find(root, id, large)).collect()
    }

    pub fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    pub fn is_gated(&self) -> bool {
        self.about.get("gated").is_some_and(|gated| *gated != json!(false))
    }

    /// As `GET /api/models/{id}` and the entries of a list show it.
    pub fn info(&self) -> Value {
        let about = |name: &str, otherwise: Value| self.about.get(name).cloned().unwrap_or(otherwise);
        let config: Option<Value> = self
            .file("config.json")
            .and_then(|file| std::fs::read(&file.place).ok())
            .and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let siblings: Vec<Value> = self.files.iter().map(|file| json!({"rfilename": file.path})).collect();
        json!({
            "_id": "0123456789abcdef01234567",
            "id": self.id,
            "modelId": self.id,
            "author": self.id.split('/').next(),
            "sha": self.commit,
            "lastModified": about("lastModified", json!("2026-10-01T12:00:00.000Z")),
            "createdAt": about("createdAt", json!("2026-09-01T12:00:00.000Z")),
            "private": false,
            "gated": about("gated", json!(false)),
            "disabled": false,
            "downloads": about("downloads", json!(0)),
            "likes": about("likes", json!(0)),
            "library_name": about("library_name", json!("mlx")),
            "pipeline_tag": about("pipeline_tag", json!("text-generation")),
            "tags": about("tags", json!(["mlx", "safetensors", "license:apache-2.0"])),
            "config": config.map(|config| json!({
                "architectures": config.get("architectures"), "model_type": config.get("model_type"),
            })),
            "siblings": siblings,
            "spaces": [],
        })
    }
}

fn folders(of: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(of).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.path().is_dir());
    folders.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn list(folder: &Path, below: &str, large: u64, into: &mut Vec<File>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let (name, place) = (entry.file_name().to_string_lossy().into_owned(), entry.path());
        let path = format!("{below}{name}");
        if place.is_dir() {
            list(&place, &format!("{path}/"), large, into);
        } else if name != ABOUT {
            into.push(file(path, place, large));
        }
    }
}

type Hashes = HashMap<(PathBuf, u64, Option<SystemTime>), (String, Option<String>)>;

/// Hashed once for each state of a file.
fn file(path: String, place: PathBuf, large: u64) -> File {
    static KNOWN: OnceLock<Mutex<Hashes>> = OnceLock::new();
    let meta = std::fs::metadata(&place).expect("a file of a model is there");
    let size = meta.len();
    let key = (place.clone(), size, meta.modified().ok());
    let known = KNOWN.get_or_init(Mutex::default);
    let found = known.lock().unwrap().get(&key).cloned();
    let (oid, lfs) = found.unwrap_or_else(|| {
        let lfs = (size >= large || path.ends_with(".safetensors")).then(|| digest::sha256(&place));
        let hashes = (digest::git_oid(&place, size), lfs);
        known.lock().unwrap().insert(key, hashes.clone());
        hashes
    });
    File { path, place, size, oid, lfs }
}
