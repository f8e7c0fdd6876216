//! The machine's memory and name. Unknown is `None`, never 0.

use sysinfo::{MemoryRefreshKind, System};

/// Bytes of memory in this machine.
pub fn total_bytes() -> Option<u64> {
    let mut system = System::new().ok()?;
    system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
    Some(system.total_memory()).filter(|bytes| *bytes > 0)
}

/// Bytes that models can have at most: on macOS what Metal may keep resident, elsewhere everything.
pub fn usable_bytes() -> Option<u64> {
    #[cfg(target_os = "macos")]
    return total_bytes().map(super::macos::working_set);
    #[cfg(not(target_os = "macos"))]
    total_bytes()
}

/// This machine's name on the network.
pub fn host_name() -> Option<String> {
    System::host_name().ok()
}
