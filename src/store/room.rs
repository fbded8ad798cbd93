//! The room that there is on a disk.

use std::path::Path;

use rustix::fs::statvfs;
use rustix::io::Errno;

use crate::frame::ByteSize;

/// The room on the disk that a store is on, as whoever runs the receiver may use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// What is free.
    pub free: ByteSize,
    /// All of it.
    pub total: ByteSize,
}

impl Room {
    /// The room where a path is. Asks the file system, and may wait for it.
    ///
    /// # Errors
    /// What the system says.
    pub fn at(path: &Path) -> Result<Self, Errno> {
        let found = statvfs(path)?;
        let bytes = |blocks: u64| ByteSize(blocks.saturating_mul(found.f_frsize));
        // What is free to root alone is no room.
        let used = found.f_blocks.saturating_sub(found.f_bfree);
        Ok(Self { free: bytes(found.f_bavail), total: bytes(used.saturating_add(found.f_bavail)) })
    }

    /// The part that is free, from 0 to 1.
    pub fn free_part(&self) -> f64 {
        if self.total.0 == 0 { 0.0 } else { self.free.0 as f64 / self.total.0 as f64 }
    }
}
