//! What of a source's run outlives the process that sends it.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::frame::{DropReason, RunId, Sequence, UnixNanos};

/// Is told how many frames a source has, at the moment at which another one has come about. Never blocks for long.
#[derive(Clone)]
pub struct Count(Arc<dyn Fn(u64) + Send + Sync>);

impl Count {
    /// Tells `told`.
    pub fn new(told: impl Fn(u64) + Send + Sync + 'static) -> Self {
        Self(Arc::new(told))
    }

    /// The source has so many frames by now.
    pub fn frames(&self, frames: u64) {
        (self.0)(frames);
    }
}

impl fmt::Debug for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Count")
    }
}

/// Frames of a source that will not come, by their places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// Which.
    pub places: Range<u64>,
    /// Why.
    pub reason: DropReason,
    /// When the first and the last of them came about, where that is known.
    pub captured: Option<(UnixNanos, UnixNanos)>,
}

/// A run that an earlier process began, or one that has just begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recalled {
    /// Which.
    pub run: RunId,
    /// When it began.
    pub began: UnixNanos,
    /// The sequence of the frame at place 0, once the receiver has said it.
    pub origin: Option<Sequence>,
    /// How many frames it had when this process began: their places are below this.
    pub frames: u64,
    /// Those of them that are to be sent, in order.
    pub left: Vec<Range<u64>>,
    /// Those of them that will not come, and of which the receiver is not known to know.
    pub dropped: Vec<Dropped>,
}

impl Recalled {
    /// A run that begins now, with frames that are there already.
    pub fn new(run: RunId, frames: u64, left: Vec<Range<u64>>) -> Self {
        Self { run, began: UnixNanos::now(), origin: None, frames, left, dropped: Vec::new() }
    }
}

/// The account of a source's run that outlives the process. Nothing of it blocks for long.
pub trait Remembered: Send + Sync {
    /// The run as it was when this process began.
    fn recall(&self) -> Recalled;

    /// The receiver has said what it calls the frame at place 0.
    fn begun(&self, origin: Sequence);

    /// Frames that the source itself has dropped since the last asking. They are not asked for any more.
    fn take_dropped(&self) -> Vec<Dropped>;

    /// The connection is lost: what was read since it was made is not on its way any more.
    fn session_lost(&self);

    /// Frames will not come, and the receiver has still to be told.
    fn lost(&self, dropped: Dropped);

    /// Frames that the source itself had dropped, which were on their way, are stored after all.
    fn stored_after_all(&self, _places: Range<u64>) {}

    /// The receiver has noted that these will not come.
    fn noted(&self, places: Range<u64>);

    /// True where frames that are not settled when the run ends are kept for the next process. Where not, they are lost.
    fn keeps(&self) -> bool;

    /// Both ends agree on the whole run: the next process begins another.
    fn ended(&self);
}
