//! Whether frames can be stored just now: the store's folder is there, and its disk takes them.

use std::path::Path;

use rustix::io::Errno;

use crate::frame::{ByteSize, UnixNanos};
use crate::receiver::Trouble;
use crate::store::Room;

/// What a frame takes on a disk beside its own bytes: its line, its name, and what a file system keeps for itself.
const BESIDE: u64 = 64 * 1024;

/// With less than this nothing is stored at all.
const NOTHING: u64 = 4_096;

/// A disk that failed is taken to be well again after so long without another failure: nobody else finds out.
const FAILED_FOR: u64 = 60 * 1_000_000_000;

/// The disk at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Disk {
    pub(super) at: UnixNanos,
    /// Whether the folder that frames are stored in is there.
    pub(super) is_there: bool,
    pub(super) room: Option<Room>,
}

impl Disk {
    /// Looks. Blocks on the disk.
    pub(super) fn look(root: &Path) -> Self {
        let at = UnixNanos::now();
        let is_there = root.is_dir();
        Self { at, is_there, room: Room::at(root).ok().filter(|_| is_there) }
    }

    /// Why it takes no frames, where it does not.
    pub(super) fn refuses(&self, troubles: impl IntoIterator<Item = Trouble>) -> Option<String> {
        if !self.is_there {
            return Some("the store's folder is not there".to_owned());
        }
        let free = self.room.map_or(u64::MAX, |room| room.free.0);
        if free < NOTHING {
            return Some("the disk that frames are stored on is full".to_owned());
        }
        let words = |Trouble { cause, bytes, at }| match cause {
            Errno::NOSPC if at > self.at || free < bytes + BESIDE => Some(format!(
                "the disk that frames are stored on is full: one of {} had no room",
                ByteSize(bytes)
            )),
            Errno::NOSPC => None,
            cause if self.at.0.saturating_sub(at.0) < FAILED_FOR => {
                Some(format!("the disk that frames are stored on takes none: {cause}"))
            }
            _ => None,
        };
        troubles.into_iter().find_map(words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(free: u64, at: u64) -> Disk {
        let room = Room { free: ByteSize(free), total: ByteSize(1 << 30) };
        Disk { at: UnixNanos(at), is_there: true, room: Some(room) }
    }

    fn trouble(cause: Errno, bytes: u64, at: u64) -> Trouble {
        Trouble { cause, bytes, at: UnixNanos(at) }
    }

    #[test]
    fn a_full_disk_is_full_until_there_is_room_for_what_had_none() {
        let full = trouble(Errno::NOSPC, 90_000, 5);
        assert!(disk(80_000, 9).refuses([full]).unwrap().contains("one of 90.0 kB had no room"));
        assert!(disk(90_000 + BESIDE, 9).refuses([full]).is_none());
        // What was seen before it says nothing of it.
        assert!(disk(1 << 30, 4).refuses([full]).is_some());
        assert!(disk(4_000, 9).refuses([]).unwrap().contains("is full"));
        assert!(disk(1 << 30, 9).refuses([]).is_none());
        let gone = Disk { is_there: false, ..disk(0, 9) };
        assert_eq!(gone.refuses([]).unwrap(), "the store's folder is not there");
    }

    #[test]
    fn a_disk_that_fails_is_asked_again_after_a_while() {
        let failed = trouble(Errno::IO, 10, 5);
        assert!(disk(1 << 30, 6).refuses([failed]).is_some());
        assert!(disk(1 << 30, 5 + FAILED_FOR).refuses([failed]).is_none());
    }
}
