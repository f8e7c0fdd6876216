//! The files of a model on the hub: which of them are wanted, and by which hash each is known. Pure.

use serde::Deserialize;

use super::error::HubError;

/// Ends of names of files in formats that MLX does not read.
const LEFT_OUT_ENDINGS: &[&str] = &[
    ".bin", ".pt", ".pth", ".ckpt", ".gguf", ".onnx", ".msgpack", ".h5", ".ot", ".tflite", ".png", ".jpg",
    ".jpeg", ".gif", ".mp4", ".webp",
];
const LEFT_OUT_FOLDERS: &[&str] = &["onnx/", "openvino/", "original/", "coreml/"];
/// Files of one model; a repository with more is not a model.
pub const MAX_FILES: usize = 10_000;

/// A file of a model, as the hub lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepoFile {
    /// Within the model, with slashes.
    pub path: String,
    pub size: u64,
    pub digest: Digest,
}

/// The hash that a file is known by. It is also the hub's ETag, and so the name of its blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Digest {
    /// Large files (LFS, Xet).
    Sha256(String),
    /// Small ones: git's object id, SHA-1 over a head and the bytes.
    GitBlob(String),
}

impl Digest {
    /// The digest in hexadecimal, which is the name of the blob.
    pub fn name(&self) -> &str {
        match self {
            Digest::Sha256(name) | Digest::GitBlob(name) => name,
        }
    }
}

/// An entry of `GET /api/models/{id}/tree/{revision}`.
#[derive(Debug, Deserialize)]
pub struct TreeEntry {
    #[serde(rename = "type")]
    kind: String,
    path: String,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    oid: String,
    lfs: Option<Lfs>,
}

#[derive(Debug, Deserialize)]
struct Lfs {
    /// SHA-256.
    oid: String,
    size: u64,
}

/// The files among the entries of a tree, in their order.
pub fn files(entries: Vec<TreeEntry>) -> Result<Vec<RepoFile>, HubError> {
    entries.into_iter().filter(|entry| entry.kind == "file").map(file).collect()
}

/// Whether a file is fetched with its model.
pub fn is_wanted(path: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    !LEFT_OUT_ENDINGS.iter().any(|ending| lower.ends_with(ending))
        && !LEFT_OUT_FOLDERS.iter().any(|folder| lower.starts_with(folder))
}

fn file(entry: TreeEntry) -> Result<RepoFile, HubError> {
    let TreeEntry { path, size, oid, lfs, .. } = entry;
    let (size, digest) = match lfs {
        Some(lfs) => (lfs.size, Digest::Sha256(lfs.oid.trim_start_matches("sha256:").to_owned())),
        None => (size, Digest::GitBlob(oid)),
    };
    // Both become paths on this machine.
    let length = if matches!(digest, Digest::Sha256(_)) { 64 } else { 40 };
    let plain = digest.name().len() == length && digest.name().bytes().all(|byte| byte.is_ascii_hexdigit());
    if !plain {
        return Err(HubError::Malformed(format!("the hash of {path} is \"{}\"", digest.name())));
    }
    if !is_inside(&path) {
        return Err(HubError::Malformed(format!("a file is named {path:?}")));
    }
    Ok(RepoFile { path, size, digest })
}

/// A path that stays below the folder it is joined to.
fn is_inside(path: &str) -> bool {
    !path.is_empty()
        && !path.contains(['\\', '\0'])
        && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(json: &str) -> Result<Vec<RepoFile>, HubError> {
        files(serde_json::from_str(json).unwrap())
    }

    #[test]
    fn large_files_are_known_by_sha256_and_small_ones_by_gits_id() {
        let (sha, oid) = ("a".repeat(64), "b".repeat(40));
        let listed = parsed(&format!(
            r#"[{{"type":"directory","path":"sub","oid":"{oid}"}},
                {{"type":"file","path":"sub/a.json","size":7,"oid":"{oid}"}},
                {{"type":"file","path":"m.safetensors","size":9,"oid":"{oid}","lfs":{{"oid":"{sha}","size":9,"pointerSize":134}},"xetHash":"x"}}]"#
        ));
        let small = RepoFile { path: "sub/a.json".into(), size: 7, digest: Digest::GitBlob(oid) };
        let large = RepoFile { path: "m.safetensors".into(), size: 9, digest: Digest::Sha256(sha) };
        assert_eq!(listed.unwrap(), [small, large]);
    }

    #[test]
    fn a_name_that_leads_out_of_the_folder_is_refused() {
        let oid = "b".repeat(40);
        for path in ["../x", "/x", "a//b", "a/../../b", "", "a\\\\b"] {
            let listed = parsed(&format!(r#"[{{"type":"file","path":"{path}","size":7,"oid":"{oid}"}}]"#));
            assert!(matches!(listed, Err(HubError::Malformed(_))), "{path}");
        }
        let hash = parsed(r#"[{"type":"file","path":"x","size":7,"oid":"../../x"}]"#);
        assert!(matches!(hash, Err(HubError::Malformed(_))));
    }

    #[test]
    fn what_mlx_does_not_read_stays_where_it_is() {
        for wanted in ["model-00001-of-00002.safetensors", "config.json", "tokenizer.model", "README.md"] {
            assert!(is_wanted(wanted), "{wanted}");
        }
        for unwanted in ["pytorch_model.bin", "onnx/model.json", "banner.PNG", "original/params.json"] {
            assert!(!is_wanted(unwanted), "{unwanted}");
        }
    }
}
