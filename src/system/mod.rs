//! What the machine says: time, memory, processes. Knows nothing of backends or requests.

pub mod clock;
pub mod disk;
pub mod files;
pub mod foreground;
pub mod limits;
#[cfg(target_os = "linux")]
mod linux;
mod machine;
#[cfg(target_os = "macos")]
mod macos;
pub mod memory;
pub mod network;
pub mod offload;
pub mod parse;
pub mod private;
mod probe;
pub mod process;
pub mod readings;
pub mod service;
pub mod terminal;
mod tree;

pub use machine::{Gpu, Machine, Pressure, Thermal};
pub use probe::{Probe, SystemProbe};
pub use tree::{Tree, descendants, tree_time};
