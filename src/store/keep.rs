//! For how long frames are kept.

use std::time::Duration;

use crate::frame::{ByteSize, Share};

/// When days of frames are removed, the oldest first and each as a whole. Nothing is, where nothing is said.
///
/// Never removed are frames of today, of a day in which one was stored within the last 5 s, and files that are not,
/// byte for byte, what the store has put there.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub struct Keep {
    /// A day goes when so much time has passed since the last frame of it was stored.
    pub age: Option<Duration>,
    /// The oldest days go while the frames of the store take more than this.
    pub bytes: Option<ByteSize>,
    /// The oldest days go while less than this part of the disk is free.
    pub free: Option<Share>,
}

impl Keep {
    /// Whether anything is ever removed.
    pub fn removes(&self) -> bool {
        self.age.is_some() || self.has_limit()
    }

    /// Whether there is a limit to what the store takes.
    pub fn has_limit(&self) -> bool {
        self.bytes.is_some() || self.free.is_some()
    }
}
