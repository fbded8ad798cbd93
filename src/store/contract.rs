//! What a store is to a receiver: two traits, and what passes through them.
//!
//! The folder store ([`FolderStore`](super::FolderStore)) is the first. Another one, for a callback or for memory:
//!
//! ```
//! use std::collections::BTreeMap;
//! use std::sync::{Arc, Mutex};
//!
//! use framelane::frame::{FrameName, SourceName};
//! use framelane::store::{
//!     Held, Offered, OpenSource, Opener, Outcome, ReceivedFrame, Store, StoreError,
//! };
//!
//! type Bodies = Arc<Mutex<BTreeMap<FrameName, bytes::Bytes>>>;
//!
//! /// Keeps every frame in memory. What it has shall not be sent again.
//! #[derive(Debug, Default)]
//! struct Memory(Bodies);
//!
//! #[derive(Debug)]
//! struct Open(Bodies);
//!
//! impl Store for Memory {
//!     fn open(&self, _: &SourceName, _: &Opener) -> Result<Box<dyn OpenSource>, StoreError> {
//!         Ok(Box::new(Open(self.0.clone())))
//!     }
//! }
//!
//! impl OpenSource for Open {
//!     fn look_up(&mut self, _: &Opener, offered: &[Offered<'_>], _: &dyn Fn() -> bool) -> Vec<Held> {
//!         let bodies = self.0.lock().unwrap();
//!         let held = |offered: &Offered<'_>| match (bodies.get(offered.name), offered.hash) {
//!             (None, _) => Held::Nothing,
//!             (Some(_), None) => Held::NeedsHash,
//!             (Some(body), Some(hash)) if blake3::hash(body) == hash => Held::Same,
//!             (Some(_), Some(_)) => Held::Other,
//!         };
//!         offered.iter().map(held).collect()
//!     }
//!
//!     fn store(&mut self, frames: &[ReceivedFrame]) -> Vec<Outcome> {
//!         let mut bodies = self.0.lock().unwrap();
//!         let mut store = |received: &ReceivedFrame| {
//!             let (name, body) = (received.frame.meta.name.clone(), received.frame.body.clone());
//!             match bodies.insert(name, body) {
//!                 None => Outcome::Stored,
//!                 Some(_) => Outcome::AlreadyStored,
//!             }
//!         };
//!         frames.iter().map(&mut store).collect()
//!     }
//! }
//!
//! let store: Box<dyn Store> = Box::new(Memory::default());
//! let source = SourceName::parse("visible").unwrap();
//! let mut open = store.open(&source, &Opener::default()).unwrap();
//! assert!(open.store(&[]).is_empty());
//! ```

use std::any::Any;
use std::fmt::{self, Debug};
use std::path::PathBuf;
use std::sync::Arc;

use super::brake::Keeping;
use super::error::{FrameError, StoreError};
use super::room::Room;
use crate::frame::{
    ContentHash, DropRange, Frame, FrameName, RunId, Sequence, SourceName, UnixNanos,
};
use crate::manifest::Place;

/// Where a receiver puts frames. Shared by all sessions; each source is open once at a time.
pub trait Store: Debug + Send + Sync {
    /// Opens a source for the sender that names it. May block.
    ///
    /// # Errors
    /// [`StoreError`], in words for that sender: the source is another's, or cannot be opened.
    fn open(&self, source: &SourceName, opener: &Opener)
    -> Result<Box<dyn OpenSource>, StoreError>;

    /// Which of its places the store puts the sources of this sender at: of two places, sources with one name
    /// are two sources. Most stores have one place.
    fn place(&self, _opener: &Opener) -> PathBuf {
        PathBuf::new()
    }

    /// Whether an [`Outcome`] is given only when the frame would survive a power cut.
    fn is_durable(&self) -> bool {
        false
    }

    /// The room that there is for frames, where the store knows. May block for a moment.
    fn room(&self) -> Option<Room> {
        None
    }

    /// How it keeps to its limit, where it has one.
    fn keeping(&self) -> Option<Keeping> {
        None
    }
}

