//! Which backends somebody wants kept loaded, whatever their profiles say; a restart of the gateway
//! does not forget it. Knows no process.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::store::{Store, StoreError, pinned_backends};

/// Backends that are kept.
pub struct Pins {
    store: Option<Store>,
    ids: Mutex<BTreeSet<String>>,
}

impl Pins {
    pub fn new(store: Option<Store>) -> Pins {
        Pins { store, ids: Mutex::default() }
    }

    /// Takes over what was pinned before.
    pub async fn load(&self) -> Result<(), StoreError> {
        let Some(store) = &self.store else { return Ok(()) };
        let pinned = pinned_backends::all(store).await?;
        self.lock().extend(pinned);
        Ok(())
    }

    pub fn has(&self, id: &str) -> bool {
        self.lock().contains(id)
    }

    /// In memory only what is in the store as well.
    pub async fn set(&self, id: &str, kept: bool, now_ms: i64) -> Result<(), StoreError> {
        if let Some(store) = &self.store {
            match kept {
                true => pinned_backends::add(store, id.to_owned(), now_ms).await?,
                false => pinned_backends::remove(store, id.to_owned()).await?,
            }
        }
        match kept {
            true => self.lock().insert(id.to_owned()),
            false => self.lock().remove(id),
        };
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_pin_outlives_the_process_until_it_is_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store.db")).unwrap();
        Pins::new(Some(store.clone())).set("qwen", true, 5).await.unwrap();
        let later = Pins::new(Some(store.clone()));
        assert!(!later.has("qwen"));
        later.load().await.unwrap();
        assert!(later.has("qwen") && !later.has("other"));
        later.set("qwen", false, 6).await.unwrap();
        let latest = Pins::new(Some(store));
        latest.load().await.unwrap();
        assert!(!latest.has("qwen") && !later.has("qwen"));
    }
}
