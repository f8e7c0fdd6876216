//! What the machine says: time, memory, processes. Knows nothing of backends or requests.

pub mod clock;
pub mod cpu;
pub mod disk;
pub mod memory;
pub mod process;
