//! What can go wrong with a store, its sources and its frames.

use std::path::PathBuf;

use rustix::io::Errno;
use thiserror::Error;

use crate::frame::ContentHash;
use crate::manifest::ManifestError;

/// Why the store, or a source in it, could not be opened.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StoreError {
    /// Another receiver uses the store.
    #[error("the store {} is in use by another receiver; stop that one or choose another --out", path.display())]
    Locked {
        /// The store.
        path: PathBuf,
    },
    /// The source is being written, by this process or another.
    #[error("the source folder {} is already being written to", path.display())]
    SourceInUse {
        /// The source's folder.
        path: PathBuf,
    },
    /// A link or file where a folder should be.
    #[error("{} is a symbolic link or a file, not a folder; the store follows no links. Remove it or choose another --out", path.display())]
    NotAFolder {
        /// What is in the way.
        path: PathBuf,
    },
    /// A link or folder where the manifest should be.
    #[error("{} is not a regular file; the store follows no links. Remove it or choose another --out", path.display())]
    ManifestNotAFile {
        /// What is in the way.
        path: PathBuf,
    },
    /// The manifest could not be read or put right.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// Any other failure of the file system.
    #[error("cannot {doing} {}: {cause}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        cause: Errno,
    },
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
    pub(super) fn from_system(frame: String, doing: &'static str, cause: Errno) -> Self {
        match cause {
            Errno::NOSPC | Errno::DQUOT => Self::NoSpace { frame, cause },
            _ => Self::Io { frame, doing, cause },
        }
    }
}
