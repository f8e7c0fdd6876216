//! Tools that WASM plugins provide: the sandbox they run in, the registry of what there is, and the
//! loop that lets a model use them. The only place that names wasmtime; knows neither HTTP routes nor
//! how a model is asked.

pub mod chat;
mod content;
mod error;
mod manifest;
mod permissions;
mod plain;
mod registry;
mod sandbox;
mod schema;

pub use content::{Body, Content, ToolOutput};
pub use error::{CallError, PluginError};
pub use manifest::{Limits, Manifest};
pub use permissions::Permissions;
pub use plain::PlainSchema;
pub use registry::{Added, Bundled, NewPlugin, PluginView, Registry, RegistryDeps, Tool, ToolView, bundled};
pub use sandbox::{Call, Level, Listener, Origin};
