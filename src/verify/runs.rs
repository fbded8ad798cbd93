//! Which sequences were seen, as runs of consecutive ones.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::frame::Sequence;
use crate::manifest::Listed;

/// Sequences come nearly in order, so that a store has few runs. One with more than this many is
/// made up, or has no meaningful sequences; they are then not judged.
const MAX_RUNS: usize = 100_000;

/// Whether the places of the frames in their source are complete.
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

/// The runs seen so far: first -> last of each, never touching one another.
#[derive(Debug, Default)]
pub(super) struct Runs {
    runs: BTreeMap<u64, u64>,
    duplicates: u64,
    too_scattered: bool,
}

impl Runs {
    pub(super) fn insert(&mut self, Sequence(sequence): Sequence) {
        if self.too_scattered {
            return;
        }
        let before = self.runs.range(..=sequence).next_back().map(|(&from, &to)| (from, to));
        if before.is_some_and(|(_, to)| to >= sequence) {
            self.duplicates += 1;
            return;
        }
        let joined = before.filter(|&(_, to)| to.checked_add(1) == Some(sequence));
        let from = joined.map_or(sequence, |(from, _)| from);
        let next = sequence.checked_add(1).and_then(|next| self.runs.remove(&next));
        self.runs.insert(from, next.unwrap_or(sequence));
        if self.runs.len() > MAX_RUNS {
            *self = Self { too_scattered: true, ..Self::default() };
        }
    }

    pub(super) fn finish(self, named: usize) -> Sequences {
        let mut gaps = Listed::new(named);
        let mut expected = Some(0);
        for (&from, &to) in &self.runs {
            if let Some(gap) = expected.filter(|&expected| expected < from) {
                gaps.push(SequenceGap { from: gap, to: from - 1 });
            }
            expected = to.checked_add(1);
        }
        Sequences {
            first: self.runs.first_key_value().map(|(&from, _)| from),
            last: self.runs.last_key_value().map(|(_, &to)| to),
            gaps,
            duplicates: self.duplicates,
            too_scattered: self.too_scattered,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn runs(sequences: &[u64]) -> Sequences {
        let mut runs = Runs::default();
        sequences.iter().for_each(|&sequence| runs.insert(Sequence(sequence)));
        runs.finish(1_000)
    }

    #[test]
    fn gaps_and_duplicates() {
        let found = runs(&[3, 1, 2, 7, 2, u64::MAX]);
        assert_eq!((found.first, found.last, found.duplicates), (Some(1), Some(u64::MAX), 1));
        let gaps: Vec<_> = found.gaps.first.iter().map(|gap| (gap.from, gap.to)).collect();
        assert_eq!(gaps, [(0, 0), (4, 6), (8, u64::MAX - 1)]);
        assert_eq!(runs(&[]).first, None);
    }

    #[test]
    fn sequences_without_order_take_bounded_memory() {
        let scattered: Vec<u64> = (0..200_000).map(|place| place * 2).collect();
        assert!(runs(&scattered).too_scattered);
    }

    proptest! {
        #[test]
        fn agrees_with_a_set(sequences in prop::collection::vec(0..60u64, 0..80)) {
            let set: BTreeSet<u64> = sequences.iter().copied().collect();
            let found = runs(&sequences);
            prop_assert_eq!(found.duplicates as usize, sequences.len() - set.len());
            let missing: u64 = found.gaps.first.iter().map(|gap| gap.to - gap.from + 1).sum();
            let last = set.last().map_or(0, |last| last + 1);
            prop_assert_eq!(missing, last - set.len() as u64);
        }
    }
}
