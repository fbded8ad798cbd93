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
    #[error("the store {} is in use by another receiver; stop that one or choose another `out`", path.display())]
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
    #[error("{} is a symbolic link or a file, not a folder; the store follows no links. Remove it or choose another `out`", path.display())]
    NotAFolder {
        /// What is in the way.
        path: PathBuf,
    },
    /// A link or folder where the manifest should be.
    #[error("{} is not a regular file (a link, a folder or a pipe); the store follows no links. Remove it or choose another `out`", path.display())]
    ManifestNotAFile {
        /// What is in the way.
        path: PathBuf,
    },
    /// The manifest could not be read or put right.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// Nothing can be written to the store.
    #[error("nothing can be written to the store {}: {cause}. Make it writable (owner, mode, mount) or choose another `out`", path.display())]
    NotWritable {
        /// The store.
        path: PathBuf,
        /// What the system said.
        cause: Errno,
    },
    /// The source belongs to another sender.
    #[error(
        "source {source_name} belongs to {owner}{}",
        ways_out(earlier_key.as_deref())
    )]
    NotOwner {
        /// The source.
        source_name: String,
        /// The owner's name, or its pin where it has none.
        owner: String,
        /// Where the sender that is refused has the owner's name: how the key begins that the owner had.
        earlier_key: Option<String>,
    },
    /// The file system takes the source's name for another source's.
    #[error("{} is the folder of source {other}: its file system takes the two names for one. Send under a name that differs in more than case or accents", path.display())]
    Folded {
        /// The source's folder.
        path: PathBuf,
        /// The source whose folder it is.
        other: String,
    },
    /// The folder was another one each time it was looked at.
    #[error("{} does not stay the same folder: it is moved or replaced again and again, or its file system numbers files anew all the time", path.display())]
    Unsteady {
        /// The source's folder.
        path: PathBuf,
    },
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

/// What is to be done about a source that is not the sender's.
fn ways_out(earlier_key: Option<&str>) -> String {
    match earlier_key {
        None => ": send under another name (NAME=PATH), or give the receiver `out` 'DIR/{sender}' or `shared`".to_owned(),
        Some(key) => format!(
            " with an earlier key, {key}...: move its folder away at the receiver, send under another name \
             (NAME=PATH), give the sender that key back, or the receiver `shared`"
        ),
    }
}

/// Why a frame is not stored. `frame` is `SOURCE/NAME`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FrameError {
    /// The name is taken by other content.
    #[error(
        "{frame} {taken}; it was kept. Send the frame under another name, or with `overwrite` \
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
    /// The file system takes the name for another file's.
    #[error(
        "{frame} is not stored: the receiver's file system takes its name for that of {other}. Send it under a name \
         that differs in more than case, accents or dots at its end"
    )]
    Folded {
        /// Which frame.
        frame: String,
        /// The frame that has the file, or the store's own file.
        other: String,
    },
    /// Another frame of the source has the file: a layout's folders can have the names of those that frames bring along.
    #[error(
        "{frame} is not stored: by the store's `layout` its file would be that of {other}, another frame, which was stored by \
         another. Send it under another name, or to a receiver with the `layout` of before"
    )]
    Occupied {
        /// Which frame.
        frame: String,
        /// The frame that has the file.
        other: String,
    },
    /// A link or a file is in the place of one of the frame's folders.
    #[error(
        "cannot store {frame}: {folder} is a link or a file in the store, not a folder; remove it there and send again"
    )]
    NotAFolder {
        /// Which frame.
        frame: String,
        /// What is in the way.
        folder: String,
    },
    /// The source belongs to another sender, or cannot be opened.
    #[error("{frame} is not stored: {why}")]
    Source {
        /// Which frame.
        frame: String,
        /// Why.
        why: Box<StoreError>,
    },
    /// The program that was to take the frame has let go of its receiver.
    #[error(
        "{frame} was not taken: the program at the receiver's end takes no more; send it again"
    )]
    NotTaken {
        /// Which frame.
        frame: String,
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

impl StoreError {
    /// What the system said, where it was the system.
    pub fn cause(&self) -> Option<Errno> {
        match self {
            Self::Io { cause, .. }
            | Self::NotWritable { cause, .. }
            | Self::Manifest(ManifestError { cause, .. }) => Some(*cause),
            _ => None,
        }
    }
}

impl FrameError {
    /// What the system said, where it was the disk that failed.
    pub fn cause(&self) -> Option<Errno> {
        match self {
            Self::NoSpace { cause, .. } | Self::Io { cause, .. } => Some(*cause),
            Self::Source { why, .. } => why.cause(),
            _ => None,
        }
    }

    /// Of a frame whose source could not be used.
    pub(super) fn from_source(frame: String, why: &StoreError) -> Self {
        match why.cause() {
            Some(cause @ (Errno::NOSPC | Errno::DQUOT)) => Self::NoSpace { frame, cause },
            _ => Self::Source { frame, why: Box::new(why.clone()) },
        }
    }

    pub(super) fn from_system(frame: String, doing: &'static str, cause: Errno) -> Self {
        match cause {
            Errno::NOSPC | Errno::DQUOT => Self::NoSpace { frame, cause },
            _ => Self::Io { frame, doing, cause },
        }
    }
}
