//! The hashes of files as the hub tells them: SHA-256, and git's object id.

use std::io::Read;
use std::path::Path;

use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};

pub fn sha256(path: &Path) -> String {
    hashed(path, Context::new(&SHA256))
}

pub fn git_oid(path: &Path, size: u64) -> String {
    let mut hash = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(format!("blob {size}\0").as_bytes());
    hashed(path, hash)
}

/// Stands for a commit: it changes when a text does.
pub fn of_text(text: &str) -> String {
    let mut hash = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(text.as_bytes());
    hex(hash)
}

fn hashed(path: &Path, mut hash: Context) -> String {
    let mut file = std::fs::File::open(path).expect("a file of a model can be read");
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).expect("a file of a model can be read") {
            0 => return hex(hash),
            read => hash.update(&buffer[..read]),
        }
    }
}

fn hex(hash: Context) -> String {
    hash.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
