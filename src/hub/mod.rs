//! Models on the hub and on this machine: finding them, fetching them, keeping the library tidy. The
//! only module that names hf_hub. Knows nothing of HTTP to clients, of profiles or of backends.

pub mod answers;
mod client;
pub mod downloads;
mod error;
mod files;
mod inspect;
mod library;
mod search;
mod token;
mod wire;

pub use client::HubClient;
pub use error::HubError;
pub use files::{Digest, RepoFile};
pub use inspect::HubFacts;
pub use library::{Library, LibraryError, Listing, LocalModel, ModelSource};
pub use search::{Details, FileEntry, Hit, LIMIT, Query, REACH, Sort};
pub use token::{Token, TokenOrigin, TokenPlaces};

use std::path::PathBuf;
use std::sync::Arc;

use crate::events::Bus;
use crate::models::FactsCache;
use crate::store::{Store, StoreError, downloads as rows};
use crate::system::clock::Clock;
use crate::system::disk;
use downloads::{Backoff, Downloads, DownloadsDeps};

/// What this module needs of the rest.
pub struct HubDeps {
    pub endpoint: String,
    pub token: TokenPlaces,
    /// The Hugging Face cache.
    pub cache: PathBuf,
    /// Folders with models, beside the cache.
    pub folders: Vec<PathBuf>,
    pub store: Store,
    pub events: Bus,
    pub clock: Arc<dyn Clock>,
}

/// All of it; a cheap handle.
#[derive(Clone)]
pub struct Hub {
    pub client: Arc<HubClient>,
    pub downloads: Downloads,
    pub library: Library,
    pub facts: Arc<HubFacts>,
    store: Store,
}

impl Hub {
    /// Everything about models of the hub. Fails when the endpoint is no usable URL.
    pub fn new(deps: HubDeps) -> Result<Hub, HubError> {
        let client = Arc::new(HubClient::new(&deps.endpoint, Token::new(deps.token))?);
        let downloads = Downloads::new(DownloadsDeps {
            hub: Arc::clone(&client),
            cache: deps.cache.clone(),
            store: deps.store.clone(),
            events: deps.events,
            clock: deps.clock,
            backoff: Backoff::default(),
            free_bytes: disk::free_bytes,
        });
        let library = Library::new(deps.cache, deps.folders, FactsCache::new());
        Ok(Hub { client, downloads, library, facts: Arc::default(), store: deps.store })
    }

    /// Sets the token of the settings, or forgets it.
    pub async fn set_token(&self, token: Option<String>) -> Result<(), StoreError> {
        rows::set_hub_token(&self.store, token.clone()).await?;
        self.client.token().set_stored(token);
        Ok(())
    }
}
