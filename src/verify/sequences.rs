//! Which places in the source the frames have that no run brought.

use serde::Serialize;

use crate::frame::Sequence;
use crate::manifest::{Listed, Ranges};

/// The places of frames that no run brought. They are not evidence of anything missing: stop-and-wait takes them
/// from the numbers in the frames' names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sequences {
    /// The lowest.
    pub first: Option<u64>,
    /// The highest.
    pub last: Option<u64>,
    /// Places between the lowest and the highest, or before the lowest, that no frame has.
    pub gaps: Listed<SequenceGap>,
    /// How many frames have the place of another one.
    pub duplicates: u64,
    /// Whether there were too many gaps to keep track of; `gaps` and `duplicates` are then empty.
    pub too_scattered: bool,
}

/// Consecutive places without a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct SequenceGap {
    /// The first place of the gap.
    pub from: u64,
    /// The last place of the gap.
    pub to: u64,
}

/// The places seen so far.
#[derive(Debug, Default)]
pub(super) struct Places {
    seen: Ranges,
    duplicates: u64,
}

impl Places {
    pub(super) fn insert(&mut self, Sequence(sequence): Sequence) {
        if !self.seen.insert(sequence, sequence) {
            self.duplicates += 1;
        }
    }

    pub(super) fn finish(self, named: usize) -> Sequences {
        let mut gaps = Listed::new(named);
        if let Some(last) = self.seen.last() {
            let found = self.seen.gaps(0, last).into_iter();
            found.for_each(|(from, to)| gaps.push(SequenceGap { from, to }));
        }
        let too_scattered = self.seen.is_too_scattered();
        Sequences {
            first: self.seen.first(),
            last: self.seen.last(),
            gaps,
            duplicates: if too_scattered { 0 } else { self.duplicates },
            too_scattered,
        }
    }
}
