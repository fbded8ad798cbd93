//! Where frames go: a folder for each source, a file for each frame, whole or not at all.
//!
//! ```text
//! body -> check the hash -> OUT/SOURCE/.framelane-N.part -> rename -> a line in the manifest -> Outcome
//! ```
//!
//! Every step works relative to an open folder, never by path, and follows no symbolic link, so
//! that neither a name from the network nor a link placed in the store leads out of it.
//!
//! # What a crash leaves
//! Wherever the process is killed, the next [`FolderStore::source`] finds nothing worse than a
//! temporary file (removed), a torn line (cut off), or a file that has no line yet. That file is
//! left alone: nothing tells it from one that the user put there. Its frame does not count as
//! stored, is sent again, and where the content is the same the file is adopted. So every frame
//! ends up stored once, and no file is ever deleted that might be somebody's.
//!
//! # What counts as stored
//! A frame whose last manifest line agrees with a regular file of that name and length, looked at
//! anew each time. A file that was not changed between the frame's arrival and its line, by its
//! modification time, is hashed as well: it can be one that a receiver had put in the place of
//! another of the same length, before it was killed and could not write the line. A file of another
//! length or hash was altered after it was stored: its frame is sent again and then refused as a
//! [conflict](FrameError::Conflict), because the altered file may be evidence. Only an empty file in the place of a frame is replaced without asking: it is what a
//! power cut leaves of an unsynced file, and holds nothing to lose. Alterations that keep length and
//! modification time are found by [`crate::verify`].

mod content;
mod directory;
mod folder;
mod source_store;

use thiserror::Error;

use crate::frame::{ContentHash, Frame, UnixNanos};

pub(crate) use content::hash_file;
pub(crate) use directory::{Directory, Kind};
pub use folder::{FolderStore, StoreError, StoreOptions};
pub use source_store::{SourceStore, StoredInfo};

use rustix::io::Errno;

/// A frame that arrived whole.
#[derive(Debug, Clone)]
pub struct ReceivedFrame {
    /// The frame; `meta.hash` is what the sender announced.
    pub frame: Frame,
    /// When its last byte had arrived.
    pub received: UnixNanos,
    /// Whether it replaces a frame stored under its name with other content.
    pub replace: bool,
}

/// What became of a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is stored, and has its line in the manifest.
    Stored,
    /// It had been stored before, with the same content; nothing was changed.
    AlreadyStored,
    /// It is not stored, and must not be confirmed.
    Failed(FrameError),
}

/// Why a frame is not stored. `frame` is `SOURCE/NAME`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FrameError {
    /// The name is taken by other content.
    #[error(
        "{frame} {taken}; it was kept. Send the frame under another name, or with --overwrite \
         (not over stop-and-wait, which cannot ask for it)"
    )]
    Conflict {
        /// Which frame.
        frame: String,
        /// By what.
        taken: Taken,
    },
    /// A symbolic link, folder or device has the frame's name.
    #[error(
        "{frame} is not a regular file in the store (a link, a folder or a device); remove it there and send again"
    )]
    NotAFile {
        /// Which frame.
        frame: String,
    },
    /// The body is not what the sender announced.
    #[error(
        "{frame} arrived altered: announced with blake3 {announced}, arrived with {arrived}; send it again"
    )]
    HashMismatch {
        /// Which frame.
        frame: String,
        /// As announced.
        announced: ContentHash,
        /// Of the body.
        arrived: ContentHash,
    },
    /// The body is shorter or longer than announced.
    #[error(
        "{frame} was announced with {announced} bytes and arrived with {arrived}; send it again"
    )]
    LengthMismatch {
        /// Which frame.
        frame: String,
        /// As announced.
        announced: u64,
        /// Of the body.
        arrived: u64,
    },
    /// The disk is full, or a quota used up. Nothing of the frame remains.
    #[error("no room to store {frame}: {cause}; make room at the receiver and send again")]
    NoSpace {
        /// Which frame.
        frame: String,
        /// What the system said.
        cause: Errno,
    },
    /// Any other failure of the file system.
    #[error("cannot store {frame}: cannot {doing}: {cause}")]
    Io {
        /// Which frame.
        frame: String,
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        cause: Errno,
    },
}

/// What holds the name of a frame that conflicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Taken {
    /// Another frame.
    #[error("is stored with other content")]
    Stored,
    /// What was a frame.
    #[error("is stored, but its file was altered since")]
    Altered,
    /// A file that no line of the manifest speaks of.
    #[error("is the name of another file in the store, which the manifest does not know")]
    Unlisted,
}

impl FrameError {
    fn from_system(frame: String, doing: &'static str, cause: Errno) -> Self {
        match cause {
            Errno::NOSPC | Errno::DQUOT => Self::NoSpace { frame, cause },
            _ => Self::Io { frame, doing, cause },
        }
    }
}

#[cfg(test)]
mod tests;
#[cfg(all(test, target_os = "linux"))]
mod tests_full_disk;
