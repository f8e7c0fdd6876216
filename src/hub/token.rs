//! Where the hub's token comes from. It is read when it is needed and never shown.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use serde::Serialize;

use crate::system::{files, offload};

/// Bytes of a file that holds a token.
const FILE_MAX: u64 = 64 << 10;

/// The places a token may stand in; the first that has one counts.
#[derive(Debug, Clone, Default)]
pub struct TokenPlaces {
    /// `HF_TOKEN`.
    pub environment: Option<String>,
    /// `[hub].token_file`.
    pub file: Option<PathBuf>,
    /// The file that the Hugging Face tools keep after a login.
    pub login: Option<PathBuf>,
}

/// Which of them it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TokenOrigin {
    Environment,
    File,
    Store,
    /// `hf auth login` of the Hugging Face tools.
    Login,
}

/// The token as it stands; a cheap handle.
#[derive(Clone, Default)]
pub struct Token(Arc<Inner>);

#[derive(Default)]
struct Inner {
    places: TokenPlaces,
    /// The one from the settings.
    stored: RwLock<Option<String>>,
}

impl Token {
    /// A token that is looked for in these places each time.
    pub fn new(places: TokenPlaces) -> Token {
        Token(Arc::new(Inner { places, stored: RwLock::default() }))
    }

    /// Takes over what the settings hold.
    pub fn set_stored(&self, token: Option<String>) {
        *self.0.stored.write().unwrap_or_else(PoisonError::into_inner) = token;
    }

    /// The token and where it came from: environment > file > store > login. A file that does not answer in time counts
    /// as none.
    pub async fn find(&self) -> Option<(String, TokenOrigin)> {
        let places = &self.0.places;
        let Some(place) = places.file.as_ref().or(places.login.as_ref()) else { return self.look() };
        let token = self.clone();
        offload::run(place, offload::REQUEST_TIME, move || token.look()).await.ok()?
    }

    fn look(&self) -> Option<(String, TokenOrigin)> {
        let places = &self.0.places;
        let some = |token: String, origin| (!token.is_empty()).then_some((token, origin));
        let stored = || self.0.stored.read().unwrap_or_else(PoisonError::into_inner).clone();
        places
            .environment
            .clone()
            .and_then(|token| some(token, TokenOrigin::Environment))
            .or_else(|| read(places.file.as_deref()?).and_then(|token| some(token, TokenOrigin::File)))
            .or_else(|| stored().and_then(|token| some(token, TokenOrigin::Store)))
            .or_else(|| read(places.login.as_deref()?).and_then(|token| some(token, TokenOrigin::Login)))
    }

    /// The token itself, wherever it is from.
    pub async fn value(&self) -> Option<String> {
        self.find().await.map(|(token, _)| token)
    }
}

fn read(path: &Path) -> Option<String> {
    match files::read_to_string(path, FILE_MAX) {
        Ok(text) => Some(text.trim().to_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => {
            tracing::warn!(file.path = %path.display(), %error, "The hub's token file cannot be read");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_wins_over_the_file_over_the_store_over_a_login() {
        let dir = tempfile::tempdir().unwrap();
        let (file, login) = (dir.path().join("file"), dir.path().join("login"));
        std::fs::write(&login, "from-login\n").unwrap();
        let mut places = TokenPlaces { environment: None, file: Some(file.clone()), login: Some(login) };
        let token = Token::new(places.clone());
        assert_eq!(token.look(), Some(("from-login".into(), TokenOrigin::Login)));
        token.set_stored(Some("from-store".into()));
        assert_eq!(token.look(), Some(("from-store".into(), TokenOrigin::Store)));
        std::fs::write(&file, " from-file\n").unwrap();
        assert_eq!(token.look(), Some(("from-file".into(), TokenOrigin::File)));
        places.environment = Some("from-environment".into());
        assert_eq!(Token::new(places).look(), Some(("from-environment".into(), TokenOrigin::Environment)));
    }
}
