//! Where frames come from.
//!
//! A source is a numbered list of frames that can be read, and read again after a lost connection.
//! The list may be there from the start, as a folder's is, or grow while the source runs, as a camera's
//! does; a frame keeps its place in it for as long as the source lives.
//!
//! # What a run asks of a source
//!
//! - [`Source::extent`] tells how many frames there are by now and whether more can come. A source that
//!   grows rings the [`Bell`] that it was handed, so that nobody has to ask again and again.
//! - [`Source::arrival`] tells apart what was there before from what comes about while the source runs.
//!   The former is offered to the receiver first, so that nothing stored travels twice, and falls due by
//!   the pace of the run. The latter cannot be stored anywhere yet: it is due when it arrives, and
//!   leaves at once, without a round trip for an offer and its answer.
//! - [`Source::describe`], [`Source::read`] and [`Source::hash`] give what a frame is. They are called on
//!   a thread that the source has for itself, and may block.
//! - [`Source::settled`] tells what became of a frame. No call asks for that frame afterwards, so its
//!   bytes can be let go.
//!
//! Places count from 0 in each life of a source. What the receiver calls a frame, its sequence, is that
//! plus [`Source::origin`]: a source that does not begin anew, but goes on, continues behind the last
//! sequence that the receiver knows.

mod bell;
mod captured;
pub mod cut;
mod folder;
mod growing;
mod kept;
mod pipe;
mod stamp;
mod stop;
#[cfg(feature = "cli")]
pub mod synthetic;
#[cfg(target_os = "linux")]
mod watch;

use std::path::PathBuf;
use std::time::Instant;

use bytes::Bytes;
use thiserror::Error;

pub use bell::Bell;
#[cfg(feature = "fuzzing")]
pub(crate) use captured::read_for_fuzzing as read_captured_for_fuzzing;
pub use captured::{CapturedBy, CapturedByError, TimePattern, TimePatternError, Zone};
pub use folder::{Folder, FolderOptions, LeftOut, NamePattern, Passed, PatternError, Pick, Unsent};
pub use kept::{Count, Dropped, Recalled, Remembered};

pub use pipe::{CommandOptions, Held, OnLine, Pipe, PipeOptions};
#[cfg(target_os = "linux")]
pub use watch::{WatchOptions, Watched};

use crate::frame::{
    Captured, ContentHash, DropReason, FrameName, NameError, Sequence, SourceName, UnixNanos,
    printable,
};

/// A path as it is told to people.
fn shown(path: &std::path::Path) -> String {
    printable(&path.to_string_lossy()).into_owned()
}

/// A numbered list of frames, which may grow.
///
/// [`describe`](Self::describe), [`read`](Self::read) and [`hash`](Self::hash) are called on a thread of
/// the source's own and may block; nothing else may. A panic in any of them ends the run with an error.
pub trait Source: Send + Sync {
    /// The name that the receiver stores them under.
    fn name(&self) -> &SourceName;

    /// How many frames there are by now, and whether more can come.
    fn extent(&self) -> Extent;

    /// How many frames there are by now; sequences run from 0 to this.
    fn frames(&self) -> u64 {
        self.extent().frames
    }

    /// Hands over what to ring whenever [`extent`](Self::extent) has changed: once, before a run asks for
    /// anything. A source whose list is there from the start has no use for it.
    fn wake_by(&self, bell: &Bell) {
        let _ = bell;
    }

    /// Hands over what is told of each frame at the moment at which it comes about, before anybody can ask for it: once,
    /// before a run. Of a source that does not heed it, frames are counted when it is asked for them.
    fn count_by(&self, count: &Count) {
        let _ = count;
    }

    /// Somebody else has the frame's bytes from now on, and they can be let go of here. What becomes of the frame is
    /// [told](Self::settled) all the same.
    fn let_go(&self, sequence: Sequence) {
        let _ = sequence;
    }

    /// Somebody reads each frame as it comes about from now on, keeps it, and lets go of it: few need to be held here.
    fn drained(&self) {}

    /// The receiver has another frame of this one's name. True where the frame goes by a name of its own from now on.
    fn rename(&self, sequence: Sequence) -> bool {
        let _ = sequence;
        false
    }

    /// Whether frames that are not sent in this life of the source come again in the next, as files do that stay where
    /// they are.
    fn comes_again(&self) -> bool {
        false
    }

    /// The account of its run, where it is one that outlives this process: what was not settled is in it still when the
    /// next begins.
    fn remembered(&self) -> Option<&dyn Remembered> {
        None
    }

    /// When the frame came about, where it did so while the source runs: it is due then, and leaves at
    /// once. `None` for one that was there before, which is offered first and due by the run's pace.
    fn arrival(&self, sequence: Sequence) -> Option<Instant> {
        let _ = sequence;
        None
    }

