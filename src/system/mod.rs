//! What the machine says: time, memory, processes. Knows nothing of backends or requests.

pub mod clock;
pub mod disk;
pub mod foreground;
pub mod limits;
#[cfg(target_os = "linux")]
mod linux;
mod machine;
#[cfg(target_os = "macos")]
mod macos;
pub mod memory;
pub mod network;
#[cfg_attr(
    not(any(target_os = "macos", test)),
    expect(dead_code, reason = "what only macOS says is tested everywhere")
)]
mod parse;
mod probe;
pub mod process;
pub mod readings;
pub mod service;
mod tree;

pub use machine::{Gpu, Machine, Pressure, Thermal};
pub use probe::{Probe, SystemProbe};
pub use tree::{Tree, descendants, tree_time};
