//! Session tokens: HS256, signed with a secret of this installation.

use std::path::Path;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use super::error::AuthFault;
use super::secret;
use crate::system::{files, private};

/// The secret's file in the data directory.
const FILE: &str = "session.key";
const SECRET_BYTES: usize = 64;
/// Bytes of its file that are read.
const SECRET_FILE_MAX: u64 = 4096;

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The session.
    pub sid: String,
    /// The account's id, or the key's.
    pub sub: String,
    /// The account's version when it was issued; 0 for keys.
    pub ver: i64,
    /// Seconds since 1970.
    pub iat: i64,
    pub exp: i64,
}

/// Signs and reads tokens.
pub struct Tokens {
    signing: EncodingKey,
    reading: DecodingKey,
    validation: Validation,
}

impl Tokens {
    /// With the secret of the data directory, made when it is not there.
    pub fn open(data_dir: &Path) -> Result<Tokens, AuthFault> {
        let path = data_dir.join(FILE);
        let kept = match files::read(&path, SECRET_FILE_MAX) {
            Ok(kept) if kept.len() >= SECRET_BYTES => {
                close_to_others(&path)?;
                kept
            }
            _ => make(&path)?,
        };
        Ok(Tokens::with(&kept))
    }

    fn with(key: &[u8]) -> Tokens {
        // One algorithm, whatever a token's header says. The time is checked by the clock of ours.
        let mut validation = Validation::new(Algorithm::HS256);
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.set_required_spec_claims(&["exp", "sub"]);
        Tokens { signing: EncodingKey::from_secret(key), reading: DecodingKey::from_secret(key), validation }
    }

    /// The claims as a signed token (JWT, HS256).
    pub fn sign(&self, claims: &Claims) -> Result<String, AuthFault> {
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &self.signing)
            .map_err(|error| AuthFault::Internal(error.to_string()))
    }

    /// What a token says, if it is one of ours and has not expired.
    pub fn read(&self, token: &str, now_ms: i64) -> Option<Claims> {
        let read = jsonwebtoken::decode::<Claims>(token, &self.reading, &self.validation);
        read.ok().map(|data| data.claims).filter(|claims| claims.exp > now_ms / 1000)
    }
}

fn make(path: &Path) -> Result<Vec<u8>, AuthFault> {
    let failed = |error: std::io::Error| {
        AuthFault::Internal(format!("the secret for sessions {} cannot be made: {error}", path.display()))
    };
    let made = secret::random::<SECRET_BYTES>()?.to_vec();
    private::replace(path, &made).map_err(failed)?;
    Ok(made)
}

fn close_to_others(path: &Path) -> Result<(), AuthFault> {
    files::open(path).and_then(|file| private::restrict(&file)).map_err(|error| {
        AuthFault::Internal(format!("{} cannot be closed to others: {error}", path.display()))
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    const NOW_MS: i64 = 1_795_348_800_000;

    fn claims() -> Claims {
        Claims { sid: "s".into(), sub: "u".into(), ver: 3, iat: NOW_MS / 1000, exp: NOW_MS / 1000 + 60 }
    }

    fn unsigned(header: &str, claims: &Claims) -> String {
        let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
        format!("{}.{}", encode(header), encode(&serde_json::to_string(claims).unwrap()))
    }

    #[test]
    fn a_token_says_what_was_signed_until_it_expires() {
        let tokens = Tokens::with(&[7; 64]);
        let token = tokens.sign(&claims()).unwrap();
        assert_eq!(tokens.read(&token, NOW_MS), Some(claims()));
        assert_eq!(tokens.read(&token, NOW_MS + 59_000), Some(claims()));
        assert_eq!(tokens.read(&token, NOW_MS + 60_000), None);
    }

    #[test]
    fn a_tampered_token_is_none() {
        let tokens = Tokens::with(&[7; 64]);
        let token = tokens.sign(&claims()).unwrap();
        let parts: Vec<&str> = token.split('.').collect();
        let richer = Claims { ver: 4, ..claims() };
        let payload = URL_SAFE_NO_PAD.encode(serde_json::to_string(&richer).unwrap());
        assert_eq!(tokens.read(&format!("{}.{payload}.{}", parts[0], parts[2]), NOW_MS), None);
        assert_eq!(tokens.read(&format!("{}.{}.", parts[0], parts[1]), NOW_MS), None);
        assert_eq!(Tokens::with(&[8; 64]).read(&token, NOW_MS), None, "another installation's");
        for nonsense in ["", ".", "..", "a.b.c", "é.é.é"] {
            assert_eq!(tokens.read(nonsense, NOW_MS), None, "{nonsense}");
        }
    }

    #[test]
    fn another_algorithm_is_never_believed() {
        let tokens = Tokens::with(&[7; 64]);
        for header in [r#"{"alg":"none","typ":"JWT"}"#, r#"{"alg":"None"}"#, r#"{"typ":"JWT"}"#] {
            assert_eq!(tokens.read(&format!("{}.", unsigned(header, &claims())), NOW_MS), None, "{header}");
        }
        for algorithm in [Algorithm::HS384, Algorithm::HS512] {
            let signed =
                jsonwebtoken::encode(&Header::new(algorithm), &claims(), &EncodingKey::from_secret(&[7; 64]))
                    .unwrap();
            assert_eq!(tokens.read(&signed, NOW_MS), None, "{algorithm:?} with the right secret");
        }
    }

    #[test]
    fn the_secret_is_random_kept_and_its_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        let token = Tokens::open(dir.path()).unwrap().sign(&claims()).unwrap();
        let path = dir.path().join(FILE);
        let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(), 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(Tokens::open(dir.path()).unwrap().read(&token, NOW_MS).is_some(), "kept");
        assert_eq!(mode(), 0o600);
        let other = tempfile::tempdir().unwrap();
        assert!(Tokens::open(other.path()).unwrap().read(&token, NOW_MS).is_none(), "random");
    }
}
