//! Which frames senders have declared dropped, so that none counts twice: after a session was lost they are told again, and
//! the last range may have grown meanwhile.

use std::collections::{BTreeMap, VecDeque};

use crate::frame::{DropRange, RunId};

/// Runs that are remembered, and ranges of each. Beyond that the oldest run is forgotten, and the lowest range: what is told
/// again is of late.
const RUNS: usize = 8;
const RANGES: usize = 256;

/// What has been declared.
#[derive(Debug, Default)]
pub(super) struct Declared(VecDeque<(RunId, BTreeMap<u64, u64>)>);

impl Declared {
    /// Takes a range of a run; gives how many frames of it were not declared before.
    pub(super) fn add(&mut self, run: RunId, range: &DropRange) -> u64 {
        let Some(more) = range.count.checked_sub(1) else { return 0 };
        let (first, last) = (range.first.0, range.first.0.saturating_add(more));
        if !self.0.iter().any(|(known, _)| *known == run) {
            if self.0.len() == RUNS {
                self.0.pop_front();
            }
            self.0.push_back((run, BTreeMap::new()));
        }
        let ranges = self.0.iter_mut().find(|(known, _)| *known == run);
        let Some((_, ranges)) = ranges else { return 0 };
        let fresh = insert(ranges, first, last);
        if ranges.len() > RANGES {
            ranges.pop_first();
        }
        fresh
    }
}

/// Adds `first` to `last` to ranges (first -> last) that neither meet nor touch; gives how many were not there.
fn insert(ranges: &mut BTreeMap<u64, u64>, first: u64, last: u64) -> u64 {
    let (mut low, mut high) = (first, last);
    let mut known = 0u64;
    while let Some((&from, &to)) = ranges.range(..=high.saturating_add(1)).next_back() {
        if to.saturating_add(1) < low {
            break;
        }
        let (both_from, both_to) = (from.max(first), to.min(last));
        if both_from <= both_to {
            known = known.saturating_add((both_to - both_from).saturating_add(1));
        }
        (low, high) = (low.min(from), high.max(to));
        ranges.remove(&from);
    }
    ranges.insert(low, high);
    (last - first).saturating_add(1).saturating_sub(known)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::frame::{DropReason, Sequence};

    fn range(first: u64, count: u64) -> DropRange {
        DropRange { first: Sequence(first), count, reason: DropReason::Late, captured: None }
    }

    #[test]
    fn a_range_that_grows_counts_what_is_new() {
        let mut declared = Declared::default();
        let run = RunId([1; 16]);
        assert_eq!(declared.add(run, &range(10, 3)), 3);
        assert_eq!(declared.add(run, &range(10, 11)), 8);
        assert_eq!(declared.add(run, &range(0, 100)), 89);
        assert_eq!(declared.add(RunId([2; 16]), &range(10, 3)), 3, "of another run");
        assert_eq!(declared.add(run, &range(5, 0)), 0);
        assert_eq!(declared.add(RunId([3; 16]), &range(0, u64::MAX)), u64::MAX);
        assert_eq!(declared.add(RunId([3; 16]), &range(u64::MAX, 5)), 1);
    }

    #[test]
    fn it_is_bounded() {
        let mut declared = Declared::default();
        for number in 0..100 {
            for place in 0..1_000 {
                assert_eq!(declared.add(RunId([number; 16]), &range(3 * place, 1)), 1);
            }
        }
        assert_eq!(declared.0.len(), RUNS);
        assert!(declared.0.iter().all(|(_, ranges)| ranges.len() == RANGES));
    }

    proptest! {
        #[test]
        fn each_frame_counts_once(told in prop::collection::vec((0..60u64, 0..9u64), 0..40)) {
            let (mut declared, mut all, mut count) = (Declared::default(), BTreeSet::new(), 0);
            for (first, of) in told {
                count += declared.add(RunId([7; 16]), &range(first, of));
                all.extend(first..first + of);
                prop_assert_eq!(count, all.len() as u64);
            }
        }
    }
}
