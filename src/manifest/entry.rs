//! One line of the ledger, as a value.

mod line;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::day::{Day, NotADay};
use crate::frame::{DropReason, NotARun, RunId, UnixNanos};

/// What a line of the ledger says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// The source was opened by a sender, whose it is from then on; by nobody known, where `owner` is `None`.
    Opened {
        /// The sender's pin.
        owner: Option<String>,
        /// What the receiver's user called it.
        name: Option<String>,
        /// The source's name, by which it was opened.
        source: String,
        /// When.
        at: UnixNanos,
    },
    /// A run of the source began.
    Began {
        /// The run.
        run: RunId,
        /// When, on the sender's clock.
        at: UnixNanos,
        /// Its first sequence.
        first: u64,
        /// It has no last frame that is known beforehand, as a camera has none.
        endless: bool,
        /// Frames that are too old are dropped rather than sent late.
        live: bool,
        /// The pin of its sender.
        sender: Option<String>,
    },
    /// Frames of a run that will not come.
    Dropped {
        /// The run.
        run: RunId,
        /// The frames.
        range: Range,
        /// Why; `None` for a reason of a later version.
        reason: Option<DropReason>,
        /// At which end.
        place: Place,
        /// When the first and the last of them were captured, where that is known.
        captured: Option<(UnixNanos, UnixNanos)>,
    },
    /// Frames of a run that were stored before it, by an earlier one.
    StoredBefore {
        /// The run.
        run: RunId,
        /// The frames, by their sequences in this run.
        range: Range,
        /// What they are in the run that stored them, where it is known.
        earlier: Option<Earlier>,
    },
    /// Frames of a run that are in a folder which was taken away while the run went on.
    TakenAway {
        /// The run.
        run: RunId,
        /// The frames.
        range: Range,
    },
    /// A run ended.
    Ended {
        /// The run.
        run: RunId,
        /// When, on the sender's clock.
        at: UnixNanos,
        /// Its first sequence, as its sender says; `None` where only its beginning says so, in lines of earlier versions.
        first: Option<u64>,
        /// How many frames it had, from its first sequence on.
        captured: u64,
    },
    /// A run that never ended is contained in a later one, as the same folder sent again is.
    ResumedBy {
        /// The run that did not end.
        run: RunId,
        /// The one that has all of its frames.
        by: RunId,
    },
    /// A day of which everything stored until a time is removed because it is old enough.
    DayExpired {
        /// The day, by when frames were captured.
        day: Day,
        /// Until when.
        at: UnixNanos,
        /// How many frames it had.
        frames: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// What had expired of a day is removed.
    DayRemoved {
        /// The day.
        day: Day,
        /// When.
        at: UnixNanos,
        /// How many files were removed.
        frames: u64,
        /// How many are not what their lines say, and stay.
        left: u64,
    },
    /// Frames that were removed because they were old enough, and their lines with them.
    Expired {
        /// Their run.
        run: RunId,
        /// The frames.
        range: Range,
        /// When.
        at: UnixNanos,
    },
}

/// Frames in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// The first sequence.
    pub first: u64,
    /// The last sequence, at least the first.
    pub last: u64,
}

/// Frames in a row by what they are in an earlier run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Earlier {
    /// The run that stored them.
    pub run: RunId,
    /// The first one's sequence there; those of the others count up from it.
    pub first: u64,
}

/// At which end frames were dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// They never left the sender, or not whole.
    Sender,
    /// They came, and were not stored.
    Receiver,
}

/// Why a line is not an entry.
#[derive(Debug, Error)]
pub enum EntryError {
    /// Not a JSON object, or a field of another type.
    #[error("not a ledger line: {0}")]
    Json(#[from] serde_json::Error),
    /// A run that is none.
    #[error(transparent)]
    Run(#[from] NotARun),
    /// A day that is none.
    #[error(transparent)]
    Day(#[from] NotADay),
    /// A range that ends before it begins.
    #[error("the range from {} to {} is none", .0.first, .0.last)]
    Range(Range),
}

impl Entry {
    /// This entry and the one that follows it as one, where they say the same of neighbours.
    pub fn joined(&self, next: &Self) -> Option<Self> {
        match (self, next) {
            (
                Self::Dropped { run, range, reason, place, captured },
                Self::Dropped { run: r, range: behind, reason: why, place: at, captured: when },
            ) if (run, reason, place) == (r, why, at) && captured.is_some() == when.is_some() => {
                let captured = captured.zip(*when).map(|(one, two)| (one.0, two.1));
                let (run, reason, place) = (*run, *reason, *place);
                range.joined(*behind).map(|range| Self::Dropped {
                    run,
                    range,
                    reason,
                    place,
                    captured,
                })
            }
            (
                Self::StoredBefore { run, range, earlier },
                Self::StoredBefore { run: r, range: behind, earlier: then },
            ) if run == r && Earlier::goes_on(*earlier, *range, *then, *behind) => {
                let (run, earlier) = (*run, *earlier);
                range.joined(*behind).map(|range| Self::StoredBefore { run, range, earlier })
            }
            _ => None,
        }
    }
}

impl Earlier {
    /// Whether what `then` says of `behind` is what `earlier` of `range` comes to further on.
    fn goes_on(earlier: Option<Self>, range: Range, then: Option<Self>, behind: Range) -> bool {
        let place =
            |earlier: Self, range: Range| (earlier.run, earlier.first.wrapping_sub(range.first));
        earlier.map(|earlier| place(earlier, range)) == then.map(|then| place(then, behind))
    }
}

impl Range {
    /// Both as one, where they touch or overlap, and `next` does not begin before this one.
    fn joined(self, next: Self) -> Option<Self> {
        let touches = next.first >= self.first && next.first <= self.last.saturating_add(1);
        touches.then_some(Self { first: self.first, last: self.last.max(next.last) })
    }
}

impl Place {
    /// The word in the ledger.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sender => "sender",
            Self::Receiver => "receiver",
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
