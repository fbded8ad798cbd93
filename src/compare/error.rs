//! Why a comparison could not be made.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::door::{ListenError, StartError};
use crate::frame::NameError;
use crate::identity::IdentityError;
use crate::link::EmulationError;
use crate::source::SourceError;
use crate::store::StoreError;

/// Why a comparison could not be made. A transport that fails on a link is no error but a result.
#[derive(Debug, Error)]
pub enum CompareError {
    /// The link cannot be emulated here.
    #[error(transparent)]
    Link(#[from] EmulationError),
    /// An identity for the two ends cannot be made.
    #[error("cannot make an identity for the comparison: {0}")]
    Identity(#[from] IdentityError),
    /// A source cannot be used.
    #[error("source {name}: {error}")]
    Source {
        /// Its name.
        name: String,
        /// Why.
        error: SourceError,
    },
    /// A source whose frames do not fit into memory.
    #[error(
        "the first {frames} frames of source {name} have over {limit} bytes, more than is kept in \
         memory for a comparison; ask for fewer with --frames"
    )]
    TooLarge {
        /// Its name.
        name: String,
        /// How many were asked for.
        frames: u64,
        /// The limit.
        limit: u64,
    },
    /// A frame's name cannot be made.
    #[error("cannot name the frames of {source_name}: {error}")]
    Name {
        /// The source.
        source_name: String,
        /// Why.
        error: NameError,
    },
    /// There is no place to store to.
    #[error("cannot make a place for received frames in {}: {error}", path.display())]
    Scratch {
        /// Where.
        path: PathBuf,
        /// The system's words.
        error: io::Error,
    },
    /// The receiver cannot listen on the link.
    #[error("the receiver cannot be started: {0}")]
    Listen(#[from] ListenError),
    /// The sender cannot start.
    #[error("the sender cannot be started: {0}")]
    Start(#[from] StartError),
    /// The receiver cannot open its store.
    #[error("the receiver cannot be started: {0}")]
    Store(#[from] StoreError),
    /// Threads for an end cannot be started.
    #[error("cannot start the {end}: {why}")]
    End {
        /// Sender or receiver.
        end: &'static str,
        /// Why.
        why: String,
    },
    /// The other build cannot be run, or has not made its run.
    #[error("the other build, {}: {why}", program.display())]
    Other {
        /// Where it is.
        program: PathBuf,
        /// Why.
        why: String,
    },
    /// What was stored cannot be read back.
    #[error("cannot read back what was stored: {0}")]
    ReadBack(String),
    /// The user stopped it.
    #[error("interrupted")]
    Interrupted,
}