/// One source of a [`Store`], open for storing. It is used by one thread at a time; all calls may block
/// that thread and no other.
pub trait OpenSource: Debug + Send {
    /// Asks whether another session may use the source as well, of the same sender or of another.
    ///
    /// # Errors
    /// [`StoreError`], in words for that sender.
    fn admit(&mut self, _opener: &Opener) -> Result<(), StoreError> {
        Ok(())
    }

    /// What would have to be read of stored content before [`look_up`](Self::look_up) can tell what the
    /// source has of these frames. Whoever asks has it read elsewhere, at its own pace, and gives it to
    /// [`has_read`](Self::has_read), so that nobody's frames wait for it.
    fn unread(&mut self, _offered: &[Offered<'_>]) -> Vec<Reading> {
        Vec::new()
    }

    /// Takes what was read. It is remembered for as long as the content does not change.
    fn has_read(&mut self, _reading: Reading) {}

    /// What the source has of the frames that a sender offers for its run, one for each, in their order; fewer, where
    /// `listening` turned false meanwhile: nobody waits for the answer any more.
    fn look_up(
        &mut self,
        asker: &Opener,
        offered: &[Offered<'_>],
        listening: &dyn Fn() -> bool,
    ) -> Vec<Held>;

    /// Stores frames and says what became of each, in their order. What is said to be stored is stored:
    /// the sender forgets it.
    fn store(&mut self, frames: &[ReceivedFrame]) -> Vec<Outcome>;

    /// Takes down what a sender declares of its runs. When this returns, it is as safe as a stored frame: the
    /// sender forgets it. A run's end is to be noted after all of its frames were stored.
    ///
    /// # Errors
    /// [`StoreError`], where it could not be written; the sender declares it again.
    fn note(&mut self, _from: &Opener, _notes: &[Note]) -> Result<(), StoreError> {
        Ok(())
    }

    /// The highest sequence that the source knows of, so that a new run can go on behind it.
    fn last_sequence(&mut self) -> Option<Sequence> {
        None
    }

    /// The first sequence of a run without a last frame that has not ended, and of which the source has frames. A sender
    /// that was killed before it knew goes on with the run there, and not behind its own frames.
    fn goes_on_from(&mut self, _run: RunId) -> Option<Sequence> {
        None
    }

    /// How many frames the source has, of all times, those that have expired left out; `None` where the store does not
    /// count them. Asked after each batch.
    fn held(&mut self) -> Option<u64> {
        None
    }
}

/// Who uses a source: a sender, as a session knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Opener {
    /// The pin of its certificate as text; `None` where the transport has none (stop-and-wait).
    pub pin: Option<Arc<str>>,
    /// What the receiver's user calls it.
    pub name: Option<Arc<str>>,
    /// Whether the receiver's user lets senders share sources.
    pub shared: bool,
    /// The run of the source that the sender is at; `None` where the transport knows none (stop-and-wait).
    pub run: Option<RunId>,
    /// When its session began; `None` where there is no session.
    pub began: Option<UnixNanos>,
}

/// A frame that a sender has and asks about.
#[derive(Debug, Clone, Copy)]
pub struct Offered<'a> {
    /// Place in the source.
    pub sequence: Sequence,
    /// Its name.
    pub name: &'a FrameName,
    /// Length in bytes.
    pub bytes: u64,
    /// When the sender's file was last changed, if it is a file.
    pub modified: Option<UnixNanos>,
    /// BLAKE3 of its content, where the sender has it at hand.
    pub hash: Option<ContentHash>,
}

/// Content that has to be read before a source can say what it has of a frame on offer: on any thread, for
/// as long as it takes.
pub struct Reading {
    read: Option<Box<dyn FnOnce() -> Found + Send>>,
    found: Option<Found>,
}

/// What a reading found, as its source knows it.
type Found = Box<dyn Any + Send>;

