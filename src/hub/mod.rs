//! Models on the hub and on this machine: finding them, fetching them, keeping the library tidy. The
//! only module that names hf_hub. Knows nothing of HTTP to clients, of profiles or of backends.

mod client;
pub mod downloads;
mod error;
mod files;
mod library;
mod search;
mod token;
mod wire;

pub use client::HubClient;
pub use error::HubError;
pub use library::{Library, LibraryError, LocalModel, ModelSource};
pub use search::{Details, FileEntry, Hit, LIMIT, Query, REACH, Sort};
pub use token::{Token, TokenOrigin, TokenPlaces};
