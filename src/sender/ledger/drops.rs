//! Frames that will not come, until the receiver has noted that. By their places in the run.

use std::ops::Range;

use crate::frame::{DropRange, DropReason, Sequence, UnixNanos};
use crate::source::Dropped;
use crate::wire::{MAX_ENTRIES, SequenceRun};

/// What is to be declared of a run.
#[derive(Debug, Default)]
pub(in super::super) struct Drops {
    /// The receiver has not been told.
    untold: Vec<DropRange>,
    /// It has, in this session, and has not noted it.
    told: Vec<DropRange>,
}

impl Drops {
    /// True where the receiver has noted every frame that will not come.
    pub(in super::super) fn are_noted(&self) -> bool {
        self.untold.is_empty() && self.told.is_empty()
    }

    /// Whether the receiver is to be told of some.
    pub(in super::super) fn are_to_be_told(&self) -> bool {
        !self.untold.is_empty()
    }

    /// Whether the receiver owes a note of some.
    pub(in super::super) fn await_notes(&self) -> bool {
        !self.told.is_empty()
    }

    /// These will not come.
    pub(super) fn add(&mut self, dropped: Dropped) {
        let Dropped { places, reason, captured } = dropped;
        let (first, count) = (Sequence(places.start), places.end.saturating_sub(places.start));
        if count > 0 {
            self.untold.push(DropRange { first, count, reason, captured });
        }
    }

    /// One more will not come; often the one behind the last.
    pub(super) fn add_one(
        &mut self,
        place: Sequence,
        reason: DropReason,
        captured: Option<UnixNanos>,
    ) {
        if let Some(last) = self.untold.last_mut()
            && last.reason == reason
            && last.first.0.checked_add(last.count) == Some(place.0)
            && last.captured.is_some() == captured.is_some()
        {
            last.count += 1;
            if let (Some((_, newest)), Some(at)) = (&mut last.captured, captured) {
                *newest = at;
            }
            return;
        }
        let captured = captured.map(|at| (at, at));
        self.untold.push(DropRange { first: place, count: 1, reason, captured });
    }

    /// Those of which the receiver is told now: as many as a message takes.
    pub(super) fn tell(&mut self) -> Vec<DropRange> {
        let most = self.untold.len().min(MAX_ENTRIES);
        let ranges: Vec<_> = self.untold.drain(..most).collect();
        self.told.extend_from_slice(&ranges);
        ranges
    }

    /// The receiver has noted these; those of them that were waited for.
    pub(super) fn noted(&mut self, mut noted: Vec<SequenceRun>) -> Vec<Range<u64>> {
        noted.sort_unstable_by_key(|run| run.first);
        self.told.sort_unstable_by_key(|range| range.first);
        let (mut runs, mut news) = (noted.into_iter().peekable(), Vec::new());
        let mut left = Vec::new();
        for range in std::mem::take(&mut self.told) {
            let (mut first, end) = (range.first.0, range.first.0.saturating_add(range.count));
            // Both lists go up, so what ends before this range ends before all that follow.
            while first < end {
                let Some(run) = runs.peek() else { break };
                let (from, to) = (run.first.0, run.first.0.saturating_add(run.count));
                if to <= first {
                    runs.next();
                    continue;
                }
                if from >= end {
                    break;
                }
                news.push(from.max(first)..to.min(end));
                if from > first {
                    left.push(DropRange { first: Sequence(first), count: from - first, ..range });
                }
                first = to.min(end);
            }
            if first < end {
                left.push(DropRange { first: Sequence(first), count: end - first, ..range });
            }
        }
        self.told = left;
        news
    }

    /// The session is gone: what was not noted in it is told again in the next.
    pub(super) fn session_lost(&mut self) {
        let told = std::mem::take(&mut self.told);
        self.untold.splice(..0, told);
    }

    /// Places of frames that were given up at the end of the run, and of which the receiver has not noted that: as far as
    /// anybody but this sender knows they may still come.
    pub(in super::super) fn given_up_untold(&self) -> Vec<Range<u64>> {
        let untold = self.untold.iter().chain(&self.told);
        let given_up = untold.filter(|range| range.reason == DropReason::GivenUp);
        given_up.map(|range| range.first.0..range.first.0.saturating_add(range.count)).collect()
    }
}
