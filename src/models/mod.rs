//! What a model says about itself: kind, architecture, size, memory per token, abilities. Fed from a
//! folder or from a hub's answers, which are handed in; never reads weights, and never a network.
//! Knows nothing of engines beyond the names of their parsers, and nothing of profiles.

mod abilities;
mod attention;
mod cache;
mod card;
mod config;
mod context;
mod facts;
pub mod fit;
mod folder;
pub mod hub_cache;
mod kind;
pub mod parsers;
mod quantization;
pub mod safetensors;
mod sources;
mod suggest;
pub mod template;
mod weights;

#[cfg(test)]
mod tests;

pub use abilities::Ability;
pub use attention::{KvCache, KvLayers};
pub use cache::{FactsCache, MOST_CACHED};
pub use facts::{Facts, Kind, Known, Modality, Source, Thinking};
pub use folder::{FactsError, read};
pub use quantization::Quantization;
pub use sources::{ModelFile, Sources, inspect};
pub use suggest::{Suggestion, suggest};
