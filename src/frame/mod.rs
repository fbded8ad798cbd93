//! What travels: a frame, the names it is known by, and the units everything is measured in.
//!
//! This is the bottom of the layer map: it imports nothing of the crate. Every value that comes
//! from a network, a file name or a user is parsed here, once, into a type that cannot hold
//! anything unsafe.

mod name;
mod run;
mod spares;
mod units;
mod words;

pub use name::{
    FrameName, MAX_FRAME_NAME_BYTES, MAX_FRAME_NAME_PARTS, MediaType, NameError, RESERVED_PREFIX,
    SourceName, printable,
};
pub use run::{Captured, Clock, DropRange, DropReason, NotARun, RunId};
pub(crate) use spares::{Body, Spares};
pub(crate) use units::EARLIEST_CLOCK;
pub use units::{BitRate, ByteSize, Share, Span, UnitError, UnixNanos};
pub use words::{MAX_QUOTED, quoted};

use bytes::Bytes;

/// The content hash of a frame: BLAKE3 of the body, 32 bytes.
pub type ContentHash = blake3::Hash;

/// The place of a frame in its source, in the order the source gives them. A folder's count from 0 in each
/// run; those of a source that goes on for ever go on where its last run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Sequence(pub u64);

impl std::fmt::Display for Sequence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Everything about a frame but its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameMeta {
    /// Place in the source.
    pub sequence: Sequence,
    /// Its name in the store: a file, maybe in folders below its source's.
    pub name: FrameName,
    /// Length of the body in bytes.
    pub bytes: u64,
    /// BLAKE3 of the body; `None` where the protocol cannot carry one (stop-and-wait).
    pub hash: Option<ContentHash>,
    /// When the camera made it; `None` where nobody knows.
    pub captured: Option<Captured>,
    /// When it was due: its place in the schedule of a folder that is replayed. Never when the sender got
    /// round to it.
    pub due: Option<UnixNanos>,
    /// When the source file was last changed, if the source is a file.
    pub modified: Option<UnixNanos>,
    /// What the body is.
    pub media: MediaType,
}

/// A whole frame: what it is and its bytes.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Description.
    pub meta: FrameMeta,
    /// `meta.bytes` bytes.
    pub body: Bytes,
}
