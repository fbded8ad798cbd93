//! Sets of sequences, as ranges: they come nearly in order, so that a few ranges hold millions.

use std::collections::BTreeMap;

/// A set with more ranges than this has no meaningful sequences, unless one says that it may; it is then not kept.
const MAX_RANGES: usize = 100_000;

/// A set of sequences. It takes memory for its gaps, and gives up where there are too many of those.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ranges {
    /// First -> last of each, never touching one another.
    ranges: BTreeMap<u64, u64>,
    limit: usize,
    too_scattered: bool,
}

impl Default for Ranges {
    fn default() -> Self {
        Self::with_limit(MAX_RANGES)
    }
}

impl Ranges {
    /// An empty set of at most so many ranges, at about 40 bytes each.
    pub fn with_limit(limit: usize) -> Self {
        Self { ranges: BTreeMap::new(), limit, too_scattered: false }
    }

    /// Adds `first` to `last`, both included. True where none of them was there.
    pub fn insert(&mut self, first: u64, last: u64) -> bool {
        if self.too_scattered || first > last {
            return true;
        }
        let (mut from, mut to, mut is_new) = (first, last, true);
        // What touches the range on either side becomes a part of it.
        let reach = last.saturating_add(1);
        while let Some((&other, &end)) = self.ranges.range(..=reach).next_back() {
            if end < first && end.saturating_add(1) != first {
                break;
            }
            is_new &= end < first || other > last;
            (from, to) = (from.min(other), to.max(end));
            self.ranges.remove(&other);
        }
        self.ranges.insert(from, to);
        if self.ranges.len() > self.limit {
            self.give_up();
        }
        is_new
    }

    /// Adds all of another set.
    pub fn extend(&mut self, other: &Self) {
        if other.too_scattered {
            self.give_up();
        }
        other.iter().for_each(|(first, last)| {
            self.insert(first, last);
        });
    }

    pub(super) fn give_up(&mut self) {
        self.ranges = BTreeMap::new();
        self.too_scattered = true;
    }

    /// Whether a sequence is in the set.
    pub fn contains(&self, sequence: u64) -> bool {
        self.ranges.range(..=sequence).next_back().is_some_and(|(_, &last)| last >= sequence)
    }

    /// How many of this set are not in the other one.
    pub fn count_beside(&self, other: &Self) -> u64 {
        let beside = self.iter().flat_map(|(first, last)| other.gaps(first, last));
        beside.fold(0, |sum: u64, (first, last)| sum.saturating_add(last - first).saturating_add(1))
    }

    /// The ranges, in order; first and last of each are included.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> {
        self.ranges.iter().map(|(&first, &last)| (first, last))
    }

    /// What is missing from `first` to `last`.
    pub fn gaps(&self, first: u64, last: u64) -> Vec<(u64, u64)> {
        let mut gaps = Vec::new();
        let mut expected = Some(first);
        let begun = self.ranges.range(..=first).next_back().map_or(first, |(&from, _)| from);
        for (&from, &to) in self.ranges.range(begun..) {
            let Some(next) = expected.filter(|&next| next <= last) else { break };
            if next < from {
                gaps.push((next, last.min(from - 1)));
            }
            expected = if to < next { expected } else { to.checked_add(1) };
        }
        if let Some(next) = expected.filter(|&next| next <= last) {
            gaps.push((next, last));
        }
        gaps
    }

    /// Whether every sequence of this set is in the other one. Nothing is known of sets too scattered.
    pub fn is_within(&self, other: &Self) -> bool {
        let holds = |(first, last)| {
            other.ranges.range(..=first).next_back().is_some_and(|(_, &to)| to >= last)
        };
        !self.too_scattered && !other.too_scattered && self.iter().all(holds)
    }

    /// How many sequences there are.
    pub fn count(&self) -> u64 {
        self.iter()
            .fold(0u64, |sum, (first, last)| sum.saturating_add(last - first).saturating_add(1))
    }

    /// The lowest sequence.
    pub fn first(&self) -> Option<u64> {
        self.iter().next().map(|(first, _)| first)
    }

    /// The highest sequence.
    pub fn last(&self) -> Option<u64> {
        self.ranges.last_key_value().map(|(_, &last)| last)
    }

    /// Whether there were too many ranges to keep: the set is then empty.
    pub fn is_too_scattered(&self) -> bool {
        self.too_scattered
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_ends_of_what_can_be_counted() {
        let mut ranges = Ranges::default();
        for sequence in [3, 1, 2, 7, u64::MAX] {
            assert!(ranges.insert(sequence, sequence));
        }
        assert!(!ranges.insert(2, 2));
        assert_eq!(ranges.gaps(0, u64::MAX), [(0, 0), (4, 6), (8, u64::MAX - 1)]);
        assert_eq!((ranges.first(), ranges.last()), (Some(1), Some(u64::MAX)));
        ranges.insert(0, u64::MAX);
        assert_eq!((ranges.gaps(0, u64::MAX), ranges.count()), (vec![], u64::MAX));
    }

    #[test]
    fn sequences_without_order_take_bounded_memory() {
        let mut ranges = Ranges::default();
        (0..200_000).for_each(|place| {
            ranges.insert(place * 2, place * 2);
        });
        assert!(ranges.is_too_scattered() && ranges.count() == 0);
        assert!(!ranges.is_within(&ranges.clone()));
    }

    proptest! {
        #[test]
        fn agrees_with_a_set(
            added in prop::collection::vec((0..60u64, 0..5u64), 0..40),
            first in 0..30u64, length in 0..40u64,
        ) {
            let (mut set, mut ranges) = (BTreeSet::new(), Ranges::default());
            for (from, more) in added {
                let all = from..=from + more;
                prop_assert_eq!(ranges.insert(from, from + more), all.clone().all(|n| !set.contains(&n)));
                set.extend(all);
            }
            prop_assert_eq!(ranges.count() as usize, set.len());
            prop_assert_eq!((ranges.first(), ranges.last()), (set.first().copied(), set.last().copied()));
            let last = first + length;
            let missing: BTreeSet<_> = ranges.gaps(first, last).into_iter().flat_map(|(a, b)| a..=b).collect();
            prop_assert_eq!(&missing, &(first..=last).filter(|n| !set.contains(n)).collect());
            let mut one = Ranges::default();
            one.insert(first, last);
            prop_assert_eq!(one.is_within(&ranges), missing.is_empty());
        }
    }
}
