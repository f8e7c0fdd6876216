//! How much room a disk has. Unknown is `None`, never 0.

use std::path::Path;

/// Bytes that this user may still write where `path` is, or will be: its nearest folder that exists.
pub fn free_bytes(path: &Path) -> Option<u64> {
    let there = path.ancestors().find(|folder| folder.exists())?;
    let disk = nix::sys::statvfs::statvfs(there).ok()?;
    // The types differ between platforms.
    #[cfg_attr(target_os = "linux", expect(clippy::useless_conversion, reason = "32 bits on macOS"))]
    let blocks = u64::from(disk.blocks_available());
    #[cfg_attr(target_os = "linux", expect(clippy::useless_conversion, reason = "32 bits on 32-bit systems"))]
    let size = u64::from(disk.fragment_size());
    Some(blocks.saturating_mul(size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_known_of_a_folder_that_is_not_made_yet() {
        let dir = tempfile::tempdir().unwrap();
        assert!(free_bytes(&dir.path().join("a/b")).unwrap() > 0);
    }
}
