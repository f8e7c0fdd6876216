//! What the machine says: time, memory, processes. Knows nothing of backends or requests.

pub mod clock;
pub mod disk;
#[cfg(target_os = "linux")]
mod linux;
mod machine;
#[cfg(target_os = "macos")]
mod macos;
pub mod memory;
#[cfg_attr(not(target_os = "macos"), expect(dead_code, reason = "what only macOS says is tested everywhere"))]
mod parse;
mod probe;
pub mod process;
mod tree;

pub use machine::{Gpu, Machine, Pressure, Thermal};
pub use probe::{Probe, SystemProbe};
pub use tree::{Tree, tree_time};
