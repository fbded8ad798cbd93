//! Why a sender or a receiver cannot start, or a frame not be pushed.

use std::net::SocketAddr;

use thiserror::Error;

use crate::frame::NameError;
use crate::identity::{
    AddressError, AllowConflict, AllowError, IdentityError, OpenListener, PinError,
};
use crate::source::SourceError;
use crate::spool::SpoolError;
use crate::store::{StoreError, TemplateError};
use crate::transport::{TransportError, ViaError};
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
    /// A link is named with a transport that does not take one.
    #[error("a link to leave by goes with the transport auto: leave `transport` out, or `via`")]
    ViaOne,
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
    /// A link to leave by is not understood.
    #[error(transparent)]
    Via(#[from] ViaError),
    /// A folder cannot be sent.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The spool cannot be used.
    #[error(transparent)]
    Spool(#[from] SpoolError),
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

/// Why a receiver cannot start. Where it is the caller's mistake, nothing was made or opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ListenError {
    /// What is to be listened on is no address.
    #[error("{0}")]
    Address(String),
    /// What says who may send is neither a pin, nor a name and a pin, nor `any`.
    #[error(transparent)]
    Allow(#[from] AllowError),
    /// Two of those cannot both be meant.
    #[error(transparent)]
    AllowConflict(#[from] AllowConflict),
    /// Every machine could send, and nobody has said that it may.
    #[error(transparent)]
    Open(#[from] OpenListener),
    /// The same, over a protocol that authenticates nobody.
    #[error(
        "stop-and-wait on {0} would let every machine that reaches it write files here, \
         for the protocol has no authentication. Listen on 127.0.0.1, or say `allow_any`"
    )]
    Unauthenticated(SocketAddr),
    /// Old frames are to be removed from stores of which not all are known.
    #[error(
        "old frames are removed (`keep`) from one store, and {0} are many: what is not in use would never be looked at. \
         For days take `layout` day instead of {{date}}; for each sender start a receiver of its own"
    )]
    KeepOfMany(String),
    /// The memory is not enough for one frame.
    #[error(
        "`memory` of {memory} bytes is less than one frame of `max_frame`, {max_frame} bytes; \
         give it as much, or lower `max_frame`"
    )]
    Memory {
        /// For all frames.
        memory: u64,
        /// The longest.
        max_frame: u64,
    },
    /// A limit is of no use.
    #[error("{0}")]
    Limit(&'static str),
    /// The folder's path cannot be taken apart.
    #[error("`out`: {0}")]
    Template(TemplateError),
    /// There is nowhere to store to.
    #[error("there is no store: name a folder with `out`, or take the frames with `start`")]
    NoStore,
    /// A source's name is none.
    #[error("no source can be called {name:?}: {why}")]
    SourceName {
        /// As it was given.
        name: String,
        /// What is wrong with it.
        why: NameError,
    },
    /// The certificate cannot be used or made.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An address cannot be listened on.
    #[error(transparent)]
    Transport(#[from] TransportError),
}

/// Said whole in the message, and so not its source as well.
impl From<TemplateError> for ListenError {
    fn from(error: TemplateError) -> Self {
        Self::Template(error)
    }
}

impl ListenError {
    /// True where the caller has asked for what cannot be; false where the machine did not give it.
    pub fn is_usage(&self) -> bool {
        !matches!(self, Self::Identity(_) | Self::Store(_) | Self::Transport(_))
    }
}
