//! Frames of a run that were never begun, as ranges of places: millions of them are a few numbers.

use std::collections::VecDeque;
use std::ops::Range;

use crate::frame::Sequence;

/// In order, none of them touching.
#[derive(Debug, Default)]
pub(super) struct Unbegun(VecDeque<Range<u64>>);

impl Unbegun {
    pub(super) fn of(ranges: Vec<Range<u64>>) -> Self {
        Self(ranges.into())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds frames behind all others.
    pub(super) fn add(&mut self, places: Range<u64>) {
        match self.0.back_mut() {
            Some(last) if last.end == places.start => last.end = places.end,
            _ => self.0.push_back(places),
        }
    }

    pub(super) fn contains(&self, place: u64) -> bool {
        let after = self.0.partition_point(|range| range.start <= place);
        after.checked_sub(1).is_some_and(|at| self.0[at].contains(&place))
    }

    pub(super) fn oldest(&self) -> Option<u64> {
        self.0.front().map(|range| range.start)
    }

    pub(super) fn places(&self) -> impl Iterator<Item = u64> + '_ {
        self.0.iter().cloned().flatten()
    }

    /// Takes up to `most` out, from the oldest on, as long as they are `wanted`.
    pub(super) fn take_oldest(
        &mut self,
        most: usize,
        wanted: impl Fn(Sequence) -> bool,
    ) -> Vec<u64> {
        let mut taken = Vec::new();
        while taken.len() < most {
            let Some(first) = self.0.front_mut() else { break };
            let place = first.start;
            if !wanted(Sequence(place)) {
                break;
            }
            first.start += 1;
            if first.is_empty() {
                self.0.pop_front();
            }
            taken.push(place);
        }
        taken
    }

    /// The same from the newest on; in order.
    pub(super) fn take_newest(
        &mut self,
        most: usize,
        wanted: impl Fn(Sequence) -> bool,
    ) -> Vec<u64> {
        let mut taken = Vec::new();
        while taken.len() < most {
            let Some(last) = self.0.back_mut() else { break };
            let place = last.end - 1;
            if !wanted(Sequence(place)) {
                break;
            }
            last.end = place;
            if last.is_empty() {
                self.0.pop_back();
            }
            taken.push(place);
        }
        taken.reverse();
        taken
    }

    /// Takes these out; how many of them were there.
    pub(super) fn cut(&mut self, places: Range<u64>) -> u64 {
        let mut count = 0;
        let left = std::mem::take(&mut self.0).into_iter().flat_map(|range| {
            let (from, to) = (range.start.max(places.start), range.end.min(places.end));
            if from >= to {
                return [range.clone(), range.end..range.end];
            }
            count += to - from;
            [range.start..from, to..range.end]
        });
        self.0 = left.filter(|range| !range.is_empty()).collect();
        count
    }
}
