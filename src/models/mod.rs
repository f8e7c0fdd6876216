//! What a model's folder says about itself: kind, architecture, chat template. Reads small files
//! only, never weights, and never a network. Knows nothing of engines and their flags.

mod facts;
pub mod hub_cache;
pub mod template;

pub use facts::{Facts, FactsError, Kind, read};
