//! Why a sender cannot start, or a frame not be pushed.

use thiserror::Error;

use crate::frame::NameError;
use crate::identity::{AddressError, IdentityError, PinError};
use crate::source::SourceError;
use crate::transport::TransportError;
use crate::wire::MAX_SOURCES;

/// Why a sender cannot start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// The receiver's address is none.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// A pin is none.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// A certificate or a list of receivers cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// A source's name cannot travel.
    #[error("the source name {name:?} cannot be used: {why}")]
    SourceName {
        /// As it was given.
        name: String,
        /// What is wrong with it.
        why: NameError,
    },
    /// The stop-and-wait protocol cannot carry a source's name.
    #[error(
        "the source name {0:?} contains '|', which ends a field of stop-and-wait; give the source another"
    )]
    Separator(String),
    /// No source is named.
    #[error("there is no source to send")]
    NoSource,
    /// More sources than a session carries.
    #[error("{0} sources; one session carries at most {MAX_SOURCES}")]
    TooManySources(usize),
    /// Two sources of one name.
    #[error("two sources are called {0}; give one another name")]
    SameName(String),
    /// Something is said of a source that is not there.
    #[error("no source is called {name}; the sources are {known}")]
    UnknownSource {
        /// As it was given.
        name: String,
        /// Those that are there.
        known: String,
    },
    /// The same is said twice of a source.
    #[error("the weight or deadline of {0} is given twice")]
    Twice(String),
    /// A folder cannot be sent.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The receiver's name has no address.
    #[error(transparent)]
    Transport(#[from] TransportError),
}

/// Why a frame is not pushed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PushError {
    /// No source of that name takes frames.
    #[error("no source {0:?} takes frames; name it with `source` before the sender starts")]
    UnknownSource(String),
    /// The frame's name cannot travel.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The run has ended.
    #[error("the run has ended; `finish` says why")]
    Ended,
}
