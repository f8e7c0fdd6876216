//! Random secrets and their digests. A secret is shown once; what is kept of it is a digest.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::error::AuthFault;

/// Random bytes of every secret that is handed out.
const SECRET_BYTES: usize = 32;

/// `prefix` and 256 random bits as text.
pub fn secret(prefix: &str) -> Result<String, AuthFault> {
    Ok(format!("{prefix}{}", URL_SAFE_NO_PAD.encode(random::<SECRET_BYTES>()?)))
}

pub fn random<const N: usize>() -> Result<[u8; N], AuthFault> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| AuthFault::Random(error.to_string()))?;
    Ok(bytes)
}

/// Secrets have enough random bits for a plain digest to be a safe name for them.
pub fn digest(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

/// A new id for a row.
pub fn new_id() -> String {
    Uuid::now_v7().to_string()
}
