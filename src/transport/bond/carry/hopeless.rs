//! Frames that cannot make their deadlines: nothing more of them leaves over any path.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::super::super::{GivenUp, OutgoingFrame};
use super::super::book::{Key, key};
use super::super::mode::PathsMode;
use super::super::steer::{Health, choose};
use super::Carrier;
use super::frames::wish;

/// Frames that were given up and whose receipts are heeded still: far more than can be on their way.
const MOST_REMEMBERED: usize = 4_096;

/// What the session is told of them.
#[derive(Debug)]
pub(super) struct Hopeless {
    told: GivenUp,
    drained: Arc<Notify>,
    /// They may have arrived all the same.
    remembered: BTreeSet<Key>,
    /// The same in the order in which they were given up, with some that have come since.
    in_order: VecDeque<Key>,
}

impl Hopeless {
    pub(super) fn new(told: GivenUp, drained: Arc<Notify>) -> Self {
        Self { told, drained, remembered: BTreeSet::new(), in_order: VecDeque::new() }
    }

    fn add(&mut self, key: Key) {
        if self.in_order.len() == MOST_REMEMBERED
            && let Some(oldest) = self.in_order.pop_front()
        {
            self.remembered.remove(&oldest);
        }
        self.remembered.insert(key);
        self.in_order.push_back(key);
        self.told.add(key);
        self.drained.notify_one();
    }

    /// Takes those of a range that a receipt has come of after all; whether there was one.
    pub(super) fn has_come(&mut self, first: Key, last: Key) -> bool {
        if first > last {
            return false;
        }
        let found: Vec<Key> = self.remembered.range(first..=last).copied().collect();
        for key in &found {
            self.remembered.remove(key);
        }
        !found.is_empty()
    }
}

impl Carrier {
    /// Takes frames that paths have given up, each for itself. One that another path still has goes on there, and one
    /// that another would have there in time goes over that; the others are the session's to declare.
    pub(super) fn take_given_up(&mut self, now: Instant) {
        let told: Vec<(u64, Key)> = self
            .lines
            .iter()
            .flat_map(|line| line.link.path.take_given_up().into_iter().map(|key| (line.id, key)))
            .collect();
        for (id, key) in told {
            if let Some(line) = self.line_mut(id) {
                line.is_no_trial(key);
            }
            let Some(out) = self.book.get(key) else { continue };
            let Some(copied) = out.copies.iter().find(|copied| copied.line == id) else { continue };
            let (bytes, live) = (copied.bytes, out.frame.is_live());
            if let Some(line) = self.line_mut(id) {
                line.rid(bytes, live);
            }
            if !self.book.take_back(key, id) {
                self.go_elsewhere(key, id, now);
            }
        }
    }

    /// No path has a frame any more that one could not carry in time.
    fn go_elsewhere(&mut self, key: Key, not: u64, now: Instant) {
        let Some(out) = self.book.get(key) else { return };
        let frame = out.frame.copy();
        let wish = wish(&frame, now);
        let may = |line: &super::Line| line.id != not && line.health != Health::Dead;
        let (ids, views) = self.views(wish, now, may);
        let chosen = choose(PathsMode::Spread, &views, wish).map(|choice| choice.first);
        let in_time =
            |place: &usize| wish.left.is_none_or(|left| views[*place].arrives(wish.bytes) <= left);
        match chosen.filter(in_time) {
            Some(place) if self.give(ids[place], &frame, now) => {}
            _ => self.give_up(key),
        }
    }

    /// Nothing more of a frame is sent; copies that paths have are taken back.
    pub(super) fn give_up(&mut self, key: Key) {
        let Some(out) = self.book.remove(key) else { return };
        let live = out.frame.is_live();
        for copied in out.copies {
            // With what keeps it the copy ends.
            if let Some(line) = self.line_mut(copied.line) {
                line.rid(copied.bytes, live);
            }
        }
        self.again.retain(|other| *other != key);
        self.hopeless.add(key);
    }

    /// Whether a frame that has to go over another path, or has not gone, would be there in time over none.
    pub(super) fn is_hopeless(&self, frame: &OutgoingFrame, now: Instant) -> bool {
        let wish = wish(frame, now);
        let Some(left) = wish.left else { return false };
        let (_, views) = self.views(wish, now, |_| true);
        // What waits in front of it is an estimate; that it has to travel is none.
        left.is_zero() || !views.is_empty() && views.iter().all(|view| view.rtt / 2 > left)
    }

    /// The same of a frame that was handed over and has found no path yet: it is given up.
    pub(super) fn drop_held(&mut self, frame: &OutgoingFrame) {
        self.hopeless.add(key(frame));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Sequence;
    use crate::wire::SourceId;

    #[test]
    fn the_oldest_are_forgotten_and_not_those_of_the_first_sources() {
        let mut hopeless = Hopeless::new(GivenUp::default(), Arc::default());
        let key = |source, sequence| (SourceId(source), Sequence(sequence));
        for sequence in 0..4_096 {
            hopeless.add(key(1, sequence));
        }
        for sequence in 0..3 {
            hopeless.add(key(0, sequence));
        }
        for sequence in 0..3 {
            assert!(hopeless.has_come(key(0, sequence), key(0, sequence)), "{sequence}");
            assert!(!hopeless.has_come(key(1, sequence), key(1, sequence)), "{sequence}");
        }
        assert!(hopeless.has_come(key(1, 3), key(1, 3)));
        assert_eq!(hopeless.in_order.len(), MOST_REMEMBERED);
    }
}
