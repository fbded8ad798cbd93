//! The frames of a source that are known to be wanted and wait to be read, by when they fall due.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Instant;

use super::super::schedule::Due;
use super::Wanted;
use crate::frame::Sequence;

/// Behind a link that does not keep up thousands of frames wait, and each that goes is looked for among them: no look
/// goes through all.
#[derive(Debug, Default)]
pub(super) struct Wants {
    /// Those at no time of their own, which come before all others.
    bulk: Queue,
    live: Queue,
    /// No live frame was longer since there was none.
    longest: u64,
}

/// Bytes of each frame.
type Queue = BTreeMap<(Due, Sequence), u64>;

impl Wants {
    pub(super) fn len(&self) -> usize {
        self.bulk.len() + self.live.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bulk.is_empty() && self.live.is_empty()
    }

    pub(super) fn insert(&mut self, frame: Wanted) {
        let Wanted { sequence, bytes, due } = frame;
        if due.live {
            self.longest = if self.live.is_empty() { bytes } else { self.longest.max(bytes) };
        }
        self.queue(due).insert((due, sequence), bytes);
    }

    pub(super) fn remove(&mut self, frame: &Wanted) {
        self.queue(frame.due).remove(&(frame.due, frame.sequence));
    }

    pub(super) fn retain(&mut self, keep: impl Fn(Sequence) -> bool) {
        for queue in [&mut self.bulk, &mut self.live] {
            queue.retain(|&(_, sequence), _| keep(sequence));
        }
    }

    /// What falls due first.
    pub(super) fn first(&self) -> Option<Wanted> {
        self.bulk.iter().next().map(wanted).or_else(|| self.first_live())
    }

    /// The live frame that falls due first.
    pub(super) fn first_live(&self) -> Option<Wanted> {
        self.live.iter().next().map(wanted)
    }

    /// The live frame that falls due first in that time.
    pub(super) fn first_within(&self, times: &Range<Instant>) -> Option<Wanted> {
        self.within(times).next()
    }

    /// The one that falls due last in it.
    pub(super) fn last_within(&self, times: &Range<Instant>) -> Option<Wanted> {
        self.within(times).next_back()
    }

    fn within(&self, times: &Range<Instant>) -> impl DoubleEndedIterator<Item = Wanted> {
        // A map panics at a range that ends before it begins.
        let times = times.start..times.end.max(times.start);
        self.live.range(from(times.start)..from(times.end)).map(wanted)
    }

    /// Takes out live frames that are late as `is_late` tells. None is that falls due after `latest` says of the longest.
    pub(super) fn take_late(
        &mut self,
        latest: impl FnOnce(u64) -> Option<Instant>,
        is_late: impl Fn(Wanted) -> bool,
    ) -> Vec<Wanted> {
        let Some(latest) = latest(self.longest) else { return Vec::new() };
        let late: Vec<_> =
            self.live.range(..=from(latest)).map(wanted).filter(|&frame| is_late(frame)).collect();
        late.iter().for_each(|frame| self.remove(frame));
        late
    }

    fn queue(&mut self, due: Due) -> &mut Queue {
        if due.live { &mut self.live } else { &mut self.bulk }
    }
}

fn wanted((&(due, sequence), &bytes): (&(Due, Sequence), &u64)) -> Wanted {
    Wanted { sequence, bytes, due }
}

/// Before all live frames that fall due at that time or later.
fn from(at: Instant) -> (Due, Sequence) {
    (Due::first_at(at), Sequence(0))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::super::super::schedule::{Pace, Schedule};
    use super::*;

    fn first_of(all: &[Wanted], is_such: impl Fn(&&Wanted) -> bool) -> Option<Sequence> {
        all.iter().filter(is_such).min_by_key(|frame| frame.due).map(|frame| frame.sequence)
    }

    proptest! {
        #[test]
        fn it_finds_what_a_look_through_all_finds(
            times in prop::collection::vec((0_u64..500, any::<bool>(), 1_u64..100), 1..40),
            window in (0_u64..500, 0_u64..500),
            late in 0_u64..600,
        ) {
            let (bulk, start) = (Schedule::start(Pace::Bulk), Instant::now());
            let at = |ms| start + Duration::from_millis(ms);
            let frame = |(rank, (ms, live, bytes)): (usize, (u64, bool, u64))| {
                let rank = rank as u64;
                let due = if live { Schedule::arrived(at(ms), rank) } else { bulk.paced(rank) };
                Wanted { sequence: Sequence(rank), bytes, due }
            };
            let mut all: Vec<_> = times.into_iter().enumerate().map(frame).collect();
            let mut wants = Wants::default();
            all.iter().for_each(|&frame| wants.insert(frame));
            let sequence = |found: Option<Wanted>| found.map(|frame| frame.sequence);
            let times = at(window.0)..at(window.1);
            let is_within = |frame: &&Wanted| frame.due.live && times.contains(&frame.due.at);
            prop_assert_eq!(sequence(wants.first()), first_of(&all, |_| true));
            prop_assert_eq!(sequence(wants.first_live()), first_of(&all, |frame| frame.due.live));
            prop_assert_eq!(sequence(wants.first_within(&times)), first_of(&all, is_within));
            let last = all.iter().filter(is_within).max_by_key(|frame| frame.due);
            prop_assert_eq!(sequence(wants.last_within(&times)), last.map(|frame| frame.sequence));
            // A long frame is late sooner.
            let latest = |bytes| Some(at(late) + Duration::from_millis(bytes));
            let is_late = |frame: Wanted| Some(frame.due.at) < latest(frame.bytes);
            let mut taken = wants.take_late(latest, is_late);
            taken.sort_unstable_by_key(|frame| frame.sequence);
            let (gone, left): (Vec<_>, _) =
                all.into_iter().partition(|&frame| frame.due.live && is_late(frame));
            all = left;
            let sequences = |frames: &[Wanted]| frames.iter().map(|it| it.sequence).collect::<Vec<_>>();
            prop_assert_eq!(sequences(&taken), sequences(&gone));
            prop_assert_eq!(wants.len(), all.len());
            for frame in &all {
                wants.remove(frame);
            }
            prop_assert!(wants.is_empty());
        }
    }
}
