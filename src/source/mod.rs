//! Where frames come from.
//!
//! A source is a numbered list of frames that can be read, and read again after a lost connection.
//! It runs on a thread of its own, so its calls may block.

mod folder;
mod natural;
pub mod synthetic;

use std::path::PathBuf;

use bytes::Bytes;
use thiserror::Error;

pub use folder::Folder;

use crate::frame::{ContentHash, FrameName, NameError, Sequence, SourceName, UnixNanos, printable};

/// A path as it is told to people.
fn shown(path: &std::path::Path) -> String {
    printable(&path.to_string_lossy()).into_owned()
}

/// A numbered list of frames.
pub trait Source: Send + Sync {
    /// The name that the receiver stores them under.
    fn name(&self) -> &SourceName;

    /// How many frames there are; sequences run from 0 to this.
    fn frames(&self) -> u64;

    /// What can be told of a frame without reading it.
    ///
    /// # Errors
    /// [`SourceError`] where the frame is gone, cannot be reached, or has a name that cannot travel.
    fn describe(&self, sequence: Sequence) -> Result<Description, SourceError>;

    /// Reads a frame whole, or fails: a body that changed while it was read is never given.
    /// Frames over `limit` bytes are not read.
    ///
    /// # Errors
    /// [`SourceError`].
    fn read(&self, sequence: Sequence, limit: u64) -> Result<Content, SourceError>;

    /// The hash of a frame of any length, and what it was like when it was read. Whoever reads from
    /// where frames can be long does that in bounded memory.
    ///
    /// # Errors
    /// [`SourceError`].
    fn hash(&self, sequence: Sequence) -> Result<(Description, ContentHash), SourceError> {
        let content = self.read(sequence, u64::MAX)?;
        Ok((content.description, content.hash))
    }

    /// The name to call a frame by in a report, valid or not.
    fn label(&self, sequence: Sequence) -> String;
}

/// A frame before it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Its name.
    pub name: FrameName,
    /// Its length in bytes.
    pub bytes: u64,
    /// When it was last changed.
    pub modified: Option<UnixNanos>,
}

/// A frame that was read.
#[derive(Debug, Clone)]
pub struct Content {
    /// As it was when it was read.
    pub description: Description,
    /// BLAKE3 of `body`.
    pub hash: ContentHash,
    /// Its bytes.
    pub body: Bytes,
}

/// Why a source, or a frame of it, cannot be used.
#[derive(Debug, Clone, Error)]
pub enum SourceError {
    /// The folder does not exist, is not a folder, or cannot be listed.
    #[error("cannot list {}: {why}", shown(path))]
    List {
        /// The folder.
        path: PathBuf,
        /// The system's word.
        why: String,
    },
    /// Nothing to send.
    #[error("{} holds no files to send", shown(path))]
    Empty {
        /// The folder.
        path: PathBuf,
    },
    /// The frame's name cannot travel.
    #[error("{} cannot be sent: {why}; rename it", shown(path))]
    Name {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: NameError,
    },
    /// The file cannot be read.
    #[error("cannot read {}: {why}", shown(path))]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's word.
        why: String,
    },
    /// The file changed while it was read.
    #[error(
        "{} changed while it was read ({what}); send it again when it is complete",
        shown(path)
    )]
    Changed {
        /// The file.
        path: PathBuf,
        /// How.
        what: String,
    },
    /// The frame is longer than the receiver takes.
    #[error(
        "{} has {bytes} bytes; the receiver takes at most {limit} (its --max-frame)",
        shown(path)
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its length.
        bytes: u64,
        /// The receiver's limit.
        limit: u64,
    },
}