    /// Whether its frames are others in each of its lives, and their sequence goes on from the last one. Not so of
    /// a list that was whole at the start, which is the same each time. Asked once, at the start of a run.
    fn goes_on(&self) -> bool {
        !self.extent().ended
    }

    /// What the receiver is to call the frame at place 0, asked once in a run, of a source that
    /// [goes on](Self::goes_on): a frame's sequence is its place plus this. Any other begins at 0 each
    /// time. `next` is the sequence behind the last one that the receiver has of this source,
    /// 0 where it has none.
    fn origin(&self, next: Sequence) -> Sequence {
        let _ = next;
        Sequence(0)
    }

    /// What became of a frame. Called once for each that is settled, in any order, and never again asked
    /// for it afterwards.
    fn settled(&self, sequence: Sequence, fate: Fate) {
        let _ = (sequence, fate);
    }

    /// The run is at its end, and takes no more of it: what is there by now is in its report. A source that is given frames
    /// refuses those that come later.
    fn run_over(&self) {}

    /// Why the list has ended before it was meant to, once it has: a command that failed, a folder that
    /// went away. The run then sends what there is, and says this at its end.
    fn failure(&self) -> Option<String> {
        None
    }

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

    /// The same of a frame that can be had in no time, since it is short and in memory: to have it read by a thread would
    /// take longer. `None` where that is not so, or it fails; it is [read](Self::read) then.
    fn read_at_once(&self, sequence: Sequence, limit: u64) -> Option<Content> {
        let _ = (sequence, limit);
        None
    }

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

/// How many frames a source has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Frames so far. Never fewer than at an earlier asking.
    pub frames: u64,
    /// No more will come, however long one waits. Never taken back.
    pub ended: bool,
}

impl Extent {
    /// These frames and no more.
    pub const fn fixed(frames: u64) -> Self {
        Self { frames, ended: true }
    }

    /// These frames so far.
    pub const fn growing(frames: u64) -> Self {
        Self { frames, ended: false }
    }
}

/// What became of a frame, as its source is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fate {
    /// The receiver has confirmed that it is stored.
    Stored,
    /// The receiver had it before this run.
    StoredBefore,
    /// It was given up: it could not be read, was refused for good, or came too late.
    Lost,
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
    /// When it was captured, where that is known without reading it, or it has been read.
    pub captured: Option<Captured>,
}

impl Description {
    /// When it was last changed, where that is fine enough to tell two contents of one length apart.
    /// Memory cards keep times of two seconds or of 10 ms, and archives whole seconds: two frames of
    /// a camera often have the same one.
    pub fn telling_time(&self) -> Option<UnixNanos> {
        const COARSE: u64 = 10_000_000;
        self.modified.filter(|time| time.0 % COARSE != 0)
    }
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
    #[error("{} holds no files to send{but}", shown(path))]
    Empty {
        /// The folder.
        path: PathBuf,
        /// What it holds instead, with a space in front, or nothing.
        but: String,
    },
    /// The rule of capture times says nothing of any frame.
    #[error("no capture time in {}: {why}", shown(path))]
    Captured {
        /// The folder.
        path: PathBuf,
        /// What is missing, with an example.
        why: String,
    },
    /// It cannot be begun.
    #[error("{what}: {why}")]
    Start {
        /// What.
        what: String,
        /// The system's word, or what to do.
        why: String,
    },
    /// What came is no image, or not all of one.
    #[error("{what}: {why}")]
    NotAnImage {
        /// The file, or the bytes of the stream.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// Nothing came for a while in which there may have been frames.
    #[error("source {source_name} had a gap: {why}")]
    Stalled {
        /// The source.
        source_name: SourceName,
        /// What happened.
        why: String,
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
    /// The file is gone.
    #[error("cannot read {}: it is gone", shown(path))]
    Vanished {
        /// The file.
        path: PathBuf,
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
    /// The source has no frame at this place: it was dropped before it came here.
    #[error("{}: {why}", shown(path))]
    Dropped {
        /// The frame.
        path: PathBuf,
        /// Why, as the receiver is told.
        reason: DropReason,
        /// Why, for people.
        why: String,
    },
    /// The frame is longer than the receiver takes.
    #[error(
        "{} has {bytes} bytes; the receiver takes at most {limit} (its `max_frame`)",
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

impl SourceError {
    /// The same as a receiver is told.
    pub fn reason(&self) -> DropReason {
        match self {
            Self::Dropped { reason, .. } => *reason,
            Self::Name { .. } => DropReason::BadName,
            Self::TooLarge { .. } => DropReason::TooLarge,
            Self::NotAnImage { .. } => DropReason::NotAnImage,
            Self::Stalled { .. } => DropReason::SourceStalled,
            Self::Vanished { .. } => DropReason::Vanished,
            Self::List { .. }
            | Self::Empty { .. }
            | Self::Captured { .. }
            | Self::Start { .. }
            | Self::Read { .. }
            | Self::Changed { .. } => DropReason::Unreadable,
        }
    }
}