/// What a source has of a frame on offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// Nothing: it has to be sent.
    Nothing,
    /// The very frame.
    Same,
    /// The very frame was stored, and has been removed since because it was old enough: it is not wanted again.
    Expired,
    /// A frame of its name and length; only the hash can tell.
    NeedsHash,
    /// Another frame of its name.
    Other,
}

/// A frame that arrived whole.
#[derive(Debug, Clone)]
pub struct ReceivedFrame {
    /// The frame; `meta.hash` is what the sender announced.
    pub frame: Frame,
    /// Who sent it, in which run.
    pub from: Arc<Opener>,
    /// When its last byte had arrived.
    pub received: UnixNanos,
    /// Whether it replaces a frame stored under its name with other content.
    pub replace: bool,
}

/// What a sender declares of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// It began. To be noted each time that a session names the run; only the first time counts.
    Began {
        /// The run.
        run: RunId,
        /// When, on the sender's clock.
        at: UnixNanos,
        /// It has no last frame that is known beforehand, as a camera has none. Its sequences go on behind all
        /// that the source knows of; those of others begin at 0.
        endless: bool,
        /// Frames that are too old are dropped rather than sent late.
        live: bool,
        /// The sequence that its sender was told its first frame has; `None` where that is behind all that the source
        /// knows of.
        first: Option<Sequence>,
    },
    /// Frames of it will not come.
    Dropped {
        /// The run.
        run: RunId,
        /// Which frames, and why.
        ranges: Vec<DropRange>,
        /// At which end.
        place: Place,
    },
    /// It ended.
    Ended {
        /// The run.
        run: RunId,
        /// When, on the sender's clock.
        at: UnixNanos,
        /// Its first sequence, as the sender says; `None` where that is what was noted when it began.
        first: Option<Sequence>,
        /// How many frames it had.
        captured: u64,
    },
}

/// What became of a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is stored.
    Stored,
    /// It had been stored before, with the same content; nothing was changed.
    AlreadyStored,
    /// It is not stored, and must not be confirmed.
    Failed(FrameError),
}

impl ReceivedFrame {
    /// The hash of the body, which is what the sender announced, as its length is.
    ///
    /// # Errors
    /// [`FrameError::LengthMismatch`] and [`FrameError::HashMismatch`], naming the frame of `source`.
    pub fn checked_hash(&self, source: &SourceName) -> Result<ContentHash, FrameError> {
        let (meta, body) = (&self.frame.meta, &self.frame.body);
        let frame = || format!("{source}/{}", meta.name);
        if meta.bytes != body.len() as u64 {
            let (announced, arrived) = (meta.bytes, body.len() as u64);
            return Err(FrameError::LengthMismatch { frame: frame(), announced, arrived });
        }
        let arrived = blake3::hash(body);
        match meta.hash {
            Some(announced) if announced != arrived => {
                Err(FrameError::HashMismatch { frame: frame(), announced, arrived })
            }
            _ => Ok(arrived),
        }
    }
}

impl Reading {
    /// One that is done by `read`.
    pub fn new<T: Any + Send>(read: impl FnOnce() -> T + Send + 'static) -> Self {
        Self { read: Some(Box::new(move || Box::new(read()))), found: None }
    }

    /// Reads. Blocks the thread.
    pub fn read(&mut self) {
        if let Some(read) = self.read.take() {
            self.found = Some(read());
        }
    }

    /// What was found, for the source that has asked for it; `None` where nothing was read.
    pub fn found<T: Any>(self) -> Option<T> {
        self.found.and_then(|found| found.downcast().ok()).map(|found| *found)
    }
}

impl Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reading").field("is_done", &self.found.is_some()).finish()
    }
}

impl Opener {
    /// A sender with the pin of its certificate, as text.
    pub fn with_pin(pin: Option<&str>) -> Self {
        Self { pin: pin.map(Arc::from), ..Self::default() }
    }

    /// Whether the frames of `other` are this one's own. Nobody's are, where nothing tells senders apart.
    pub fn is(&self, other: &Self) -> bool {
        self.pin.is_some() && self.pin == other.pin
    }
}
