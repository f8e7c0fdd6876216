//! Owns how content is named by its SHA-256.

use sha2::{Digest, Sha256};

/// Characters of a digest that tell installations and models apart in a folder's name.
const SHORT_CHARS: usize = 8;

/// Of all parts, one behind the other, in hex.
pub fn hex_sha256(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A digest's beginning.
pub fn short(digest: &str) -> String {
    digest.chars().take(SHORT_CHARS).collect()
}
